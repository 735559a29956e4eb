"""The contract of an event store, as tests that every store runs.

A store's own test file gives a factory and nothing else:

    from backstory.testing.store_contract import StoreContract

    class TestMyStore(StoreContract):
        def make_store(self, folder: Path, clock: Clock) -> EventStore:
            return MyStore(folder / "story", clock=clock)

The groups can also be taken one by one. A test that a store's capabilities rule out is skipped, and
the skip names the capability. `InMemoryStore` passes first, and so specifies what is meant.

The tests are asynchronous, and run by the pytest plugin that comes with anyio.
"""

# ruff: noqa: E402, RUF022 - pytest is asked before the groups are imported; in reading order

try:
    import pytest
except ImportError as error:
    raise ImportError(
        "the store contract is run by pytest, which the extra `testing` brings: "
        "pip install '.[testing]' in a clone of Backstory"
    ) from error

# Before the import, so that a failed assertion of ours shows its values as one of the user's own.
pytest.register_assert_rewrite("backstory.testing._store_contract")

from backstory.testing._store_contract._append import Append, ExpectedVersions, Idempotence
from backstory.testing._store_contract._causality import Causes, Statistics
from backstory.testing._store_contract._closing import Closing
from backstory.testing._store_contract._concurrency import Concurrency, Sharing
from backstory.testing._store_contract._condition import Conditions
from backstory.testing._store_contract._filter import Filters
from backstory.testing._store_contract._progress import Notes, ProgressTogether, ReadModelTables
from backstory.testing._store_contract._read import Log, Pages, Read, Streams
from backstory.testing._store_contract._saved_state import Checkpoints, Snapshots
from backstory.testing._store_contract._subscribe import Subscribe

__all__ = [
    "StoreContract",
    "Append",
    "ExpectedVersions",
    "Idempotence",
    "Conditions",
    "Read",
    "Log",
    "Filters",
    "Pages",
    "Streams",
    "Causes",
    "Statistics",
    "Subscribe",
    "Snapshots",
    "Checkpoints",
    "Notes",
    "ProgressTogether",
    "ReadModelTables",
    "Concurrency",
    "Sharing",
    "Closing",
]


class StoreContract(
    Append,
    ExpectedVersions,
    Idempotence,
    Conditions,
    Read,
    Log,
    Filters,
    Pages,
    Streams,
    Causes,
    Statistics,
    Subscribe,
    Snapshots,
    Checkpoints,
    Notes,
    ProgressTogether,
    ReadModelTables,
    Concurrency,
    Sharing,
    Closing,
):
    """The whole contract; a subclass says how its store is made."""
