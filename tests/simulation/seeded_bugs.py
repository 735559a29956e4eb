"""Small programs with one mistake each, and the same programs without it.

The mistakes are those that programs over an event store are known to make. `test_seeded_bugs.py`
lets the simulation find each.
"""

from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import anyio

from backstory import (
    ANY,
    Aggregate,
    AppendCondition,
    Backstory,
    ConflictError,
    Decision,
    DomainError,
    Event,
    EventFilter,
    NewEvent,
    Projection,
    RecordedEvent,
    StoreError,
    StoreUnavailableError,
    derive_event_id,
    on,
    where,
)
from backstory.testing import Scenario


async def together(
    function: Callable[..., Coroutine[Any, Any, None]], *arguments: Sequence[object]
) -> None:
    """Call a function once for each list of arguments, all at a time; wait for all."""
    async with anyio.create_task_group() as tasks:
        for some in arguments:
            tasks.start_soon(function, *some)


# An account whose balance is written down by whoever has read it.


class BalanceSet(Event, type="bug:balance-set"):
    balance: int


class LostUpdate(Scenario):
    """Reads, computes, writes, and does not look whether somebody else did so meanwhile."""

    async def run(self, story: Backstory) -> None:
        await together(self.deposit, (story, "ada"), (story, "bob"))

    async def deposit(self, story: Backstory, who: str) -> None:
        event_id = derive_event_id("deposit", who)
        while await story.store.read_event(event_id) is None:
            last = [event async for event in story.read_stream("account-1", backward=True, limit=1)]
            balance = last[0].data.balance if last and isinstance(last[0].data, BalanceSet) else 0
            event = NewEvent.of(BalanceSet(balance=balance + 1), event_id=event_id)
            try:
                await self.write(story, event, last[0].version if last else 0)
            except ConflictError:
                continue

    async def write(self, story: Backstory, event: NewEvent, version: int) -> None:
        await story.store.append("account-1", [event], expected_version=ANY)

    async def check(self, story: Backstory) -> None:
        events = [event.data async for event in story.read_stream("account-1")]
        assert events == [BalanceSet(balance=1), BalanceSet(balance=2)]


class NoLostUpdate(LostUpdate):
    async def write(self, story: Backstory, event: NewEvent, version: int) -> None:
        await story.store.append("account-1", [event], expected_version=version)


# A shop that charges cards and writes down that it did.


class OrderPlaced(Event, type="bug:order-placed"):
    pass


class OrderPaid(Event, type="bug:order-paid"):
    amount: int = 0


class Order(Aggregate, category="order"):
    is_placed: bool = False
    paid: int = 0

    def place(self) -> None:
        self.emit(OrderPlaced())

    def pay(self, amount: int = 1) -> None:
        self.emit(OrderPaid(amount=amount))

    def pay_once(self, amount: int = 1) -> None:
        if not self.paid:
            self.emit(OrderPaid(amount=amount))

    @on(OrderPlaced)
    def _placed(self, event: OrderPlaced) -> None:
        self.is_placed = True

    @on(OrderPaid)
    def _paid(self, event: OrderPaid) -> None:
        self.paid += event.amount


class ChargesTwice(Scenario):
    """Has an effect outside, and then writes down that it had; a crash lies in between."""

    def __init__(self) -> None:
        self.charges: list[str] = []  # on the customer's card

    async def run(self, story: Backstory) -> None:
        if not (await story.load(Order, "1")).paid:
            self.charge("order-1")
            await story.execute(Order.pay_once, "1")

    def charge(self, key: str) -> None:
        self.charges.append(key)

    async def check(self, story: Backstory) -> None:
        assert self.charges == ["order-1"]


class ChargesOnce(ChargesTwice):
    def charge(self, key: str) -> None:
        if key not in self.charges:  # the bank knows the key
            self.charges.append(key)


class RetriesAsSomethingNew(Scenario):
    """Tries again after a lost answer, and the store cannot know that it is the same."""

    async def run(self, story: Backstory) -> None:
        for amount in (1, 2):
            while (await story.load(Order, "1")).version < amount:
                try:
                    await self.pay(story, amount)
                except StoreUnavailableError:
                    await self.pay(story, amount)

    async def pay(self, story: Backstory, amount: int) -> None:
        await story.execute(Order.pay, "1", amount)

    async def check(self, story: Backstory) -> None:
        assert (await story.load(Order, "1")).paid == 3


class RetriesWithAKey(RetriesAsSomethingNew):
    async def pay(self, story: Backstory, amount: int) -> None:
        await story.using(idempotency_key=f"pay-{amount}").execute(Order.pay, "1", amount)


class TakesUnknownForFailed(Scenario):
    """Tells the customer that nothing happened when nobody knows."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    async def run(self, story: Backstory) -> None:
        for id in ("1", "2", "3"):
            if id not in self.told:
                self.told[id] = await self.answer(story, id)

    async def answer(self, story: Backstory, id: str) -> str:
        try:
            await story.using(idempotency_key=f"pay-{id}").execute(Order.pay, id)
        except StoreUnavailableError:
            return "failed"
        return "paid"

    async def check(self, story: Backstory) -> None:
        for id, told in self.told.items():
            assert bool((await story.load(Order, id)).paid) == (told == "paid")


class AsksUntilItKnows(TakesUnknownForFailed):
    async def answer(self, story: Backstory, id: str) -> str:
        while True:
            try:
                await story.using(idempotency_key=f"pay-{id}").execute(Order.pay, id)
            except StoreUnavailableError:
                continue
            return "paid"


class TakesLateForFailed(TakesUnknownForFailed):
    """Waits for a second and takes what is late for what did not happen."""

    async def answer(self, story: Backstory, id: str) -> str:
        while True:
            try:
                return await self.answer_in_time(story, id)
            except StoreUnavailableError:
                continue

    async def answer_in_time(self, story: Backstory, id: str) -> str:
        with anyio.move_on_after(1):
            await story.using(idempotency_key=f"pay-{id}").execute(Order.pay, id)
            return "paid"
        return "failed"


class WaitsUntilItKnows(TakesLateForFailed):
    async def answer_in_time(self, story: Backstory, id: str) -> str:
        await story.using(idempotency_key=f"pay-{id}").execute(Order.pay, id)
        return "paid"


class CountsRequestsInMemory(Scenario):
    """Knows which requests it has seen as long as it lives, and no longer."""

    async def run(self, story: Backstory) -> None:
        seen: set[str] = set()
        for request in ("a", "b", "a", "c", "b"):  # the customer clicks twice, and again later
            if request not in seen:
                seen.add(request)
                await self.handle(story, request)

    async def handle(self, story: Backstory, request: str) -> None:
        await story.execute(Order.pay, request)

    async def check(self, story: Backstory) -> None:
        assert [(await story.load(Order, id)).paid for id in "abc"] == [1, 1, 1]


class CountsRequestsInTheLog(CountsRequestsInMemory):
    async def handle(self, story: Backstory, request: str) -> None:
        await story.using(idempotency_key=request).execute(Order.pay, request)


class ForgetsItsQueue(Scenario):
    """Takes orders out of the inbox, and keeps them in memory until there is time."""

    def __init__(self) -> None:
        self.letters = ["1", "2", "3"]  # in the letter box

    async def run(self, story: Backstory) -> None:
        queue = [self.letters.pop(0) for _ in list(self.letters)]
        for id in queue:
            await story.using(idempotency_key=id).execute(Order.place, id)

    async def check(self, story: Backstory) -> None:
        assert all([(await story.load(Order, id)).is_placed for id in "123"])


class KeepsItsQueue(ForgetsItsQueue):
    async def run(self, story: Backstory) -> None:
        while self.letters:
            id = self.letters[0]
            await story.using(idempotency_key=id).execute(Order.place, id)
            self.letters.pop(0)


# A course with one place, which is taken in the students' own streams.


class CourseJoined(Event, type="bug:course-joined"):
    course: str

    def event_tags(self) -> list[str]:
        return [f"course:{self.course}"]


class ChecksThenActs(Scenario):
    """Looks whether there is a place, and then takes one in another stream."""

    def __init__(self) -> None:
        self.refused: set[str] = set()

    async def run(self, story: Backstory) -> None:
        await together(self.join, (story, "ada"), (story, "bob"))

    async def join(self, story: Backstory, who: str) -> None:
        joined = where(types=[CourseJoined], tags=["course:art"])
        members = [event async for event in story.read_log(where=joined)]
        if not members:
            event = NewEvent.of(CourseJoined(course="art"), event_id=derive_event_id("join", who))
            await story.store.append(f"student-{who}", [event], expected_version=ANY)

    async def check(self, story: Backstory) -> None:
        assert len([event async for event in story.read_log()]) == 1


class Join(Decision):
    who: str
    members: int = 0

    def query(self) -> EventFilter:
        return where(types=[CourseJoined], tags=["course:art"])

    @on(CourseJoined)
    def _joined(self, event: CourseJoined) -> None:
        self.members += 1

    def decide(self) -> None:
        if not self.members:
            self.emit(CourseJoined(course="art"), stream_id=f"student-{self.who}")


class DecidesOverBoth(ChecksThenActs):
    async def join(self, story: Backstory, who: str) -> None:
        await story.decide(Join(who=who))


class TakesTheHeadForWhatItRead(ChecksThenActs):
    """Has a condition, and lets it begin at a head that is newer than what was read."""

    async def join(self, story: Backstory, who: str) -> None:
        joined = where(types=[CourseJoined], tags=["course:art"])
        members, after_position = await self.look(story, joined)
        if not members:
            event = NewEvent.of(CourseJoined(course="art"), event_id=derive_event_id("join", who))
            condition = AppendCondition(joined, after_position)
            try:
                await story.store.append(
                    f"student-{who}", [event], expected_version=ANY, condition=condition
                )
            except ConflictError:
                return

    async def look(self, story: Backstory, joined: EventFilter) -> tuple[int, int]:
        members = [event async for event in story.read_log(where=joined)]
        return len(members), await story.store.head()


class TakesTheHeadFirst(TakesTheHeadForWhatItRead):
    async def look(self, story: Backstory, joined: EventFilter) -> tuple[int, int]:
        head = await story.store.head()
        return len([event async for event in story.read_log(where=joined)]), head


# Read models.


class _Payments(Scenario):
    """Some payments, for read models to be folded from."""

    async def run(self, story: Backstory) -> None:
        await together(self.order, (story, "1"), (story, "2"))

    async def order(self, story: Backstory, id: str) -> None:
        for amount in (1, 2):
            key = f"{id}-{amount}"
            await story.using(idempotency_key=key).execute(Order.pay, id, amount)

    async def check(self, story: Backstory) -> None:
        assert await story.store.head() == 4


_counted: list[int] = []


class CountInAGlobal(Projection):
    count: int = 0

    @on(OrderPaid)
    def _paid(self, event: OrderPaid) -> None:
        _counted.append(event.amount)
        self.count = len(_counted)


class CountInAField(Projection):
    count: int = 0

    @on(OrderPaid)
    def _paid(self, event: OrderPaid) -> None:
        self.count += 1


class CountsInAGlobal(_Payments):
    """The read model depends on how often events were folded."""

    projections: ClassVar[Sequence[type[Projection]]] = (CountInAGlobal,)


class CountsInAField(_Payments):
    projections: ClassVar[Sequence[type[Projection]]] = (CountInAField,)


class LastByTheMachine(Projection):
    last: float = 0

    @on(OrderPaid)
    def _paid(self, event: OrderPaid) -> None:
        self.last = datetime.now(UTC).timestamp()


class LastByTheEvent(Projection):
    last: float = 0

    @on(OrderPaid)
    def _paid(self, event: OrderPaid, recorded: RecordedEvent) -> None:
        self.last = recorded.recorded_at.timestamp()


class AsksTheClock(_Payments):
    """The read model depends on when events were folded."""

    projections: ClassVar[Sequence[type[Projection]]] = (LastByTheMachine,)


class AsksTheEvent(_Payments):
    projections: ClassVar[Sequence[type[Projection]]] = (LastByTheEvent,)


class LoanGranted(Event, type="bug:loan-granted"):
    pass


class Loan(Aggregate, category="loan", snapshot_every=2):
    seen: list[int] = []

    def grant(self) -> None:
        self.emit(LoanGranted())

    @on(LoanGranted)
    def _granted(self, event: LoanGranted) -> None:
        _counted.append(1)
        self.seen.append(len(_counted))


class SoundLoan(Aggregate, category="sound_loan", snapshot_every=2):
    seen: list[int] = []

    def grant(self) -> None:
        self.emit(LoanGranted())

    @on(LoanGranted)
    def _granted(self, event: LoanGranted) -> None:
        self.seen.append(len(self.seen))


class SnapshotLies(Scenario):
    """An aggregate's handler looks at something that its snapshot does not hold."""

    async def run(self, story: Backstory) -> None:
        for number in range(4):
            await story.using(idempotency_key=f"{number}").execute(Loan.grant, "1")

    async def check(self, story: Backstory) -> None:
        assert await story.store.head() == 4


class SnapshotTellsTheTruth(SnapshotLies):
    async def run(self, story: Backstory) -> None:
        for number in range(4):
            await story.using(idempotency_key=f"{number}").execute(SoundLoan.grant, "1")


class OrdersInOrder(Projection):
    open: dict[str, bool] = {}

    @on(OrderPlaced)
    def _placed(self, event: OrderPlaced) -> None:
        self.open["the order"] = True

    @on(OrderPaid)
    def _paid(self, event: OrderPaid) -> None:
        del self.open["the order"]


class OrdersInAnyOrder(Projection):
    placed: int = 0
    paid: int = 0

    @on(OrderPlaced)
    def _placed(self, event: OrderPlaced) -> None:
        self.placed += 1

    @on(OrderPaid)
    def _paid(self, event: OrderPaid) -> None:
        self.paid += 1


class ExpectsAnOrderOfStreams(Scenario):
    """The shop and the bank write at the same time, and the shop is taken to be first."""

    projections: ClassVar[Sequence[type[Projection]]] = (OrdersInOrder,)

    async def run(self, story: Backstory) -> None:
        await together(self.write, (story, Order.place, "shop"), (story, Order.pay, "bank"))

    async def write(self, story: Backstory, command: Callable[[Order], None], id: str) -> None:
        await story.using(idempotency_key=id).execute(command, id)

    async def check(self, story: Backstory) -> None:
        assert await story.store.head() == 2


class TakesAnyOrderOfStreams(ExpectsAnOrderOfStreams):
    projections: ClassVar[Sequence[type[Projection]]] = (OrdersInAnyOrder,)


class ReadsStaleModel(_Payments):
    """Takes what a read model shows for what is."""

    projections: ClassVar[Sequence[type[Projection]]] = (CountInAField,)

    async def order(self, story: Backstory, id: str) -> None:
        model = await story.read_model(CountInAField)
        if model.count == 0:  # for the first customer there is a present
            await self.give(story, id)

    async def give(self, story: Backstory, id: str) -> None:
        await story.using(idempotency_key=id).execute(Order.pay_once, id)

    async def check(self, story: Backstory) -> None:
        assert await story.store.head() == 1


class AsksTheAggregate(ReadsStaleModel):
    async def give(self, story: Backstory, id: str) -> None:
        await story.execute(Order.pay_once, "present")


# A postman, who follows the log.


class ChecksOffBeforeTheWork(Scenario):
    """A follower that keeps its place before it has done what it came for."""

    projections: ClassVar[Sequence[type[Projection]]] = ()

    def __init__(self) -> None:
        self.place = 0  # in a file of its own
        self.letters: list[int] = []

    async def run(self, story: Backstory) -> None:
        for number in range(4):
            await story.using(idempotency_key=f"{number}").execute(Order.pay, "1")
        async for event in story.read_log(after_position=self.place):
            await self.handle(story, event)

    async def handle(self, story: Backstory, event: RecordedEvent) -> None:
        self.place = event.position
        await story.load(Order, event.id)  # the address
        self.letters.append(event.position)

    async def check(self, story: Backstory) -> None:
        assert sorted(self.letters) == [1, 2, 3, 4]


class ChecksOffAfterTheWork(ChecksOffBeforeTheWork):
    async def handle(self, story: Backstory, event: RecordedEvent) -> None:
        await story.load(Order, event.id)
        if event.position not in self.letters:  # the receiver knows the position
            self.letters.append(event.position)
        self.place = event.position


# Tasks of one program.


class LocksInTwoOrders(Scenario):
    """Two tasks wait for each other."""

    async def run(self, story: Backstory) -> None:
        one, other = anyio.Lock(), anyio.Lock()
        await together(self.move, (story, one, other), (story, *self.second(one, other)))

    def second(self, one: anyio.Lock, other: anyio.Lock) -> tuple[anyio.Lock, anyio.Lock]:
        return other, one

    async def move(self, story: Backstory, one: anyio.Lock, other: anyio.Lock) -> None:
        async with one:
            await story.load(Order, "1")
            async with other:
                await story.load(Order, "2")

    async def check(self, story: Backstory) -> None:
        assert await story.store.head() == 0


class LocksInOneOrder(LocksInTwoOrders):
    def second(self, one: anyio.Lock, other: anyio.Lock) -> tuple[anyio.Lock, anyio.Lock]:
        return one, other


class LooksThenWaits(Scenario):
    """What happens between the look and the wait wakes nobody."""

    async def run(self, story: Backstory) -> None:
        self.grown = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.follow, story)
            await story.using(idempotency_key="1").execute(Order.pay, "1")
            self.ring()

    def ring(self) -> None:
        self.grown.set()
        self.grown = anyio.Event()

    async def follow(self, story: Backstory) -> None:
        while not (await story.load(Order, "1")).paid:
            await self.wait(story)

    async def wait(self, story: Backstory) -> None:
        await self.grown.wait()

    async def check(self, story: Backstory) -> None:
        assert await story.store.head() == 1


class NamesWhatItWaitsFor(LooksThenWaits):
    async def wait(self, story: Backstory) -> None:
        await story.store.wait_beyond(0)


class GivesUpTooEarly(Scenario):
    """Takes a store that fails for a request that is refused, and drops it."""

    async def run(self, story: Backstory) -> None:
        for id in ("1", "2", "3"):
            await self.place(story, id)

    async def place(self, story: Backstory, id: str) -> None:
        try:
            await story.using(idempotency_key=id).execute(Order.place, id)
        except (DomainError, StoreError):
            return

    async def check(self, story: Backstory) -> None:
        assert await story.store.head() == 3


class GivesUpWhatIsRefused(GivesUpTooEarly):
    async def place(self, story: Backstory, id: str) -> None:
        try:
            await story.using(idempotency_key=id).execute(Order.place, id)
        except DomainError:
            return


BUGS: Final[dict[type[Scenario], type[Scenario]]] = {
    LostUpdate: NoLostUpdate,
    ChargesTwice: ChargesOnce,
    RetriesAsSomethingNew: RetriesWithAKey,
    TakesUnknownForFailed: AsksUntilItKnows,
    TakesLateForFailed: WaitsUntilItKnows,
    CountsRequestsInMemory: CountsRequestsInTheLog,
    ForgetsItsQueue: KeepsItsQueue,
    ChecksThenActs: DecidesOverBoth,
    TakesTheHeadForWhatItRead: TakesTheHeadFirst,
    CountsInAGlobal: CountsInAField,
    AsksTheClock: AsksTheEvent,
    SnapshotLies: SnapshotTellsTheTruth,
    ExpectsAnOrderOfStreams: TakesAnyOrderOfStreams,
    ReadsStaleModel: AsksTheAggregate,
    ChecksOffBeforeTheWork: ChecksOffAfterTheWork,
    LocksInTwoOrders: LocksInOneOrder,
    LooksThenWaits: NamesWhatItWaitsFor,
    GivesUpTooEarly: GivesUpWhatIsRefused,
}
"""Each program with a mistake, and the same without it."""
