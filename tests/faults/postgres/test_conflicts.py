"""A conflict is told on ends that were just read: it takes nobody's turn, and waits for none."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, noted, texts_of
from tests.faults.account import faults
from tests.faults.postgres.opened import SCHEMA, check_dense, held_turn, session_on, store_on
from tests.servers.proxy import Proxy

from backstory import ANY, NO_STREAM, EventStore, VersionConflictError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[EventStore]:
    """Yield a store of another process, as far as anybody can tell."""
    async with store_on(postgres_url) as store:
        yield store


@pytest.fixture
async def store(other: EventStore, proxy: Proxy) -> AsyncIterator[EventStore]:  # noqa: ARG001 - it has made the schema
    """Yield a store behind the proxy, which knows of a stream at version 1."""
    async with store_on(proxy.url, listen=False) as store:
        await store.append("note-1", noted("a"), expected_version=0)
        yield store


@pytest.mark.fault(10, 11, store="postgres", without="the refusal without the turn")
@pytest.mark.parametrize("expected", [0, NO_STREAM, 1])
async def test_conflict_is_told_while_somebody_holds_the_turn(
    postgres_url: str, store: EventStore, expected: Any
) -> None:
    await store.append("note-1", noted("b"), expected_version=1)

    async with held_turn(postgres_url):
        faults.count()
        with anyio.fail_after(DEADLINE_SECONDS), pytest.raises(VersionConflictError) as told:
            await store.append("note-1", noted("x"), expected_version=expected)

    assert told.value.actual_version == 2
    assert texts_of(await check_dense(store)) == ["a", "b"]


@pytest.mark.fault(10, store="postgres", without="the second attempt on what is read anew")
@pytest.mark.parametrize(
    ("stream_id", "expected"), [("note-1", 1), ("note-1", ANY), ("note-2", NO_STREAM)]
)
async def test_group_that_met_other_writers_holds_the_turn_no_longer_than_others(
    proxy: Proxy, store: EventStore, other: EventStore, stream_id: str, expected: Any
) -> None:
    await other.append(stream_id, noted("b"), expected_version=ANY)
    faults.count()
    proxy.cut_before(b"take_turn")  # with which the long way begins

    if expected is ANY:
        await store.append(stream_id, noted("c"), expected_version=ANY)
    else:
        with pytest.raises(VersionConflictError):
            await store.append(stream_id, noted("c"), expected_version=expected)

    assert not proxy.injected
    await check_dense(other)


@pytest.mark.fault(10, store="postgres", without="the ends that a refusal is judged on anew")
async def test_version_ahead_of_what_is_remembered_is_looked_for(
    store: EventStore, other: EventStore
) -> None:
    for version in range(1, 9):
        await other.append("note-1", noted("b"), expected_version=version)
    faults.count()

    receipt = await store.append("note-1", noted("c"), expected_version=9)

    assert receipt.last_version == 10
    await check_dense(other)


@pytest.mark.fault(10, 14, store="postgres", without="the look for the ids of what is refused")
async def test_repetition_of_what_others_have_passed_is_answered(
    store: EventStore, other: EventStore
) -> None:
    events = noted("b")
    receipt = await store.append("note-1", events, expected_version=1)
    await other.append("note-1", noted("c"), expected_version=2)
    faults.count()

    for repeating in (store, other):
        assert await repeating.append("note-1", events, expected_version=1) == receipt
    await check_dense(other)


@pytest.mark.fault(10, 14, store="postgres", without="the long way of what is recorded already")
@pytest.mark.parametrize("expected", [0, ANY])
async def test_repetition_is_found_where_memory_says_nothing_of_it(
    store: EventStore, other: EventStore, expected: Any
) -> None:
    events = noted("b")
    receipt = await other.append("note-2", events, expected_version=expected)
    faults.count()

    assert await store.append("note-2", events, expected_version=expected) == receipt
    assert await store.append("note-2", events, expected_version=expected) == receipt
    await check_dense(other)


@pytest.mark.fault(33, store="postgres", without="the ends that a refusal is judged on anew")
async def test_refusal_does_not_rest_on_what_a_log_has_lost(
    postgres_url: str, store: EventStore
) -> None:
    for version in range(1, 5):
        await store.append("note-1", noted("b"), expected_version=version)
    async with session_on(postgres_url) as owner:  # as a restore does, beneath a living connection
        await owner.execute(f"ALTER TABLE {SCHEMA}.events DISABLE TRIGGER ALL")
        await owner.execute(f"DELETE FROM {SCHEMA}.events WHERE position > 3")  # noqa: S608 - ours
        await owner.execute(f"ALTER TABLE {SCHEMA}.events ENABLE TRIGGER ALL")
    faults.count()

    receipt = await store.append("note-1", noted("c"), expected_version=3)

    assert receipt.last_version == 4
    await check_dense(store)
