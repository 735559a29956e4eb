"""Handlers that are changed by one thing never meet a state that the unchanged ones have left.

Each subject is a module with handlers. It is changed in one place at a time (an operator, a
constant, a condition, a helper two calls away), and the changed class is loaded from a store in
which the unchanged one has left a snapshot or a checkpoint. No number of a revision is raised.
"""

import ast
import io
import random
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from inspect import getsource
from types import CodeType, ModuleType
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from tests.integration.mutation import mutants

from backstory import (
    ANY,
    Backstory,
    Checkpoint,
    Event,
    NewEvent,
    Projection,
    Repository,
    Snapshot,
    derive_event_id,
    fold_log,
)
from backstory._aggregate import evolve
from backstory._codec import encode_state
from backstory._events import event_class
from backstory._fingerprint import fingerprint_of
from backstory.stores.in_memory import InMemoryStore

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SEED: Final = 20_261_121
EVENT_COUNT: Final = 30
SHOP: Final = "tests.integration.mutated_shop"


class Subject(NamedTuple):
    """A class with handlers, and the modules that are executed anew for it, in order."""

    name: str
    modules: Sequence[str]
    reached_only: bool = True


SUBJECTS = (
    Subject("Basket", [f"{SHOP}.events", f"{SHOP}.prices", f"{SHOP}.basket"], reached_only=False),
    Subject("Agent", ["backstory_aggregates.agent.aggregate"]),
    Subject("Task", ["backstory_aggregates.task.aggregate"]),
    Subject("Memory", ["backstory_aggregates.memory.aggregate"]),
    Subject("Swarm", ["backstory_aggregates.swarm.aggregate"]),
    Subject("AgentState", ["backstory_projections.agent_state"]),
    Subject("TaskHistory", ["backstory_projections.task_history"]),
    Subject("MemoryIndex", ["backstory_projections.memory_index"]),
    Subject(
        "SwarmState", ["backstory_aggregates.swarm.events", "backstory_projections.swarm_state"]
    ),
)


def sources_of(subject: Subject) -> dict[str, str]:
    return {name: getsource(import_module(name)) for name in subject.modules}


def define(subject: Subject, codes: Mapping[str, CodeType]) -> Any:
    """Execute a subject's modules under their own names, and return its class."""
    kept = {name: sys.modules[name] for name in codes}
    namespace: dict[str, Any] = {}
    try:
        for name, code in codes.items():
            module = ModuleType(name)
            module.__package__ = name.rpartition(".")[0]
            sys.modules[name] = module
            exec(code, module.__dict__)  # noqa: S102 - a program of ours
            parent = sys.modules[module.__package__]
            setattr(parent, name.rpartition(".")[2], module)
            namespace = module.__dict__
    finally:
        sys.modules.update(kept)
        for name, module in kept.items():
            setattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], module)
    return namespace[subject.name]


VALUES: Final[dict[str, Sequence[Any]]] = {
    "article": ["lamp", "chair", "rug", "bed", "clock", "vase"],
    "owner": ["ada b lovelace", "grace"],
    "currency": ["CHF", "EUR"],
    "codes": [("percent-7", "hello"), ("percent-80",), ("welcome", "nothing")],
    "colours": [("red",), ("blue", "red"), ("green", "black", "white")],
    "cents": [7, 99, 100, 733, 1_500],
    "weight": [None, 100, 2_000, 2_001, 9_000],
    "details": [{}],
}


def sample(cls: type[Event], chance: random.Random) -> Event:
    """Return an event of a class with values that its handlers tell apart."""
    return cls(**{field.name: value_of(field, chance) for field in msgspec.structs.fields(cls)})


def value_of(field: msgspec.structs.FieldInfo, chance: random.Random) -> Any:
    number = chance.randrange(1, 6)
    if field.name in VALUES:
        return chance.choice(VALUES[field.name])
    if not field.required and chance.random() < 0.2:
        return None if "None" in str(field.type) else field.default
    kind = str(field.type)
    for word, value in {
        "datetime": datetime(2026, 1, number, tzinfo=UTC),
        "tuple": tuple(f"{field.name}-{n}" for n in range(number)),
        "dict": {"n": number},
        "str": f"{field.name}-{number}",
        "int": number,
    }.items():
        if word in kind:
            return value
    return number


async def a_past(cls: Any, store: InMemoryStore) -> None:
    """Append events for every handler, in an order that the seed says."""
    chance = random.Random(SEED)  # noqa: S311 - not for secrets
    types = [event_type for event_type in sorted(cls.handlers) if event_type]
    for place in range(EVENT_COUNT):
        # Each type in turn, so that every handler runs, and then as it comes.
        event_type = types[place] if place < len(types) else chance.choice(types)
        event_cls = event_class(event_type)
        assert event_cls is not None
        event = NewEvent.of(sample(event_cls, chance), event_id=derive_event_id("mutants", place))
        if event_type == "mutated:opened":
            event = NewEvent.raw(
                event_type, b'{"owner":"ada lovelace"}', event_id=event.event_id, schema_version=1
            )
        await store.append(stream_of(cls, event_type, chance), [event], expected_version=ANY)


def stream_of(cls: Any, event_type: str, chance: random.Random) -> str:
    if not issubclass(cls, Projection):
        return f"{cls.category}-1"
    category = event_type.partition(":")[0]
    swarm = f"s{chance.randrange(2)}"
    return f"{category}-{swarm}" if category == "swarm" else f"{category}-{swarm}/{category}1"


async def state_of(cls: Any, store: InMemoryStore) -> Snapshot | Checkpoint:
    """Return the state of a class as it would be kept."""
    fingerprint, projection = fingerprint_of(cls), issubclass(cls, Projection)
    state: Any = await (fold_log(store, cls) if projection else Repository(store).load(cls, "1"))
    state_json = encode_state(state)
    assert state_json is not None
    if projection:
        return Checkpoint(state.projection_name, await store.head(), fingerprint, state_json)
    return Snapshot(state.stream_id, state.version, fingerprint, state_json)


async def loaded(cls: Any, store: InMemoryStore, kept: Snapshot | Checkpoint) -> object:
    """Return the state of a class as a program gets it that finds a kept one, or how it failed."""
    try:
        if isinstance(kept, Snapshot):
            await store.save_snapshot(kept)
            return msgspec.to_builtins(await Repository(store).load(cls, "1"))
        await store.save_checkpoint(kept)
        async with Backstory(store, projections=[cls]) as story:
            return msgspec.to_builtins(await story.read_model(cls))
    except Exception as error:  # noqa: BLE001 - a changed handler may raise anything
        return repr(error)


async def folded(cls: Any, store: InMemoryStore) -> object:
    """Return the state of a class as its events give it, or how it failed."""
    try:
        if issubclass(cls, Projection):
            return msgspec.to_builtins(await fold_log(store, cls))
        aggregate = cls.blank("1")
        async for recorded in store.read_stream(aggregate.stream_id):
            evolve(aggregate, recorded)
        return msgspec.to_builtins(aggregate)
    except Exception as error:  # noqa: BLE001 - likewise
        return repr(error)


class Count(NamedTuple):
    """How many mutants there were, and of how many the state was another."""

    made: int
    harmful: int


async def serve_mutants(subject: Subject) -> Count:
    """Load every mutant of a subject from a store that the unchanged subject has used."""
    sources = sources_of(subject)
    codes = {name: compile(source, name, "exec") for name, source in sources.items()}
    original = define(subject, codes)
    undetected: list[str] = []
    deceived: list[str] = []
    made = harmful = 0
    async with InMemoryStore() as store:
        await a_past(original, store)
        before, kept = await folded(original, store), await state_of(original, store)
        assert before == await loaded(original, store, kept)
        for what, cls in all_mutants(subject, sources, codes):
            if fingerprint_of(cls) == kept.fingerprint:
                undetected.append(what)
            after = await folded(cls, store)
            if after != await loaded(cls, store, kept):
                deceived.append(what)
            made += 1
            harmful += after != before
    define(subject, codes)  # the events are registered as they were
    assert not undetected, f"seed {SEED}"
    assert not deceived, f"seed {SEED}"
    return Count(made, harmful)


def all_mutants(
    subject: Subject, sources: Mapping[str, str], codes: Mapping[str, CodeType]
) -> Iterator[tuple[str, Any]]:
    for name, source in sources.items():
        for mutant in mutants(source, name, reached_only=subject.reached_only):
            try:
                cls = define(subject, {**codes, name: mutant.code})
            except Exception:  # noqa: BLE001, S112 - it does not get as far as being served
                continue
            yield mutant.what, cls


MUTANT_COUNT_MIN: Final = {
    "Basket": 280,
    "Agent": 50,
    "Task": 70,
    "Memory": 30,
    "Swarm": 40,
    "AgentState": 190,
    "TaskHistory": 200,
    "MemoryIndex": 90,
    "SwarmState": 180,
}
"""So many at least, or the mutation itself has come to nothing."""

each_subject = pytest.mark.parametrize("subject", SUBJECTS, ids=[one.name for one in SUBJECTS])


@each_subject
async def test_changed_handlers_never_get_an_old_state(subject: Subject) -> None:
    count = await serve_mutants(subject)

    said = f"{count.made} mutants, {count.harmful} with another state, seed {SEED}"
    print(f"{subject.name}: {said}")  # noqa: T201 - shown by `pytest -rP`
    assert count.made >= MUTANT_COUNT_MIN[subject.name]
    # For most an old state would have been a wrong one.
    assert count.harmful > count.made // 2


def without_looks(source: str) -> str:
    """Return a module without its comments and its layout."""
    return ast.unparse(ast.parse(source))


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def with_other_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not ast.get_docstring(node):
            node.body.insert(0, ast.Expr(ast.Constant("word")))
    return ast.unparse(ast.fix_missing_locations(tree))


def with_methods_moved(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = [child for child in node.body if isinstance(child, ast.FunctionDef)]
            node.body = [*(child for child in node.body if child not in methods), *methods[::-1]]
    return ast.unparse(tree)


def with_a_line_for_everything(source: str) -> str:
    """Return a module with a comment and a new line wherever brackets allow it."""
    lines = source.splitlines(keepends=True)
    places: list[tuple[int, int]] = []
    depth = inside_text = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        inside_text += {"FSTRING_START": 1, "FSTRING_END": -1}.get(tokenize.tok_name[token.type], 0)
        if token.type == tokenize.OP and not inside_text:
            depth += (token.string in "([{") - (token.string in ")]}")
            if depth and token.string in ("(", "[", "{", ",", "+", "-", "*"):
                places.append(token.end)
    for row, column in reversed(places):
        line = lines[row - 1]
        lines[row - 1] = f"{line[:column]}  # here\n\n{line[column:]}"
    return "".join(lines)


LOOKS: Final = (
    *(without_looks, without_docstrings, with_other_docstrings, with_methods_moved),
    with_a_line_for_everything,
)


@each_subject
@pytest.mark.parametrize("look", LOOKS)
def test_other_looks_leave_the_fingerprint(subject: Subject, look: Callable[[str], str]) -> None:
    sources = sources_of(subject)
    codes = {name: compile(source, name, "exec") for name, source in sources.items()}
    looks = {name: compile(look(source), name, "exec") for name, source in sources.items()}

    changed = fingerprint_of(define(subject, looks))

    assert changed == fingerprint_of(define(subject, codes))
    assert all(look(source) != source for source in sources.values())
