"""One word for one thing: public names and SQL names keep to the glossary."""

import ast
import re
from collections.abc import Iterator

# What is not said, and what is said instead (docs/reference/glossary.md). Only words that have no
# honest use of their own in an event store are here; prose is left to its readers.
AVOIDED = {
    "bookmark": "checkpoint",
    "consumer": "subscription or projector",
    "dao": "repository",
    "denormaliser": "projection",
    "denormalizer": "projection",
    "dispatch": "execute or tell",
    "envelope": "RecordedEvent (an envelope is an actor's)",
    "etag": "expected_version",
    "event_data": "NewEvent",
    "event_kind": "event type",
    "event_name": "event type",
    "event_number": "version",
    "exactly_once": "at least once",
    "expected_revision": "expected_version",
    "fetch": "read",
    "global_position": "position",
    "global_version": "position",
    "headers": "metadata",
    "hydrate": "load",
    "inbox": "mailbox",
    "listener": "subscription",
    "marshaller": "codec",
    "memento": "snapshot",
    "mutate": "evolve",
    "publish": "append",
    "reconstitute": "load",
    "rehydrate": "load",
    "reprocess": "replay",
    "respawn": "restart",
    "resync": "rebuild",
    "sequence_nr": "version",
    "sequence_number": "version or position",
    "serialiser": "codec",
    "serializer": "codec",
    "stored_event": "RecordedEvent",
    "stream_name": "stream_id",
    "stream_revision": "version",
    "topic": "stream or event type",
    "transcoder": "codec",
    "uncommitted": "NewEvent",
    "watermark": "checkpoint",
}

# Names that may hold an avoided word, each with its reason.
ALLOWED: dict[str, str] = {
    "Envelope": "an actor's",
    "envelope": "an actor's",
}


def test_public_names_keep_to_the_glossary(modules: dict[str, ast.Module]) -> None:
    assert not [
        f"{file}:{line}: {name}: say {instead}"
        for file, tree in modules.items()
        for line, name in public_names(tree)
        for instead in better(name)
    ]


def test_sql_names_keep_to_the_glossary(texts: dict[str, str]) -> None:
    assert not [
        f"{file}: {name}: say {instead}"
        for file, text in texts.items()
        if file.startswith("framework/backstory/stores/") and file.endswith(".sql")
        for name in sorted(set(re.findall(r"\w+", without_comments_and_texts(text))))
        for instead in better(name)
    ]


def better(name: str) -> Iterator[str]:
    """Yield the words that the glossary has instead of those inside a name."""
    if name not in ALLOWED:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        yield from (
            instead
            for avoided, instead in AVOIDED.items()
            if re.search(f"(^|_){avoided}s?(_|$)", words)
        )


def public_names(scope: ast.Module | ast.ClassDef) -> Iterator[tuple[int, str]]:
    """Yield classes, functions, parameters and attributes, as far as no underscore hides them."""
    for node in scope.body:
        match node:
            case ast.ClassDef(name=name) if not name.startswith("_"):
                yield node.lineno, name
                yield from public_names(node)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if is_public(name):
                yield node.lineno, name
                yield from (
                    (arg.lineno, arg.arg) for arg in ast.walk(node.args) if isinstance(arg, ast.arg)
                )
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if not name.startswith("_"):
                    yield node.lineno, name
            case _:
                pass


def is_public(function: str) -> bool:
    return not function.startswith("_") or function == "__init__"


def without_comments_and_texts(sql: str) -> str:
    return re.sub(r"--[^\n]*|/\*.*?\*/|'[^']*'", "", sql, flags=re.DOTALL)
