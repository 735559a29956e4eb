"""How snapshots and checkpoints are kept."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from backstory._errors import (
    InvalidInputError,
)
from backstory._snapshot import SNAPSHOT_COUNT_MAX, Checkpoint, Snapshot
from backstory._store import EventStore
from backstory.testing._clock import ManualClock
from backstory.testing._store_contract._contract import Contract, skip_unless_durable
from backstory.testing._store_contract._sample import (
    snapshot,
)


class Snapshots(Contract):
    """How the saved states of aggregates are kept."""

    async def test_newest_snapshot_is_loaded(self, store: EventStore) -> None:
        for version in (5, 20, 10):
            await store.save_snapshot(snapshot(version))

        assert await store.load_snapshot("task-1", fingerprint="f") == snapshot(20)

    @pytest.mark.parametrize(
        ("until", "version"), [(4, None), (5, 5), (19, 10), (20, 20), (99, 20)]
    )
    async def test_snapshot_is_not_after_the_wanted_version(
        self, store: EventStore, until: int, version: int | None
    ) -> None:
        for saved in (5, 10, 20):
            await store.save_snapshot(snapshot(saved))

        found = await store.load_snapshot("task-1", fingerprint="f", until_version=until)

        assert found == (None if version is None else snapshot(version))

    async def test_snapshot_of_another_fingerprint_is_passed_over(self, store: EventStore) -> None:
        await store.save_snapshot(snapshot(5))
        await store.save_snapshot(snapshot(10, fingerprint="g"))

        assert await store.load_snapshot("task-1", fingerprint="f") == snapshot(5)
        assert await store.load_snapshot("task-1", fingerprint="h") is None

    async def test_snapshot_of_the_same_version_is_replaced(self, store: EventStore) -> None:
        await store.save_snapshot(snapshot(5))
        newer = Snapshot("task-1", 5, "f", b'{"v":"newer"}')

        await store.save_snapshot(newer)

        assert await store.load_snapshot("task-1", fingerprint="f") == newer
        assert await store.delete_snapshots() == 1

    async def test_snapshot_of_another_stream_is_not_loaded(self, store: EventStore) -> None:
        await store.save_snapshot(snapshot(5, stream_id="task-10"))

        assert await store.load_snapshot("task-1", fingerprint="f") is None
        assert await store.load_snapshot("task-%", fingerprint="f") is None

    async def test_snapshots_of_one_stream_are_deleted(self, store: EventStore) -> None:
        for version in (5, 10):
            await store.save_snapshot(snapshot(version))
        await store.save_snapshot(snapshot(5, stream_id="task-10"))

        assert await store.delete_snapshots("task-1") == 2
        assert await store.load_snapshot("task-1", fingerprint="f") is None
        assert await store.load_snapshot("task-10", fingerprint="f") is not None
        assert await store.delete_snapshots() == 1
        assert await store.delete_snapshots() == 0

    async def test_snapshots_are_there_after_closing(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        async with self.make_store(tmp_path, clock) as store:
            skip_unless_durable(store)
            await store.save_snapshot(snapshot(5))

        async with self.make_store(tmp_path, clock) as store:
            assert await store.load_snapshot("task-1", fingerprint="f") == snapshot(5)

    async def test_newest_ten_snapshots_of_a_stream_are_kept(self, store: EventStore) -> None:
        await store.save_snapshot(snapshot(1, stream_id="task-10"))
        for version in range(1, SNAPSHOT_COUNT_MAX + 3):
            await store.save_snapshot(snapshot(version))

        loaded = [
            await store.load_snapshot("task-1", fingerprint="f", until_version=version)
            for version in (1, 2, 3, SNAPSHOT_COUNT_MAX + 2)
        ]

        assert loaded == [None, None, snapshot(3), snapshot(SNAPSHOT_COUNT_MAX + 2)]
        assert await store.delete_snapshots("task-1") == SNAPSHOT_COUNT_MAX
        assert await store.delete_snapshots("task-10") == 1

    async def test_replaced_snapshot_drives_no_other_out(self, store: EventStore) -> None:
        for version in range(1, SNAPSHOT_COUNT_MAX + 1):
            await store.save_snapshot(snapshot(version))

        await store.save_snapshot(snapshot(SNAPSHOT_COUNT_MAX))

        found = await store.load_snapshot("task-1", fingerprint="f", until_version=1)
        assert found == snapshot(1)

    async def test_snapshot_at_the_wanted_version_is_loaded(self, store: EventStore) -> None:
        for version in (6, 7, 8):
            await store.save_snapshot(snapshot(version))

        found = await store.load_snapshot("task-1", fingerprint="f", until_version=7)

        assert found == snapshot(7)

    async def test_older_snapshot_is_found_behind_those_of_another_fingerprint(
        self, store: EventStore
    ) -> None:
        for version in (1, 2, 3, 4):
            await store.save_snapshot(snapshot(version, fingerprint="f" if version < 3 else "g"))

        found = await store.load_snapshot("task-1", fingerprint="f", until_version=3)

        assert found == snapshot(2)

    @pytest.mark.parametrize(("stream_id", "version"), [("task", 1), ("", 1), ("task-1", 0)])
    async def test_snapshot_of_no_stream_or_version_is_refused(
        self, store: EventStore, stream_id: str, version: int
    ) -> None:
        with pytest.raises(InvalidInputError):
            await store.save_snapshot(snapshot(version, stream_id=stream_id))

        assert await store.delete_snapshots() == 0

    async def test_snapshot_is_loaded_and_deleted_by_what_are_streams(
        self, store: EventStore
    ) -> None:
        with pytest.raises(InvalidInputError, match="stream id"):
            await store.load_snapshot("task", fingerprint="f")
        with pytest.raises(InvalidInputError, match="until_version"):
            await store.load_snapshot("task-1", fingerprint="f", until_version=-1)
        with pytest.raises(InvalidInputError, match="stream id"):
            await store.delete_snapshots("task")


class Checkpoints(Contract):
    """How the positions of projections are kept, with their read models."""

    async def test_checkpoint_comes_back_as_it_was_saved(self, store: EventStore) -> None:
        saved = Checkpoint("Counts", 7, "f", '{"é":1}'.encode())

        await store.save_checkpoint(saved)

        assert await store.load_checkpoint("Counts") == saved

    async def test_checkpoint_takes_the_place_of_the_one_before(self, store: EventStore) -> None:
        await store.save_checkpoint(Checkpoint("Counts", 7, "f", b"{}"))
        later = Checkpoint("Counts", 9, "g", b'{"a":1}')

        await store.save_checkpoint(later)

        assert await store.load_checkpoint("Counts") == later

    async def test_projections_do_not_share_checkpoints(self, store: EventStore) -> None:
        await store.save_checkpoint(Checkpoint("Counts", 7, "f", b"{}"))

        assert await store.load_checkpoint("counts") is None
        assert await store.load_checkpoint("Count_") is None

    async def test_deleted_checkpoint_is_gone(self, store: EventStore) -> None:
        await store.save_checkpoint(Checkpoint("Counts", 7, "f", b"{}"))
        await store.save_checkpoint(Checkpoint("Other", 8, "f", b"{}"))

        for _ in range(2):
            await store.delete_checkpoint("Counts")

        assert await store.load_checkpoint("Counts") is None
        assert await store.load_checkpoint("Other") is not None

    async def test_checkpoints_are_there_after_closing(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        saved = Checkpoint("Counts", 7, "f", b"{}")
        async with self.make_store(tmp_path, clock) as store:
            skip_unless_durable(store)
            await store.save_checkpoint(saved)

        async with self.make_store(tmp_path, clock) as store:
            assert await store.load_checkpoint("Counts") == saved

    async def test_checkpoint_may_go_back(self, store: EventStore) -> None:
        await store.save_checkpoint(Checkpoint("Counts", 9, "f", b"{}"))
        earlier = Checkpoint("Counts", 0, "f", b'{"a":0}')

        await store.save_checkpoint(earlier)

        assert await store.load_checkpoint("Counts") == earlier

    @pytest.mark.parametrize("projection", ["", "a\0b", "x" * 257])
    async def test_what_is_no_name_of_a_projection_is_refused(
        self, store: EventStore, projection: str
    ) -> None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.save_checkpoint(Checkpoint(projection, 1, "f", b"{}")),
            lambda: store.load_checkpoint(projection),
            lambda: store.delete_checkpoint(projection),
        ]

        for call in calls:
            with pytest.raises(InvalidInputError, match="projection"):
                await call()

    async def test_checkpoint_at_no_position_is_refused(self, store: EventStore) -> None:
        with pytest.raises(InvalidInputError, match="position"):
            await store.save_checkpoint(Checkpoint("Counts", -1, "f", b"{}"))

        assert await store.load_checkpoint("Counts") is None
