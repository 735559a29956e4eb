"""The past: a stream from a version, the log from a position, and a look at how things were.

Every `after_` bound is exclusive and every `until_` bound inclusive, so 0 reads from the beginning.
A version counts inside one stream, a position over the whole store.

Output:
    the stream of draft a behind version 1:
      version 2, position 3: two
      version 3, position 4: three
    the log behind position 2, newest first:
      position 4: draft-a
      position 3: draft-a
    a at version 1: one
    a when the log ended at position 3: one two
    a now: one two three
    words at position 2: {'a': 1, 'b': 1}
    words now: {'a': 3, 'b': 1}
"""

import anyio

from backstory import Aggregate, Backstory, Event, Projection, RecordedEvent, on


class WordWritten(Event, type="draft:word-written"):
    word: str


class Draft(Aggregate, category="draft"):
    words: list[str] = []

    def write(self, word: str) -> None:
        self.emit(WordWritten(word=word))

    @on(WordWritten)
    def _written(self, event: WordWritten) -> None:
        self.words.append(event.word)


class WordCounts(Projection):
    counts: dict[str, int] = {}

    @on(WordWritten)
    def _count(self, event: WordWritten, recorded: RecordedEvent) -> None:
        self.counts[recorded.id] = self.counts.get(recorded.id, 0) + 1


async def main() -> None:
    async with Backstory("memory://", projections=[WordCounts]) as story:
        for id, word in [("a", "one"), ("b", "uno"), ("a", "two"), ("a", "three")]:
            await story.execute(Draft.write, id, word)

        print("the stream of draft a behind version 1:")
        async for recorded in story.read_stream("draft-a", after_version=1):
            if isinstance(recorded.data, WordWritten):
                place = f"version {recorded.version}, position {recorded.position}"
                print(f"  {place}: {recorded.data.word}")

        print("the log behind position 2, newest first:")
        async for recorded in story.replay(after_position=2, backward=True):
            print(f"  position {recorded.position}: {recorded.stream_id}")

        print("a at version 1:", *(await story.load(Draft, "a", at_version=1)).words)
        past = await story.load(Draft, "a", at_position=3)
        print("a when the log ended at position 3:", *past.words)
        print("a now:", *(await story.load(Draft, "a")).words)

        print("words at position 2:", (await story.read_model(WordCounts, at_position=2)).counts)
        print("words now:", (await story.read_model(WordCounts)).counts)


anyio.run(main)
