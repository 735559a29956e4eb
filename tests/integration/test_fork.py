"""A store that is open belongs to its process: a forked child is refused, and harms nobody."""

import os
import sys
from pathlib import Path

import pytest
from tests.conftest import drain, noted, texts_of
from tests.faults.account import faults

from backstory import ANY, ConfigurationError
from backstory.stores.sqlite import SQLiteStore

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork"),
]


async def test_names_of_a_closed_store_are_free_while_a_forked_child_lives(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    reader, writer = os.pipe()
    async with SQLiteStore(path) as store:
        assert await store.try_own("Counts")
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)  # until the parent closes its end
            os._exit(0)

    async with SQLiteStore(path) as store:
        is_owned = await store.try_own("Counts")
    os.close(writer)
    os.close(reader)
    _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once

    assert is_owned
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.fault(29, without="the look at the process")
async def test_forked_child_is_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        await store.append("task-1", noted("before"), expected_version=ANY)

        child = os.fork()
        faults.count()
        if not child:  # the same event loop runs on in the child, without its threads
            code = 1
            try:
                await store.append("task-1", noted("child"), expected_version=ANY)
            except ConfigurationError as error:
                code = 0 if "before this process was forked" in str(error) else 2
            await store.aclose()
            sys.stdout.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
        await store.append("task-1", noted("after"), expected_version=1)

        assert os.waitstatus_to_exitcode(status) == 0
        assert texts_of(await drain(store.read_log())) == ["before", "after"]
