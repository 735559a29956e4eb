"""Given events, when a command, then events: behaviour as data, with no store and no event loop.

The last two show what a failed test says: which event was expected and which was found, and which
field a command has changed without an event, so that it would be gone after the next load.

Output:
    a loan is returned: passed
    nobody borrows a book twice: passed
    the reader's shelf is folded: passed
    the shelf in tables has its rows: passed
    a fine that is wrong: failed
      Loan.give_back emitted other events (- expected, + found):
      - BookReturned(days_late=2)
      + BookReturned(days_late=3)
    a note that is forgotten: failed
      Loan.note changed the state without an event; emit one, and assign in its @on method, or the change is gone after the next load:
        notes: ['torn'] after the command, [] when it is folded from the events
"""  # noqa: E501 - what is printed is not wrapped

import textwrap
from collections.abc import Callable

from backstory import (
    Aggregate,
    DomainError,
    Event,
    Projection,
    RecordedEvent,
    TableProjection,
    on,
)
from backstory.testing import AggregateSpec, ProjectionSpec, recorded_on


class BookBorrowed(Event, type="book:borrowed"):
    due: int


class BookReturned(Event, type="book:returned"):
    days_late: int


class Loan(Aggregate, category="loan"):
    due: int | None = None
    notes: list[str] = []

    def borrow(self, due: int) -> None:
        if self.due is not None:
            raise DomainError(f"loan {self.id} is due on day {self.due}")
        self.emit(BookBorrowed(due=due))

    def give_back(self, today: int) -> int:
        if self.due is None:
            raise DomainError(f"loan {self.id} has nothing to give back")
        days_late = max(today - self.due, 0)
        self.emit(BookReturned(days_late=days_late))
        return days_late

    def note(self, text: str) -> None:
        self.notes.append(text)  # wrong: no event says it

    @on(BookBorrowed)
    def _borrowed(self, event: BookBorrowed) -> None:
        self.due = event.due

    @on(BookReturned)
    def _returned(self, event: BookReturned) -> None:
        self.due = None


class Shelf(Projection):
    borrowed_by: dict[str, str] = {}

    @on(BookBorrowed)
    def _borrowed(self, event: BookBorrowed, recorded: RecordedEvent) -> None:
        self.borrowed_by[recorded.id] = recorded.metadata.actor or "somebody"

    @on(BookReturned)
    def _returned(self, event: BookReturned, recorded: RecordedEvent) -> None:
        self.borrowed_by.pop(recorded.id, None)


class ShelfTable(TableProjection, name="shelf"):
    schema = ("CREATE TABLE {loans} (id TEXT PRIMARY KEY, reader TEXT, due INTEGER)",)

    @on(BookBorrowed)
    def _borrowed(self, event: BookBorrowed, recorded: RecordedEvent) -> None:
        self.execute(
            "INSERT INTO {loans} VALUES ($1, $2, $3)",
            *(recorded.id, recorded.metadata.actor, event.due),
        )

    @on(BookReturned)
    def _returned(self, event: BookReturned, recorded: RecordedEvent) -> None:
        self.execute("DELETE FROM {loans} WHERE id = $1", recorded.id)

    async def count_due(self, day: int) -> int:
        rows = await self.read_rows("SELECT count(*) FROM {loans} WHERE due < $1", day)
        return int(rows[0][0])


BORROWED = AggregateSpec(Loan).given(BookBorrowed(due=10))


def test_returned() -> None:
    outcome = BORROWED.when(Loan.give_back, today=13)
    outcome.then(BookReturned(days_late=3)).then_returns(3).then_state(due=None)


def test_borrowed_twice() -> None:
    BORROWED.when(Loan.borrow, due=20).then_raises(DomainError, match="due on day 10")


def test_shelf() -> None:
    ProjectionSpec(Shelf).given(
        recorded_on("loan-1", BookBorrowed(due=10), actor="ada"),
        recorded_on("loan-2", BookBorrowed(due=11), actor="bob"),
        recorded_on("loan-1", BookReturned(days_late=0)),
    ).then(borrowed_by={"2": "bob"})


def test_shelf_table() -> None:
    spec = ProjectionSpec(ShelfTable).given(
        recorded_on("loan-1", BookBorrowed(due=10), actor="ada"),
        recorded_on("loan-2", BookBorrowed(due=11), actor="bob"),
        recorded_on("loan-1", BookReturned(days_late=0)),
    )

    async def one_is_due(shelf: ShelfTable) -> bool:
        return await shelf.count_due(12) == 1

    spec.then_rows("SELECT id, reader FROM {loans} ORDER BY id", ("2", "bob"))
    spec.then_model(one_is_due)


def test_wrong_fine() -> None:
    BORROWED.when(Loan.give_back, today=13).then(BookReturned(days_late=2))


def test_forgotten_note() -> None:
    BORROWED.when(Loan.note, "torn").then_nothing()


def run(name: str, test: Callable[[], None]) -> None:
    # In a real project pytest does this: functions called test_… are found by themselves.
    try:
        test()
    except AssertionError as failure:
        print(f"{name}: failed")
        print(textwrap.indent(str(failure), "  "))
    else:
        print(f"{name}: passed")


run("a loan is returned", test_returned)
run("nobody borrows a book twice", test_borrowed_twice)
run("the reader's shelf is folded", test_shelf)
run("the shelf in tables has its rows", test_shelf_table)
run("a fine that is wrong", test_wrong_fine)
run("a note that is forgotten", test_forgotten_note)
