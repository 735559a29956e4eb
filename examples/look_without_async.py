"""The same story without `async`: for a script, a notebook, a thread.

`backstory.open` gives a story whose calls return when they are done. Iterators may be left early,
and a read model is a copy, which does not go on changing.

Output:
    borrowed by ada
    refused: book dune is lent to ada
    returned after 9 days
    lent at version 1: to ada
    how often: {'dune': 2}
    first of 4 events: book:lent
"""

import backstory
from backstory import Aggregate, DomainError, Event, Projection, RecordedEvent, on


class BookLent(Event, type="book:lent"):
    to: str


class BookReturned(Event, type="book:returned"):
    days: int


class Book(Aggregate, category="book"):
    reader: str = ""

    def lend(self, to: str) -> str:
        if self.reader:
            raise DomainError(f"book {self.id} is lent to {self.reader}")
        self.emit(BookLent(to=to))
        return f"borrowed by {to}"

    def give_back(self, days: int) -> None:
        self.emit(BookReturned(days=days))

    @on(BookLent)
    def _lent(self, event: BookLent) -> None:
        self.reader = event.to

    @on(BookReturned)
    def _returned(self, event: BookReturned) -> None:
        self.reader = ""


class Loans(Projection):
    counts: dict[str, int] = {}

    @on(BookLent)
    def _count(self, event: BookLent, recorded: RecordedEvent) -> None:
        self.counts[recorded.id] = self.counts.get(recorded.id, 0) + 1


def main() -> None:
    with backstory.open("memory://", projections=[Loans]) as story:
        print(story.execute(Book.lend, "dune", to="ada"))
        try:
            story.execute(Book.lend, "dune", to="bob")
        except DomainError as refusal:
            print("refused:", refusal)
        with story.using(actor="desk", tags=["late"]):
            story.execute(Book.give_back, "dune", days=9)
        print("returned after 9 days")
        story.execute(Book.lend, "dune", to="bob")
        story.execute(Book.give_back, "dune", days=2)

        print("lent at version 1: to", story.load(Book, "dune", at_version=1).reader)
        print("how often:", story.read_model(Loans).counts)
        for recorded in story.read_log():  # left early, and nothing is left behind
            print(f"first of {story.head()} events:", recorded.type)
            break


main()
