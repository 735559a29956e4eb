"""Stores with one fault each, and the groups of the contract that have to find it.

Not collected by itself, since its tests are to fail: `test_seeded_faults.py` runs it in a pytest of
its own. Each store is the in-memory store with one of the mistakes that stores are known to make.
"""

from functools import reduce
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from backstory import (
    ANY,
    NO_STREAM,
    AppendCondition,
    Batch,
    Clock,
    ConditionConflictError,
    Durability,
    EventStore,
    LogRead,
    Page,
    Receipt,
    RecordedEvent,
    Snapshot,
    StoreCapabilities,
    StoreStatistics,
    StreamAppend,
    StreamRead,
    where,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.testing.store_contract import (
    Append,
    Causes,
    Concurrency,
    Conditions,
    ExpectedVersions,
    Filters,
    Idempotence,
    Log,
    Read,
    Snapshots,
    Statistics,
    StoreContract,
    Subscribe,
)


class FaultyContract(StoreContract):
    """Makes the store that a class names."""

    store_class: ClassVar[type[InMemoryStore]] = InMemoryStore

    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return self.store_class(clock=clock)


class TestHealthy(FaultyContract):
    pass


class Faulty:
    """Makes the store that a class names; what waits for ever is given up soon."""

    deadline_seconds: ClassVar[float] = 0.2
    store_class: ClassVar[type[InMemoryStore]]

    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return self.store_class(clock=clock)


class ChecksNoVersion(InMemoryStore):
    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        appends = [StreamAppend(part.stream_id, part.events, ANY) for part in batch.appends]
        return await super().commit(Batch(appends, batch.condition))


class TestChecksNoVersion(Faulty, ExpectedVersions):
    store_class = ChecksNoVersion


class ChecksVersionsTooEarly(InMemoryStore):
    """The head is looked at, then somebody else has a turn, then it is written."""

    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        for part in batch.appends:
            if part.expected_version is NO_STREAM and part.stream_id in self._streams:
                return await super().commit(batch)
        await anyio.lowlevel.checkpoint()
        appends = [StreamAppend(part.stream_id, part.events, ANY) for part in batch.appends]
        return await super().commit(Batch(appends, batch.condition))


class TestChecksVersionsTooEarly(Faulty, Concurrency):
    store_class = ChecksVersionsTooEarly


class LosesTheLastEvent(InMemoryStore):
    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        receipts = await super().commit(batch)
        if len(batch.appends[-1].events) > 1:
            self._log.pop()
            self._streams[batch.appends[-1].stream_id].pop()
        return receipts


class TestLosesTheLastEvent(Faulty, Append):
    store_class = LosesTheLastEvent


class CommitsPartByPart(InMemoryStore):
    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        parts = [await InMemoryStore.commit(self, Batch([part])) for part in batch.appends]
        return tuple(receipt for (receipt,) in parts)


class TestCommitsPartByPart(Faulty, Append, Concurrency):
    store_class = CommitsPartByPart


class ReadsTheLowerBoundToo(InMemoryStore):
    async def read_page(self, read: LogRead) -> Page:
        return await super().read_page(
            replace(read, after_position=max(read.after_position - 1, 0))
        )


class TestReadsTheLowerBoundToo(Faulty, Log):
    store_class = ReadsTheLowerBoundToo


class IgnoresTheLimit(InMemoryStore):
    async def read_page(self, read: LogRead) -> Page:
        return await super().read_page(replace(read, limit=10_000))

    async def read_stream_page(self, read: StreamRead) -> Page:
        return await super().read_stream_page(replace(read, limit=10_000))


class TestIgnoresTheLimit(Faulty, Log):
    store_class = IgnoresTheLimit


class FiltersBehindTheLimit(InMemoryStore):
    async def read_page(self, read: LogRead) -> Page:
        page = await super().read_page(replace(read, where=where()))
        return replace(page, events=[event for event in page.events if read.where.matches(event)])


class TestFiltersBehindTheLimit(Faulty, Filters):
    store_class = FiltersBehindTheLimit


class GivesPositionsTwice(InMemoryStore):
    def _keep(self, recorded: RecordedEvent) -> None:
        super()._keep(replace(recorded, position=(recorded.position + 1) // 2))


class TestGivesPositionsTwice(Faulty, Log):
    store_class = GivesPositionsTwice


class WakesNobody(InMemoryStore):
    def _wake(self) -> None:
        if not self._is_open:
            super()._wake()


class TestWakesNobody(Faulty, Subscribe):
    deadline_seconds = 0.05
    store_class = WakesNobody


class WaitsForTheNextAppendOnly(InMemoryStore):
    """An append between the last look and the wait is missed."""

    async def wait_beyond(self, position: int) -> None:
        await anyio.lowlevel.checkpoint()
        await self._grown.wait()
        self._check_open()


class TestWaitsForTheNextAppendOnly(Faulty, Subscribe):
    deadline_seconds = 0.05
    store_class = WaitsForTheNextAppendOnly


class RemembersTheLastThousandIds(InMemoryStore):
    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        receipts = await super().commit(batch)
        for event_id in list(self._by_id)[:-1_000]:
            del self._by_id[event_id]
        return receipts


class TestRemembersTheLastThousandIds(Faulty, Idempotence):
    store_class = RemembersTheLastThousandIds


class ForgetsIdsWhenItIsClosed(InMemoryStore):
    capabilities = StoreCapabilities(
        durability=Durability.BUFFERED, is_multi_process=False, has_tables=False
    )

    async def open(self) -> None:
        self._by_id.clear()
        await super().open()


class TestForgetsIdsWhenItIsClosed(Faulty, Idempotence):
    kept: ClassVar[dict[Path, EventStore]] = {}

    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return self.kept.setdefault(folder, ForgetsIdsWhenItIsClosed(clock=clock))


class ChecksConditionsTooEarly(InMemoryStore):
    """The condition is judged on a head that is no longer the head when it is written."""

    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        self._check_open()
        for condition, match in self._matches(batch.condition).items():
            raise ConditionConflictError(
                after_position=condition.after_position,
                position=match.position,
                event_type=match.type,
                stream_id=match.stream_id,
            )
        await anyio.lowlevel.checkpoint()
        return await super().commit(Batch(batch.appends))


class TestChecksConditionsTooEarly(Faulty, Conditions):
    store_class = ChecksConditionsTooEarly


class LooksAtItsOwnStreamsOnly(InMemoryStore):
    """A condition that is judged like an expected version: in the streams appended to."""

    def _matches(self, condition: AppendCondition | None) -> dict[AppendCondition, RecordedEvent]:
        found = super()._matches(condition)
        return {one: match for one, match in found.items() if match.stream_id == self._appended_to}

    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        self._appended_to = batch.appends[0].stream_id
        return await super().commit(batch)

    _appended_to = ""


class TestLooksAtItsOwnStreamsOnly(Faulty, Conditions):
    store_class = LooksAtItsOwnStreamsOnly


class LoadsTheNextSnapshot(InMemoryStore):
    async def get_snapshot(
        self, stream_id: str, fingerprint: str, until_version: int
    ) -> Snapshot | None:
        return await super().get_snapshot(stream_id, fingerprint, until_version + 1)


class TestLoadsTheNextSnapshot(Faulty, Snapshots):
    store_class = LoadsTheNextSnapshot


class LoadsTheSnapshotBefore(InMemoryStore):
    async def get_snapshot(
        self, stream_id: str, fingerprint: str, until_version: int
    ) -> Snapshot | None:
        return await super().get_snapshot(stream_id, fingerprint, until_version - 1)


class TestLoadsTheSnapshotBefore(Faulty, Snapshots):
    store_class = LoadsTheSnapshotBefore


class KeepsEverySnapshot(InMemoryStore):
    async def put_snapshot(self, snapshot: Snapshot) -> None:
        await self._yield_point()
        self._snapshots.setdefault(snapshot.stream_id, {})[snapshot.version] = snapshot


class TestKeepsEverySnapshot(Faulty, Snapshots):
    store_class = KeepsEverySnapshot


class StartsBackwardAtTheWrongEnd(InMemoryStore):
    """Reads the oldest events of the stream and turns them round."""

    async def read_stream_page(self, read: StreamRead) -> Page:
        page = await super().read_stream_page(replace(read, backward=False))
        return replace(page, events=page.events[::-1]) if read.backward else page


class TestStartsBackwardAtTheWrongEnd(Faulty, Read):
    store_class = StartsBackwardAtTheWrongEnd


class SharesWhatItKeeps(InMemoryStore):
    """Hands out its own objects: who changes the data of one changes everybody's."""

    async def read_page(self, read: LogRead) -> Page:
        page = await super().read_page(read)
        by_position: dict[int, Any] = {event.position: event for event in self._log}
        return replace(page, events=[by_position[event.position] for event in page.events])


class TestSharesWhatItKeeps(Faulty, Log):
    store_class = SharesWhatItKeeps


class CountsTheGaps(InMemoryStore):
    """Takes the stream's last version for the number of all snapshots that were ever saved."""

    async def statistics(self) -> StoreStatistics:
        statistics = await super().statistics()
        saved = sum(max(kept, default=0) for kept in self._snapshots.values())
        return replace(statistics, snapshot_count=saved)


class TestCountsTheGaps(Faulty, Statistics):
    store_class = CountsTheGaps


class FoldsTheCaseOfIds(InMemoryStore):
    """Compares causation ids as a database with a careless collation does."""

    async def read_page(self, read: LogRead) -> Page:
        (item, *_) = read.where.items
        if item.causation_id is None:
            return await super().read_page(read)
        cause = item.causation_id.lower()
        named = {
            event.metadata.causation_id
            for event in self._log
            if (event.metadata.causation_id or "").lower() == cause
        }
        alike = [where(causation_id=one) for one in named]
        condition = reduce(lambda one, other: one | other, alike, read.where)
        return await super().read_page(replace(read, where=condition))


class TestFoldsTheCaseOfIds(Faulty, Causes):
    store_class = FoldsTheCaseOfIds
