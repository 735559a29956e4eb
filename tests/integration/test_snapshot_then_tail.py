"""A snapshot is a cache: with it, without it, or with a damaged one, the state is the same."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Counted, Noted
from tests.faults.account import faults

from backstory import (
    Aggregate,
    EventStore,
    Repository,
    Snapshot,
    VersionConflictError,
    on,
)
from backstory._fingerprint import fingerprint_of
from backstory.stores.in_memory import InMemoryStore

pytestmark = pytest.mark.anyio


class Kept(Aggregate, category="kept", snapshot_every=10):
    steps: list[int] = []
    texts: dict[str, int] = {}

    def count(self, steps: Sequence[int]) -> None:
        for by in steps:
            self.emit(Counted(by=by))

    def note(self, text: str) -> None:
        self.emit(Noted(text=text))

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.steps.append(event.by)

    @on(Noted)
    def _noted(self, event: Noted) -> None:
        self.texts[event.text] = self.texts.get(event.text, 0) + len(self.steps)


FINGERPRINT = fingerprint_of(Kept)


async def snapshot_version(store: EventStore, until: int | None = None) -> int | None:
    snapshot = await store.load_snapshot("kept-1", fingerprint=FINGERPRINT, until_version=until)
    return None if snapshot is None else snapshot.version


@pytest.mark.fault("T15", without="the count since the last snapshot")
async def test_batches_that_step_over_the_number_still_snapshot(store: EventStore) -> None:
    repository = Repository(store)
    versions: list[int | None] = []

    for _ in range(8):
        await repository.execute(Kept.count, "1", [1, 2, 3])
        faults.count()
        versions.append(await snapshot_version(store))

    # Counted from the last snapshot on: after the appends that reach 10 and 20 or go beyond.
    assert versions == [None, None, None, 12, 12, 12, 12, 24]


@pytest.mark.fault("T15", without="the snapshot behind the append")
async def test_conflicted_append_leaves_no_snapshot(store: EventStore) -> None:
    repository = Repository(store)
    one, other = await repository.load(Kept, "1"), await repository.load(Kept, "1")
    one.count([1])
    other.count([2] * 20)
    await repository.save(one)

    with pytest.raises(VersionConflictError):
        await repository.save(other)
    faults.count()

    assert await snapshot_version(store) is None
    assert (await repository.load(Kept, "1")).steps == [1]


async def test_load_takes_the_newest_snapshot_that_fits(store: EventStore) -> None:
    repository = Repository(store)
    await repository.execute(Kept.count, "1", range(10))
    # A state that no events could have given shows that the snapshot was read, and not the stream.
    state_json = b'{"steps":[100],"texts":{}}'
    await store.save_snapshot(Snapshot("kept-1", 10, FINGERPRINT, state_json))
    await repository.execute(Kept.count, "1", [7])

    assert (await repository.load(Kept, "1")).steps == [100, 7]
    assert (await repository.load(Kept, "1", at_version=10)).steps == [100]
    assert (await repository.load(Kept, "1", at_version=9)).steps == list(range(9))


@pytest.mark.parametrize(
    ("version", "fingerprint", "state_json"),
    [
        (10, FINGERPRINT, b"{"),
        (10, FINGERPRINT, b""),
        (10, FINGERPRINT, b'{"steps":"none"}'),
        (10, FINGERPRINT, b'{"steps":[1.5]}'),
        (10, "another", b'{"steps":[100]}'),
        (11, FINGERPRINT, b'{"steps":[100]}'),
        (99, FINGERPRINT, b'{"steps":[100]}'),
    ],
)
@pytest.mark.fault(5, "T14", without="the catch of what a damaged snapshot raises")
async def test_unfit_snapshot_is_ignored(
    store: EventStore, version: int, fingerprint: str, state_json: bytes
) -> None:
    repository = Repository(store)
    await repository.execute(Kept.count, "1", range(10))
    await store.delete_snapshots()

    await store.save_snapshot(Snapshot("kept-1", version, fingerprint, state_json))
    faults.count()

    assert (await repository.load(Kept, "1")).steps == list(range(10))
    await repository.execute(Kept.count, "1", [7])
    assert (await repository.load(Kept, "1")).steps == [*range(10), 7]


async def test_snapshots_can_always_be_deleted(store: EventStore) -> None:
    repository = Repository(store)
    await repository.execute(Kept.count, "1", range(25))
    before = await repository.load(Kept, "1")

    assert await store.delete_snapshots() == 1

    assert await repository.load(Kept, "1") == before


def define(*, by: int = 1, **keywords: Any) -> Any:
    """Define the same aggregate again, as the next release of a program would."""

    class Released(Aggregate, category="released", snapshot_every=1, **keywords):
        total: int = 0

        def count(self) -> int:
            self.emit(Counted())
            return self.total

        @on(Counted)
        def _counted(self, event: Counted) -> None:
            self.total += event.by * by

    return Released


@pytest.mark.fault("T14", without="the fingerprint of the code")
async def test_raised_revision_folds_from_the_events_again(store: EventStore) -> None:
    old, new = define(by=1), define(by=10, revision=2)
    repository = Repository(store)
    await repository.execute(old.count, "1")
    await repository.execute(old.count, "1")
    faults.count()

    assert (await repository.load(new, "1")).total == 20
    assert await repository.execute(new.count, "1") == 30


@pytest.mark.fault("T14", without="the fingerprint of the code")
async def test_changed_handler_folds_from_the_events_again(store: EventStore) -> None:
    old, new = define(by=1), define(by=10)
    repository = Repository(store)
    await repository.execute(old.count, "1")
    faults.count()

    assert (await repository.load(new, "1")).total == 10


COMMANDS = st.lists(
    st.lists(st.integers(0, 9), min_size=1, max_size=7) | st.sampled_from(["a", "b"]), max_size=20
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(COMMANDS)
@pytest.mark.fault(
    "T16", store="in_memory", without="the lower bound that leaves out the event of the snapshot"
)
async def test_state_is_the_same_with_and_without_snapshots(
    anyio_backend: str, commands: list[list[int] | str]
) -> None:
    assert anyio_backend == "asyncio"
    async with InMemoryStore() as store:
        repository = Repository(store)
        for command in commands:
            if isinstance(command, str):
                await repository.execute(Kept.note, "1", command)
            else:
                await repository.execute(Kept.count, "1", command)
        length = (await repository.load(Kept, "1")).version

        versions = range(length + 1)
        faults.count(len(versions))
        with_snapshots = [
            await repository.load(Kept, "1", at_version=version) for version in versions
        ]
        await store.delete_snapshots()
        without = [await repository.load(Kept, "1", at_version=version) for version in versions]

        assert with_snapshots == without
        assert [kept.version for kept in with_snapshots] == list(versions)
