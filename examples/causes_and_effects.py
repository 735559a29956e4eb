"""What came of it, and what it came from: the tree of causes over all streams, and its figures.

Whoever reacts to an event says so with `caused_by=`; from then on the two are joined.

Output:
    ada asked: how many files?
    effects of what ada asked
      scout said: look for files
      tool said: found 12
      scout said: there are 12
    causes of the answer
      found 12 < look for files < how many files?
    said in this correlation: 4, in all: 5
    statistics: 5 events in 4 streams
"""

import anyio

from backstory import Aggregate, Backstory, Event, Projection, RecordedEvent, on


class Said(Event, type="person:said"):
    text: str


class Person(Aggregate, category="person"):
    def say(self, text: str) -> None:
        self.emit(Said(text=text))


class SaidCount(Projection):
    count: int = 0

    @on(Said)
    def _said(self, event: Said) -> None:
        self.count += 1


def text(recorded: RecordedEvent) -> str:
    return recorded.data.text if isinstance(recorded.data, Said) else ""


async def say(story: Backstory, who: str, what: str, because: RecordedEvent) -> RecordedEvent:
    await story.using(caused_by=because).execute(Person.say, who, what)
    return await anext(story.replay(backward=True, limit=1))


async def main() -> None:
    async with Backstory("memory://", projections=[SaidCount]) as story:
        await story.execute(Person.say, "ada", "how many files?")
        asked = await anext(story.replay())
        await story.execute(Person.say, "bob", "good morning")  # another story
        looking = await say(story, "scout", "look for files", asked)
        found = await say(story, "tool", "found 12", looking)
        answer = await say(story, "scout", "there are 12", found)

        print("ada asked:", text(asked))
        print("effects of what ada asked")
        async for effect in story.store.read_effects(asked.event_id):
            print(f"  {effect.id} said: {text(effect)}")
        print("causes of the answer")
        causes = [text(cause) async for cause in story.store.read_causes(answer.event_id)]
        print(" ", " < ".join(causes))

        request = asked.metadata.correlation_id
        mine = await story.read_model(SaidCount, correlation_id=request)
        everything = await story.read_model(SaidCount)
        print(f"said in this correlation: {mine.count}, in all: {everything.count}")
        held = await story.store.statistics()
        print(f"statistics: {held.event_count} events in {held.stream_count} streams")


anyio.run(main)
