"""What a verification finds, judged on logs whose rows were exchanged, changed, or taken out."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from tests.conftest import new_event, noted, unchecked

from backstory import ANY, CorruptLogError, InvalidInputError, LogSeal, Metadata, StreamAppend
from backstory._commit import NO_HASH, event_hash, log_digest
from backstory._store import SealedEvent
from backstory.operations import Damage, DamageKind, Verification, verify
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.supply import LogHead

pytestmark = pytest.mark.anyio


class ForgedStore(InMemoryStore):
    """A store whose rows are not what was appended."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[SealedEvent] = []
        self.unreadable: set[int] = set()
        self.names_position = True
        self.seal: LogSeal | None = None
        self.reads: list[int] = []

    async def learn(self) -> None:
        """Take over what was appended."""
        self.rows = await InMemoryStore.read_sealed_page(self, 0, 1_000_000)
        self.seal = await InMemoryStore.read_seal(self)

    async def read_sealed_page(self, after_position: int, limit: int) -> list[SealedEvent]:
        self.reads.append(limit)
        page = [row for row in self.rows if row.recorded.position > after_position][:limit]
        for row in page:
            if (position := row.recorded.position) in self.unreadable:
                named = position if self.names_position else 0
                raise CorruptLogError(where="here", position=named, reason="a page is torn")
        return page

    async def read_seal(self) -> LogSeal:
        if self.seal is None:
            raise CorruptLogError(where="here", position=0, reason="the head is torn")
        return self.seal

    def change(self, position: int, **fields: Any) -> None:
        """Change what an event says."""
        row = self.rows[position - 1]
        self.rows[position - 1] = replace(row, recorded=replace(row.recorded, **fields))

    def seal_anew(self) -> None:
        """Look up the event before each anew, as a store whose indexes agree would do."""
        places: dict[tuple[str, int], SealedEvent] = {}
        for row in self.rows:
            places.setdefault((row.recorded.stream_id, row.recorded.version), row)
        for number, row in enumerate(self.rows):
            before = places.get((row.recorded.stream_id, row.recorded.version - 1))
            self.rows[number] = replace(
                row,
                hash_before=None if before is None else before.hash,
                position_before=None if before is None else before.recorded.position,
            )


@pytest.fixture
async def store() -> AsyncIterator[ForgedStore]:
    """Yield a store with twelve events of three streams, one after the other in turn."""
    async with ForgedStore() as store:
        for number in range(12):
            await store.append(f"note-{number % 3}", noted(str(number)), expected_version=ANY)
        await store.learn()
        yield store


async def found_in(store: ForgedStore) -> list[Damage]:
    return (await verify(store)).damage


def places(damage: list[Damage]) -> list[tuple[DamageKind, int | None]]:
    return [(one.what, one.position) for one in damage]


async def test_whole_log_is_found_whole(store: ForgedStore) -> None:
    verification = await verify(store)

    assert store.seal is not None
    assert verification == Verification(
        incarnation=store.seal.incarnation,
        after_position=0,
        until_position=12,
        digest=store.seal.head.digest.hex(),
        has_kept_head=False,
        event_count=12,
        stream_count=3,
        size_bytes=sum(
            len(r.recorded.data_json) + len(r.recorded.metadata_json) for r in store.rows
        ),
        undigested_count=0,
        damage=[],
        damage_count=0,
    )
    assert verification.is_whole


async def test_empty_log_is_found_whole() -> None:
    async with InMemoryStore() as store:
        assert (await verify(store)).is_whole


@pytest.mark.parametrize(
    "fields",
    [
        {"data_json": b'{"text":"other"}'},
        {"metadata_json": b'{"actor":"eve"}'},
        {"type": "test:counted"},
        {"schema_version": 2},
        {"recorded_microseconds": 7},
        {"event_id": "00000000-0000-4000-8000-000000000000"},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_changed_event_is_named_and_no_other(
    store: ForgedStore, fields: dict[str, Any]
) -> None:
    store.change(5, **fields)

    [damage] = await found_in(store)

    assert damage.what is DamageKind.CHANGED
    assert (damage.position, damage.stream_id, damage.version) == (5, "note-1", 2)
    assert "what it says gives the hash" in damage.evidence


async def test_event_that_was_given_to_another_stream_is_found(store: ForgedStore) -> None:
    store.change(5, stream_id="note-9")
    store.seal_anew()

    damage = await found_in(store)

    assert places(damage) == [(DamageKind.MISSING, 5), (DamageKind.MISSING, 8)]
    assert "version 1 of its stream is not there" in damage[0].evidence
    assert "version 2 of its stream is not there" in damage[1].evidence


@pytest.mark.parametrize("position", [1, 5, 12])
async def test_damaged_hash_is_one_finding(store: ForgedStore, position: int) -> None:
    store.rows[position - 1] = replace(store.rows[position - 1], hash=bytes(32))
    store.seal_anew()

    assert places(await found_in(store)) == [(DamageKind.CHANGED, position)]


@pytest.mark.parametrize("position", [1, 5, 11])
async def test_damaged_digest_is_one_finding(store: ForgedStore, position: int) -> None:
    store.rows[position - 1] = replace(store.rows[position - 1], digest=bytes(32))

    assert places(await found_in(store)) == [(DamageKind.BROKEN, position)]


async def test_digest_that_was_taken_away_is_found(store: ForgedStore) -> None:
    store.rows[4] = replace(store.rows[4], digest=None)

    [damage] = await found_in(store)

    assert (damage.what, damage.position) == (DamageKind.BROKEN, 5)
    assert damage.evidence == "it has no digest, and one before it has"


async def test_removed_event_is_named_by_position_stream_and_version(store: ForgedStore) -> None:
    del store.rows[4]
    store.seal_anew()

    damage = await found_in(store)

    assert places(damage) == [(DamageKind.MISSING, 6), (DamageKind.MISSING, 8)]
    assert "no event is at position 5" in damage[0].evidence
    assert (damage[1].stream_id, damage[1].version) == ("note-1", 3)
    assert "version 2 of its stream is not there" in damage[1].evidence


async def test_gap_that_the_digest_goes_over_alarms_nobody(store: ForgedStore) -> None:
    digest = NO_HASH
    for number, row in enumerate(store.rows):
        position = row.recorded.position + (10 if number > 5 else 0)
        digest = log_digest(digest, position, row.hash)
        recorded = replace(row.recorded, position=position)
        store.rows[number] = replace(row, recorded=recorded, digest=digest)
    store.seal_anew()
    assert store.seal is not None
    store.seal = replace(store.seal, head=LogHead(22, digest))

    assert await found_in(store) == []


def swap(store: ForgedStore, one: int, other: int) -> None:
    """Let two events change their places, each with all that belongs to it."""
    first, second = store.rows[one - 1], store.rows[other - 1]
    store.rows[one - 1] = replace(second, recorded=replace(second.recorded, position=one))
    store.rows[other - 1] = replace(first, recorded=replace(first.recorded, position=other))
    store.seal_anew()


@pytest.mark.parametrize(
    ("one", "other"),
    [(4, 7), (4, 5), (2, 9), (1, 2)],
    ids=["one stream", "neighbours", "far apart", "first"],
)
async def test_swapped_events_are_both_named_with_where_they_were(
    store: ForgedStore, one: int, other: int
) -> None:
    swap(store, one, other)

    damage = {d.position: d for d in await found_in(store)}

    for here, there in ((one, other), (other, one)):
        assert damage[here].what is DamageKind.SWAPPED
        assert damage[here].evidence.startswith(
            f"it was written at position {there}, and what was written here is there"
        )


async def test_swapped_events_of_two_streams_alarm_at_no_other_place(store: ForgedStore) -> None:
    swap(store, 4, 5)

    assert places(await found_in(store)) == [(DamageKind.SWAPPED, 4), (DamageKind.SWAPPED, 5)]


async def test_swapped_versions_are_found_where_a_forger_has_mended_the_digest(
    store: ForgedStore,
) -> None:
    swap(store, 4, 7)
    digest_anew(store)

    damage = await found_in(store)

    assert places(damage) == [(DamageKind.MOVED, 4), (DamageKind.MOVED, 7)]
    assert damage[0].evidence == "version 2 of its stream stands behind it, at position 7"
    assert damage[1].evidence == "version 3 of its stream stands before it, at position 4"


def digest_anew(store: ForgedStore) -> None:
    """Compute every digest anew, and the head."""
    digest = NO_HASH
    for number, row in enumerate(store.rows):
        digest = log_digest(digest, row.recorded.position, row.hash)
        store.rows[number] = replace(row, digest=digest)
    assert store.seal is not None
    store.seal = replace(store.seal, head=LogHead(store.rows[-1].recorded.position, digest))


async def test_event_that_was_moved_to_the_end_is_named_with_where_it_was(
    store: ForgedStore,
) -> None:
    row = store.rows.pop(4)
    store.rows.append(moved(row, 8))
    store.seal_anew()
    assert store.seal is not None
    store.seal = replace(store.seal, head=LogHead(13, store.seal.head.digest))

    damage = {d.position: d for d in await found_in(store) if d.what is DamageKind.MOVED}

    assert damage[13].stream_id == "note-1"
    assert "it was written at position 5" in damage[13].evidence


async def test_doubled_event_is_found(store: ForgedStore) -> None:
    store.rows.append(moved(store.rows[10], 2))
    digest_anew(store)

    [damage] = await found_in(store)

    assert (damage.what, damage.position) == (DamageKind.DOUBLED, 13)
    assert damage.evidence == "version 4 of its stream is at position 11 too"


async def test_double_of_an_older_event_is_found(store: ForgedStore) -> None:
    store.rows.append(moved(store.rows[4], 8))
    digest_anew(store)

    [damage] = await found_in(store)

    assert damage.position == 13
    assert damage.evidence == "version 4 of its stream stands before it, at position 11"


async def test_event_that_was_put_in_is_named(store: ForgedStore) -> None:
    forged = store.rows[6].recorded
    strange = replace(forged, stream_id="note-strange", version=1)
    row = SealedEvent(strange, event_hash(NO_HASH, strange), b"x" * 32, None, None)
    store.rows[6:] = [row, *(moved(row, 1) for row in store.rows[6:])]
    store.seal_anew()
    assert store.seal is not None
    store.seal = replace(store.seal, head=LogHead(13, store.seal.head.digest))

    damage = await found_in(store)

    assert (damage[0].what, damage[0].position) == (DamageKind.INSERTED, 7)
    assert {d.what for d in damage[1:]} == {DamageKind.MOVED}
    assert damage[1].evidence == "it was written at position 7"


async def test_every_event_behind_one_that_was_put_in_is_named_with_where_it_was() -> None:
    async with ForgedStore() as store:
        await store.append("note-1", noted(*map(str, range(200))), expected_version=0)
        await store.learn()
        strange = replace(store.rows[1].recorded, stream_id="note-strange", version=1)
        row = SealedEvent(strange, event_hash(NO_HASH, strange), b"x" * 32, None, None)
        store.rows[1:] = [row, *(moved(row, 1) for row in store.rows[1:])]
        store.seal_anew()

        damage = [d for d in await found_in(store) if d.what is DamageKind.MOVED]

    assert [d.evidence for d in damage] == [
        f"it was written at position {position}" for position in range(2, 200)
    ]


async def test_damaged_position_at_the_end_of_a_page_leads_past_nothing() -> None:
    class TreeStore(ForgedStore):
        """Leads by where a row is, and not by what it says, as the tree of a file does."""

        async def read_sealed_page(self, after_position: int, limit: int) -> list[SealedEvent]:
            return self.rows[max(after_position, 0) :][:limit]

    async with TreeStore() as store:
        for _ in range(2):
            await store.append("note-1", noted(*map(str, range(1_000))), expected_version=ANY)
        await store.learn()
        store.rows[999] = moved(store.rows[999], 999_000)

        verification = await verify(store)

    assert verification.event_count == 2_000
    damage = verification.damage[-1]
    assert (damage.what, damage.position) == (DamageKind.MOVED, 1_000_000)
    assert damage.evidence == "it was written at position 1000"


def moved(row: SealedEvent, by: int) -> SealedEvent:
    return replace(row, recorded=replace(row.recorded, position=row.recorded.position + by))


async def test_event_at_a_position_that_is_none_is_found(store: ForgedStore) -> None:
    strange = replace(store.rows[0].recorded, position=-5, stream_id="note-strange")
    row = SealedEvent(strange, event_hash(NO_HASH, strange), b"x" * 32, None, None)
    store.rows.insert(0, row)

    damage = await found_in(store)

    assert {d.position for d in damage} == {-5}
    assert "position -5: must be a whole number from 1" in damage[0].evidence
    assert "without it the digest goes on, to position 1" in damage[0].evidence


async def test_lost_end_is_found_against_the_head(store: ForgedStore) -> None:
    del store.rows[9:]

    [damage] = await found_in(store)

    assert (damage.what, damage.position, damage.last_position) == (DamageKind.END, 10, 12)
    assert damage.evidence == "the log's head is at position 12, and the last event at 9"


async def test_lost_end_with_its_head_is_found_against_what_is_kept_apart(
    store: ForgedStore,
) -> None:
    assert store.seal is not None
    kept = store.seal
    digest = store.rows[8].digest
    assert digest is not None
    del store.rows[9:]
    store.seal = replace(kept, head=LogHead(9, digest), kept=kept)

    verification = await verify(store)

    [damage] = verification.damage
    assert verification.has_kept_head
    assert (damage.what, damage.position, damage.last_position) == (DamageKind.END, 10, 12)
    assert "the head that is kept apart is at position 12" in damage.evidence


async def test_head_with_another_digest_is_found(store: ForgedStore) -> None:
    assert store.seal is not None
    store.seal = replace(store.seal, head=LogHead(12, bytes(32)))

    [damage] = await found_in(store)

    assert (damage.what, damage.position) == (DamageKind.END, 12)
    assert "the log's head has another digest at position 12" in damage.evidence


async def test_forger_who_computes_all_anew_is_found_against_what_is_kept_apart(
    store: ForgedStore,
) -> None:
    kept = store.seal
    assert kept is not None
    store.change(5, data_json=b'{"text":"other"}')
    heads: dict[str, bytes] = {}
    for number, row in enumerate(store.rows):
        before = heads.get(row.recorded.stream_id, NO_HASH)
        heads[row.recorded.stream_id] = after = event_hash(before, row.recorded)
        store.rows[number] = replace(row, hash=after)
    store.seal_anew()
    digest_anew(store)

    assert await found_in(store) == []
    store.seal = replace(store.seal or kept, kept=kept)

    [damage] = await found_in(store)
    assert damage.what is DamageKind.END
    assert "the head that is kept apart has another digest at position 12" in damage.evidence


async def test_other_log_than_is_kept_apart_is_found(store: ForgedStore) -> None:
    assert store.seal is not None
    store.seal = replace(store.seal, kept=replace(store.seal, incarnation="another"))

    [damage] = await found_in(store)

    assert damage.evidence.startswith("what is kept apart is of the log another")


async def test_event_behind_the_head_is_found(store: ForgedStore) -> None:
    assert store.seal is not None
    digest = store.rows[9].digest
    assert digest is not None
    store.seal = replace(store.seal, head=LogHead(10, digest))

    [damage] = await found_in(store)

    assert (damage.what, damage.position) == (DamageKind.END, 11)
    assert damage.evidence == "it stands behind the log's head, which is at position 10"


async def test_head_that_cannot_be_read_is_found_and_all_else_is_judged(store: ForgedStore) -> None:
    store.seal = None
    store.change(5, type="test:counted")

    verification = await verify(store)

    assert places(verification.damage) == [(DamageKind.CHANGED, 5), (DamageKind.END, None)]
    assert (verification.event_count, verification.until_position) == (12, 12)
    assert verification.incarnation is None


@pytest.mark.parametrize("names_position", [True, False])
@pytest.mark.parametrize(
    ("torn", "ranges"),
    [
        ({5}, [(5, 5)]),
        ({1}, [(1, 1)]),
        ({12}, [(12, 12)]),
        ({5, 8}, [(5, 5), (8, 8)]),
        ({4, 5, 6, 7, 8}, [(4, 8)]),
        (set(range(1, 13)), [(1, 12)]),
    ],
    ids=str,
)
async def test_unreadable_events_are_named_and_passed_over(
    store: ForgedStore, torn: set[int], ranges: list[tuple[int, int]], *, names_position: bool
) -> None:
    store.unreadable, store.names_position = torn, names_position

    verification = await verify(store)

    holes = [d for d in verification.damage if d.what is DamageKind.UNREADABLE]
    named = {p for d in holes for p in range(d.position or 0, (d.last_position or 0) + 1)}
    assert named == torn
    assert {d.evidence for d in holes} == {"a page is torn"}
    if not names_position:
        assert [(d.position, d.last_position) for d in holes] == ranges
    assert verification.event_count == 12 - len(torn)
    assert {d.what for d in verification.damage} == {DamageKind.UNREADABLE}


async def test_large_hole_costs_few_reads() -> None:
    async with ForgedStore() as store:
        for _ in range(20):
            events = noted(*map(str, range(1_000)))
            await store.append("note-1", events, expected_version=ANY)
        await store.learn()
        store.unreadable, store.names_position = set(range(5_001, 15_001)), False

        verification = await verify(store)

    hole, *_ = verification.damage
    assert (hole.position, hole.last_position) == (5_001, 15_000)
    assert len(store.reads) < 150


@pytest.mark.parametrize(
    ("data", "metadata", "evidence"),
    [
        (b'{"text":', b"{}", "data"),
        (b"{}", b'{"tags":"x"}', "metadata"),
        (b"{}", b'{"actor":""}', "actor"),
        (b"[" * 101 + b"]" * 101, b"{}", "nested deeper"),
        (b'"' + b"x" * 1_000_000 + b'"', b"{}", "1,000,002 bytes"),
    ],
    ids=["json", "tags", "actor", "depth", "size"],
)
async def test_event_that_no_append_accepts_is_malformed(
    data: bytes, metadata: bytes, evidence: str
) -> None:
    async with InMemoryStore() as store:
        event_id = "00000000-0000-4000-8000-000000000000"
        event = unchecked(event_id, "test:raw", 1, data, metadata)
        await store.append("note-1", [event], expected_version=0)

        [damage] = (await verify(store)).damage

    assert (damage.what, damage.position) == (DamageKind.MALFORMED, 1)
    assert evidence in damage.evidence


async def test_index_that_misleads_is_told_from_damage_of_the_event(store: ForgedStore) -> None:
    store.rows[7] = replace(store.rows[7], hash_before=None, position_before=None)
    store.rows[8] = replace(store.rows[8], hash_before=bytes(32), position_before=1)

    damage = await found_in(store)

    assert places(damage) == [(DamageKind.INDEX, 8), (DamageKind.INDEX, 9)]
    assert damage[0].evidence == (
        "the store finds version 2 of its stream nowhere, and it is at position 5"
    )


async def test_what_the_engine_says_is_passed_on() -> None:
    class SickStore(InMemoryStore):
        async def check_engine(self) -> list[str]:
            return ["page 3 is torn"]

    async with SickStore() as store:
        [damage] = (await verify(store)).damage

    assert damage == Damage(DamageKind.INDEX, "page 3 is torn")


async def test_events_without_digest_are_counted_and_judged_all_the_same(
    store: ForgedStore,
) -> None:
    for number in range(6):
        store.rows[number] = replace(store.rows[number], digest=None)

    verification = await verify(store)

    assert verification.is_whole
    assert verification.undigested_count == 6


async def test_event_missing_among_those_without_digest_shows_at_the_next_digest(
    store: ForgedStore,
) -> None:
    for number in range(6):
        store.rows[number] = replace(store.rows[number], digest=None)
    del store.rows[2]
    store.seal_anew()

    damage = await found_in(store)

    broken = next(d for d in damage if d.position == 7)
    assert "the digest of the log does not go on here; no event is at position 3" in broken.evidence


async def test_event_missing_in_a_log_without_digests_shows_at_the_head(store: ForgedStore) -> None:
    store.rows = [replace(row, digest=None) for row in store.rows]
    del store.rows[11 - 1]  # its stream's last, so that no later version misses it
    store.seal_anew()

    [damage] = await found_in(store)

    assert (damage.what, damage.position) == (DamageKind.END, 12)
    assert damage.evidence.endswith("; no event is at position 11")


async def test_verification_goes_on_where_an_earlier_one_ended(store: ForgedStore) -> None:
    store.change(5, type="test:counted")
    store.change(9, type="test:counted")

    verification = await verify(store, after_position=6)

    assert places(verification.damage) == [(DamageKind.CHANGED, 9)]
    assert (verification.after_position, verification.event_count) == (6, 6)
    assert (await verify(store, after_position=12)).is_whole


async def test_first_event_behind_the_bound_is_judged_in_the_log(store: ForgedStore) -> None:
    store.rows[6] = replace(store.rows[6], digest=bytes(32))

    assert places((await verify(store, after_position=6)).damage) == [(DamageKind.BROKEN, 7)]


@pytest.mark.parametrize("after_position", [-1, 13])
async def test_bound_outside_the_log_is_refused(store: ForgedStore, after_position: int) -> None:
    with pytest.raises(InvalidInputError, match="after_position"):
        await verify(store, after_position=after_position)


async def test_findings_are_bounded_and_the_others_counted() -> None:
    async with ForgedStore() as store:
        for _ in range(2):
            await store.append("note-1", noted(*map(str, range(1_000))), expected_version=ANY)
        await store.learn()
        for position in range(1, 2_001):
            store.change(position, schema_version=2)

        verification = await verify(store)

    assert len(verification.damage) == 1_000
    assert verification.damage_count == 2_000


async def test_progress_is_told_by_positions() -> None:
    async with InMemoryStore() as store:
        for _ in range(3):
            await store.append("note-1", noted(*map(str, range(1_000))), expected_version=ANY)
        told: list[int] = []

        await verify(store, on_progress=told.append)

    assert told == [1_000, 2_000, 3_000]


async def test_what_is_appended_meanwhile_is_not_judged() -> None:
    class GrowingStore(InMemoryStore):
        async def read_sealed_page(self, after_position: int, limit: int) -> list[SealedEvent]:
            await self.append("note-2", noted("meanwhile"), expected_version=ANY)
            return await super().read_sealed_page(after_position, limit)

    async with GrowingStore() as store:
        await store.append("note-1", noted("a", "b"), expected_version=0)

        verification = await verify(store)

    assert verification.is_whole
    assert (verification.until_position, verification.event_count) == (2, 2)


async def test_streams_beyond_what_is_remembered_are_judged_by_what_the_store_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backstory.operations._stream_chain._STREAM_COUNT_MAX", 2)
    async with ForgedStore() as store:
        for number in range(12):
            await store.append(f"note-{number % 3}", noted(str(number)), expected_version=ANY)
        await store.learn()

        assert await found_in(store) == []
        store.change(5, type="test:counted")
        assert places(await found_in(store)) == [(DamageKind.CHANGED, 5)]


async def test_appends_of_several_streams_and_with_metadata_are_whole() -> None:
    metadata = Metadata(actor="ada", correlation_id="c", tags=("x", "y"), free={"k": [1]})
    async with InMemoryStore() as store:
        parts = [StreamAppend(f"note-{n}", [new_event(metadata=metadata)], 0) for n in range(5)]
        await store.append_many(parts)

        assert (await verify(store)).is_whole
