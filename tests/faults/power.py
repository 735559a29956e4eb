"""What a power cut leaves of files, worked out from what a program has written and synced.

strace has written down every write, truncation, sync and removal, in their order. At a moment of
choice the power goes: of each file there is what was synced last, and of what came since any part,
in any order, whole or torn at sectors of 512 bytes. Names of files are there as the folder was
synced last, or as any later change of it left them. A sync that failed has synced nothing.

The disk is as bad as disks may be, and no worse: what a sync has confirmed is there.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

SECTOR: Final = 512

_WHOLE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
_BEGUN = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_ENDED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)")
_ON_FILE = re.compile(r"^(?:AT_FDCWD<[^>]*>|\d+<((?:\\x[0-9a-f]{2})*)>)(?:, )?(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True)
class Operation:
    """Something that a program did to a file."""

    call: str
    path: str
    offset: int = 0
    data: bytes = b""


def read_operations(log: str) -> Iterator[Operation]:
    """Yield what succeeded, in the order in which it ended."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        if match := _BEGUN.match(line):
            begun[match[1]] = match[3]
        elif match := _WHOLE.match(line) or _ENDED.match(line):
            arguments = begun.pop(match[1], "") + match[3]
            if int(match[4]) >= 0:
                yield from _operation(match[2], arguments, int(match[4]))


def _operation(call: str, arguments: str, result: int) -> Iterator[Operation]:
    on_file = _ON_FILE.match(arguments)
    path = _text(on_file[1]) if on_file and on_file[1] else ""
    text = _TEXT.search(arguments)
    said = b"" if text is None else _bytes(text[1])
    match call:
        case "pwrite64":
            offset = int(arguments.rsplit(", ", 1)[1])
            yield Operation("write", path, offset, said[:result])
        case "write":
            yield Operation("append", path, 0, said[:result])
        case "ftruncate":
            yield Operation("truncate", path, int(arguments.rsplit(", ", 1)[1]))
        case "fsync" | "fdatasync":
            yield Operation("sync", path)
        case "unlink":
            yield Operation("remove", said.decode())
        case "openat" if "O_CREAT" in arguments:
            yield Operation("create", said.decode())
        case _:
            pass


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _text(escaped: str) -> str:
    return _bytes(escaped).decode()


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list[Operation])

    def sync(self) -> None:
        for operation in self.pending:
            _apply(operation, self.durable)
        self.pending.clear()


def _apply(operation: Operation, content: bytearray) -> None:
    if operation.call == "truncate":
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
    else:
        content.extend(bytes(max(0, operation.offset - len(content))))
        content[operation.offset : operation.offset + len(operation.data)] = operation.data


class Disk:
    """A folder on a disk that holds back what was not synced."""

    def __init__(self, folder: Path, content: Path) -> None:
        """Begin with what lies in another folder, all of it synced.

        Args:
            folder: The folder that programs write to.
            content: Where its content is.
        """
        self._folder = str(folder)
        self._names = {file.name: _File(bytearray(file.read_bytes())) for file in content.iterdir()}
        self._durable_names = dict(self._names)
        self._pending_names: list[tuple[str, _File | None]] = []

    def do(self, operations: Iterable[Operation]) -> None:
        """Do what was done to the files of the folder; all else is passed over."""
        for operation in operations:
            if operation.path == self._folder and operation.call == "sync":
                self._durable_names = dict(self._names)
                self._pending_names.clear()
            elif operation.path.startswith(f"{self._folder}/"):
                self._do(operation, operation.path.removeprefix(f"{self._folder}/"))

    def _do(self, operation: Operation, name: str) -> None:
        match operation.call:
            case "create" if name not in self._names:
                self._rename(name, _File())
            case "create":
                pass
            case "remove":
                self._rename(name, None)
            case "sync" if name in self._names:
                self._names[name].sync()
            case "append":
                # The one file that is written so is written from its beginning each time.
                write = Operation("write", operation.path, 0, operation.data)
                self._names[name].pending.append(write)
            case "write" | "truncate" if name in self._names:
                self._names[name].pending.append(operation)
            case _:
                pass

    def _rename(self, name: str, file: _File | None) -> None:
        self._pending_names.append((name, file))
        self._names.pop(name, None)
        if file is not None:
            self._names[name] = file

    def cut_power(self, folder: Path, chance: random.Random) -> None:
        """Write into a folder what is left, as chance will have it."""
        names = dict(self._durable_names)
        for name, file in self._pending_names[: chance.randint(0, len(self._pending_names))]:
            names.pop(name, None)
            if file is not None:
                names[name] = file
        for name, file in names.items():
            # The shared memory of SQLite is made anew by whoever opens the file first.
            if not name.endswith("-shm"):
                (folder / name).write_bytes(_left_of(file, chance))


def _left_of(file: _File, chance: random.Random) -> bytes:
    content = bytearray(file.durable)
    kept = chance.choice([0.0, 0.5, 0.9, 1.0])
    left = [operation for operation in file.pending if chance.random() < kept]
    if chance.random() < 0.3:
        left = file.pending[: chance.randint(0, len(file.pending))]
    if chance.random() < 0.3:
        chance.shuffle(left)
    for operation in left:
        for part in _torn(operation, chance) if chance.random() < 0.2 else [operation]:
            _apply(part, content)
    return bytes(content)


def _torn(operation: Operation, chance: random.Random) -> Sequence[Operation]:
    """Return some of the sectors of a write."""
    begin, end = operation.offset, operation.offset + len(operation.data)
    bounds = [begin, *range((begin // SECTOR + 1) * SECTOR, end, SECTOR), end]
    return [
        Operation("write", operation.path, low, operation.data[low - begin : high - begin])
        for low, high in pairwise(bounds)
        if chance.random() < 0.5
    ]
