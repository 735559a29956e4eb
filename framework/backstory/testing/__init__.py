"""What tests of a program built on Backstory need: specifications, failures, simulations.

The names stand in the order in which one meets them. None of them needs pytest; only the tests that
every store must pass do, and they have a door of their own, `backstory.testing.store_contract`.
"""

# ruff: noqa: I001, RUF022 - the imports and __all__ are a table of contents, in teaching order

# Specifications
from backstory.testing._aggregate_spec import AggregateSpec, Outcome
from backstory.testing._decision_spec import DecisionSpec
from backstory.testing._projection_spec import ProjectionSpec

# Events, and what they are made with
from backstory.testing._events import GivenEvent, new_event, recorded_event, recorded_on
from backstory.testing._clock import ManualClock
from backstory.testing._ids import SequentialIds

# A store that fails when it is told to
from backstory.testing._faulty_store import Delay, FaultyStore, StoreCall
from backstory.testing._forwarding_store import Verb

# A program under another order of work, faults and crashes for each seed
from backstory.testing._simulation import Scenario, Simulation, SimulationFailedError, simulate
from backstory.testing._simulated_store import NO_FAULTS, FaultKind, Faults, TracedCall

# Histories: what clients were told, held against the log
from backstory.testing._history import History, HistoryWriter, read_history
from backstory.testing._history_store import WitnessedStore
from backstory.testing._history_check import check_history
from backstory.testing._history_verdict import Finding, HistoryVerdict, Invariant, Judged

__all__ = [
    # Specifications
    "AggregateSpec",
    "Outcome",
    "DecisionSpec",
    "ProjectionSpec",
    # Events, and what they are made with
    "GivenEvent",
    "new_event",
    "recorded_event",
    "recorded_on",
    "ManualClock",
    "SequentialIds",
    # A store that fails when it is told to
    "Delay",
    "FaultyStore",
    "StoreCall",
    "Verb",
    # A program under another order of work, faults and crashes for each seed
    "Scenario",
    "Simulation",
    "SimulationFailedError",
    "simulate",
    "NO_FAULTS",
    "FaultKind",
    "Faults",
    "TracedCall",
    # Histories: what clients were told, held against the log
    "History",
    "HistoryWriter",
    "read_history",
    "WitnessedStore",
    "check_history",
    "Finding",
    "HistoryVerdict",
    "Invariant",
    "Judged",
]
