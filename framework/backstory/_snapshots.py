"""Finds, takes, keeps and checks the snapshots of a store's aggregates.

A load is the newest snapshot that fits, not after the wanted version, and the events behind it. So
it costs the size of the state and the events since the snapshot, whatever the stream's length.

A snapshot is a cache. It is taken after its append has succeeded, saved when there is time, and
used only by code with the same fingerprint. Nothing that goes wrong with it reaches the caller: the
state is then folded from the events, which takes longer and is as right.

A fingerprint cannot see everything: a function of another package, a setting, a clock that a
handler should not have looked at. So now and then a load from a snapshot has a shadow: in the
background the same state is folded from the first event, and the two are compared. A difference
means that what the program goes on with is not what its events say; it is reported as an error,
counted, and the stream's snapshots are deleted. One check runs at a time, and none on a stream that
is long, so that the checks never become the load.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

import anyio.lowlevel
from anyio.abc import TaskGroup

from backstory._aggregate import Aggregate, book_of, evolve, start_book
from backstory._codec import encode_state, state_decoder
from backstory._errors import InvalidInputError, StoreError
from backstory._fingerprint import Fingerprint
from backstory._logging import FIELD, REASON, STREAM_ID, VERSION, log
from backstory._snapshot import Snapshot
from backstory._store import EventStore

A = TypeVar("A", bound=Aggregate)

SHADOW_CHECK_SHARE: Final = 0.01
"""One load in a hundred: handlers that lie are found on the first busy day, while the events that
the checks fold stay, with the bound below, near what the loads themselves fold."""

_CHECK_EVENT_COUNT_MAX: Final = 10_000
_YIELD_EVERY: Final = 100


class Snapshots:
    """The snapshots of a store's aggregates; a repository's `snapshots`."""

    def __init__(
        self,
        store: EventStore,
        *,
        background: TaskGroup | None = None,
        shadow_check_share: float = SHADOW_CHECK_SHARE,
        chance: Callable[[], float] | None = None,
    ) -> None:
        """Keep snapshots in a store.

        Args:
            store: An open store.
            background: A task group in which snapshots are saved and checked; without one, `take`
                returns after it has saved, and none is checked.
            shadow_check_share: The share of the loads from a snapshot that are checked, from 0 for
                none to 1 for each.
            chance: Which of them: returns numbers from 0 to 1; a generator of its own by default.

        Raises:
            InvalidInputError: The share is no number from 0 to 1.
        """
        check_share(shadow_check_share)
        self._store = store
        self._background = background
        self._share = shadow_check_share
        # Its own: a program that has seeded the common one counts on its numbers.
        self._chance = chance or random.Random().random  # noqa: S311 - not for secrets
        self._fingerprints: dict[type[Aggregate], Fingerprint] = {}
        self._is_checking = False
        self._is_stopped = False
        self.check_count = 0
        """How many snapshots were compared with a fold of all events."""
        self.difference_count = 0
        """How many of them differed."""

    async def load(self, blank: A, *, at_version: int | None = None) -> A:
        """Return an aggregate at its newest snapshot that fits, or as it came.

        A snapshot that cannot be read is as none: whether the store answers at all is seen when the
        events are read.

        Args:
            blank: The aggregate before its first event.
            at_version: The version that the snapshot must not be after; None for any.
        """
        snapshot = await self._find(blank, at_version) if blank.snapshot_every else None
        if snapshot is None:
            return blank
        try:
            aggregate = _restored(blank, snapshot)
        except ValueError as error:  # msgspec's errors and bad UTF-8 alike
            _log_ignored(snapshot, error)
            return blank
        self._check_some(blank, snapshot)
        return aggregate

    async def _find(self, blank: Aggregate, at_version: int | None) -> Snapshot | None:
        fingerprint = self._fingerprint(type(blank))
        try:
            return await self._store.load_snapshot(
                blank.stream_id, fingerprint=fingerprint, until_version=at_version
            )
        except StoreError as error:  # such as a damaged page, which holds no event
            log.warning("snapshot.ignored", **{STREAM_ID: blank.stream_id, REASON: str(error)})
            return None

    async def take(self, aggregate: Aggregate) -> None:
        """Take a snapshot of an aggregate that has just been appended, if one is due."""
        book = book_of(aggregate)
        # Counted from the last one and not by version % every, which an append of several events
        # may step over.
        is_due = 0 < aggregate.snapshot_every <= book.version - book.snapshot_version
        if not is_due or book.has_met_unknown:
            return
        # Encoded now, while the state is that of the version; saved when there is time.
        state_json = encode_state(aggregate)
        if state_json is None:
            log.warning(
                "snapshot.refused", **{STREAM_ID: aggregate.stream_id, VERSION: book.version}
            )
            return
        book.snapshot_version = book.version
        fingerprint = self._fingerprint(type(aggregate))
        snapshot = Snapshot(aggregate.stream_id, book.version, fingerprint, state_json)
        if not self._start(self._save, snapshot):
            await self._save(snapshot)

    def stop_checking(self) -> None:
        """Let the check at hand end at its next event, and begin no other."""
        self._is_stopped = True

    def _start(self, work: Callable[..., Any], *arguments: Any) -> bool:
        """Start something in the background; tell whether there is one."""
        if self._background is None:
            return False
        try:
            self._background.start_soon(work, *arguments)
        except RuntimeError:  # the group is over
            return False
        return True

    async def _save(self, snapshot: Snapshot) -> None:
        try:
            await self._store.save_snapshot(snapshot)
        except StoreError as error:
            # Without it the next load takes longer, and is as right.
            _log_ignored(snapshot, error)

    def _fingerprint(self, cls: type[Aggregate]) -> str:
        known = self._fingerprints.get(cls)
        # A notebook cell that ran again, or a module that was reloaded, may have changed it.
        if known is None or not known.is_current():
            known = self._fingerprints[cls] = Fingerprint(cls)
        return known.text

    def _check_some(self, blank: Aggregate, snapshot: Snapshot) -> None:
        if self._is_checking or self._is_stopped or snapshot.version > _CHECK_EVENT_COUNT_MAX:
            return
        if self._chance() < self._share:
            self._is_checking = self._start(self._check, type(blank), blank.id, snapshot)

    async def _check(self, cls: type[Aggregate], id: str, snapshot: Snapshot) -> None:
        """Compare a snapshot with the fold of all events up to it; never raises."""
        try:
            folded = await self._folded(cls.blank(id), snapshot.version)
            if folded is not None:
                self.check_count += 1
                await self._compare(folded, snapshot)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything, and nobody waits
            log.warning("snapshot.unchecked", **_keys(snapshot), **{REASON: str(error)})
        finally:
            self._is_checking = False

    async def _folded(self, blank: A, version: int) -> A | None:
        """Return an aggregate folded up to a version, or None where that was not reached."""
        events = self._store.read_stream(blank.stream_id, until_version=version)
        async for recorded in events:
            if self._is_stopped:
                return None
            evolve(blank, recorded)
            if recorded.version % _YIELD_EVERY == 0:
                await anyio.lowlevel.checkpoint()  # a whole page would hold up everybody else
        return blank if blank.version == version else None

    async def _compare(self, folded: Aggregate, snapshot: Snapshot) -> None:
        kept = _restored(folded, snapshot)
        field = next(
            (name for name in kept.__struct_fields__ if not _is_same(kept, folded, name)), None
        )
        if field is not None:
            self.difference_count += 1
            log.error("snapshot.differs", **_keys(snapshot), **{FIELD: field})
            await self._store.delete_snapshots(snapshot.stream_id)


def check_share(share: float) -> None:
    """Refuse a share that is not possible.

    Raises:
        InvalidInputError: It is no number from 0 to 1.
    """
    # Put this way round, NaN is refused too.
    if not (isinstance(cast("object", share), int | float) and 0 <= share <= 1):
        raise InvalidInputError(
            argument="shadow_check_share", found=repr(share), reason="must be from 0 to 1"
        )


def _restored(blank: A, snapshot: Snapshot) -> A:
    aggregate = start_book(state_decoder(type(blank))(snapshot.state_json), blank.id)
    book = book_of(aggregate)
    book.version = book.snapshot_version = snapshot.version
    return aggregate


def _is_same(one: Aggregate, other: Aggregate, field: str) -> bool:
    return bool(getattr(one, field) == getattr(other, field))


def _log_ignored(snapshot: Snapshot, error: Exception) -> None:
    log.warning("snapshot.ignored", **_keys(snapshot), **{REASON: str(error)})


def _keys(snapshot: Snapshot) -> Mapping[str, Any]:
    return {STREAM_ID: snapshot.stream_id, VERSION: snapshot.version}
