"""What a code object does, without how its source looks.

The compiler lets the layout show: it puts a `NOP` where a line would have no instruction, jumps in
two steps where one would pass over a line, and repeats the end of a function where that saves a
jump. So the instructions are not taken as they lie there, one after the other, but as they can be
run: each with those that may come after it. What does nothing is left out, tails that do the same
count as one, and the rest is numbered in the order in which it is met from the beginning. Equal
shapes do the same, and what a formatter does to a source leaves its shape alone.

Where the compiler goes further by the layout (a swap of two variables across lines, a returned
`a and b or c` across lines), two layouts may have two shapes; that costs a fold, and no more.

Line numbers, comments, docstrings and the names of local variables are not in a shape. The names of
parameters are, since a call may use them, and so is what the instructions cannot show: which of
them an `except` watches over.

Another version of Python may compile the same source to another shape.
"""

import dis
import re
from collections.abc import Iterator
from types import CodeType
from typing import Any, Final, NamedTuple, cast

_SILENT: Final = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "PRECALL", "RESUME"})
"""Instructions that do nothing; where they stand depends on the layout of the source."""

_GOTOS: Final = frozenset(
    {"JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_FORWARD"}
)
"""Instructions that do nothing but go on elsewhere."""

# Which of a pair is compiled, and so which way is the jump, depends on the layout. Here both are
# the question, with the way for yes before the way for no.
_QUESTIONS: Final = {
    "POP_JUMP_IF_FALSE": ("POP_JUMP_IF_TRUE", False),
    "POP_JUMP_IF_TRUE": ("POP_JUMP_IF_TRUE", True),
    "POP_JUMP_IF_NONE": ("POP_JUMP_IF_NONE", True),
    "POP_JUMP_IF_NOT_NONE": ("POP_JUMP_IF_NONE", False),
}
"""For each conditional jump its question, and whether it jumps for yes."""

_PAIR: Final = re.compile(r"((?:LOAD|STORE)_FAST(?:_BORROW)?)_((?:LOAD|STORE)_FAST(?:_BORROW)?)")
"""Since 3.13, two instructions in one, where both stand on one line."""

_ENDS: Final = frozenset({"RAISE_VARARGS", "RERAISE", "RETURN_CONST", "RETURN_VALUE"})
"""Instructions that nothing comes after, but what watches over them."""

_TOLD: Final = frozenset({"__doc__", "__firstlineno__"})
"""What the body of a class inside a function keeps, and that tells only of the source."""

# All jumps are relative since 3.13, where one table has replaced the two.
_JUMPS: Final = frozenset(getattr(dis, "hasjump", None) or (*dis.hasjrel, *dis.hasjabs))
_LOCALS: Final = frozenset(dis.haslocal)
_CONSTANTS: Final = frozenset(dis.hasconst)
_NAMES: Final = frozenset(dis.hasname)

# Whether it takes *args or **kwargs, and whether it is a generator or a coroutine. Other flags come
# with `from __future__` imports, or say that there is a docstring.
_FLAGS: Final = 0x4 | 0x8 | 0x20 | 0x80 | 0x100 | 0x200


class LateImport(NamedTuple):
    """An import inside a function."""

    module: str
    """What is imported; empty for the package itself."""
    level: int
    """How many dots stand before it."""
    names: tuple[str, ...]
    """What is taken from it."""


class Instructions(NamedTuple):
    """What a code object does, and what it names, with the functions that are defined inside it."""

    shape: tuple[Any, ...]
    """Equal for code that does the same; its `repr` is the same in every process."""
    globals: frozenset[str]
    """The names that it looks up in its module."""
    attributes: frozenset[str]
    """The names that may be looked up on a value: attributes, keywords, and texts that could be."""
    imports: tuple[LateImport, ...]
    """The imports inside it."""


def instructions_of(code: CodeType) -> Instructions:
    """Return what a code object does."""
    reading = _Reading(code)
    parameters = code.co_argcount + code.co_kwonlyargcount
    parameters += bool(code.co_flags & 0x4) + bool(code.co_flags & 0x8)
    shape = (
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        code.co_varnames[:parameters],
        code.co_flags & _FLAGS,
        tuple(reading.graph()),
    )
    return Instructions(
        shape, frozenset(reading.globals), frozenset(reading.attributes), tuple(reading.imports)
    )


class _Reading:
    """Reads one code object."""

    def __init__(self, code: CodeType) -> None:
        self.globals: set[str] = set()
        self.attributes: set[str] = set()
        self.imports: list[LateImport] = []
        self._code = code
        self._steps = list(_steps_of(code))
        places = range(len(self._steps))
        self._place_at = {self._steps[place].offset: place for place in reversed(places)}
        self._watches: list[Any] = _watches(code)
        self._silent = self._find_silent()
        self._labels = [self._label(place) for place in places]
        self._followers = [self._after(place) for place in places]
        self._twins = self._find_twins()

    def graph(self) -> list[tuple[Any, ...]]:
        """Return the instructions that can be reached, each with the numbers of its followers."""
        numbers: dict[int, int] = {}
        order: list[int] = []
        waiting = [self._twins[self._settle(0)]]
        while waiting:
            place = waiting.pop()
            if place not in numbers:
                numbers[place] = len(numbers)
                order.append(place)
                waiting.extend(reversed(self._next(place)))
        return [
            (self._labels[place], *(numbers[follower] for follower in self._next(place)))
            for place in order
        ]

    def _next(self, place: int) -> list[int]:
        return [self._twins[follower] for follower in self._followers[place]]

    def _find_silent(self) -> set[int]:
        """Return the places of what does nothing, or keeps what only tells of the source."""
        silent: set[int] = set()
        for place, step in enumerate(self._steps):
            if step.opname in _SILENT:
                silent.add(place)
            elif step.opname == "STORE_NAME" and step.argval in _TOLD:
                silent |= {place - 1, place}
        return silent

    def _settle(self, place: int) -> int:
        """Go on from a place to the first instruction that does something."""
        passed: set[int] = set()
        while place not in passed:
            passed.add(place)
            step = self._steps[place]
            if step.opname in _GOTOS:
                place = self._place_at[step.argval]
            elif place in self._silent:
                place += 1
            else:
                break
        return place

    def _after(self, place: int) -> list[int]:
        """Return what may come after an instruction: the next, its target, what catches."""
        step = self._steps[place]
        places: list[int] = []
        if step.opname not in _ENDS and place + 1 < len(self._steps):
            places.append(self._settle(place + 1))
        if step.opcode in _JUMPS:
            places.append(self._settle(self._place_at[step.argval]))
        if _QUESTIONS.get(_undirected(step.opname), ("", False))[1]:
            places.reverse()
        places += [
            self._settle(self._place_at[watch.target])
            for watch in self._watches
            if watch.start <= step.offset < watch.end
        ]
        return places

    def _find_twins(self) -> list[int]:
        """Return for each place the one that stands for it.

        Only tails are joined, from which no way leads back: two of them are one exactly when all
        that can follow is the same.
        """
        twins = list(range(len(self._steps)))
        tails: set[int] = set()
        known: dict[tuple[Any, ...], int] = {}
        for place in reversed(range(len(self._steps))):
            followers = self._followers[place]
            if all(follower > place and follower in tails for follower in followers):
                tails.add(place)
                key = (self._labels[place], *(twins[follower] for follower in followers))
                twins[place] = known.setdefault(key, place)
        return twins

    def _label(self, place: int) -> tuple[str, Any]:
        """Return what an instruction does, and take note of what it names."""
        step = self._steps[place]
        name = _undirected(step.opname)
        name = _QUESTIONS.get(name, (name, False))[0]
        if place in self._silent or step.opcode in _JUMPS:
            return name, None
        if step.opcode in _CONSTANTS:
            return name, self._constant(self._value_of(step))
        if step.opcode in _LOCALS:
            return name, step.arg
        if step.opcode in _NAMES:
            self._note_name(place, step)
        known = isinstance(step.argval, str | int | None)
        return name, step.argval if known else step.argrepr

    def _value_of(self, step: dis.Instruction) -> object:
        # The names of keywords are constants, too, which 3.11 and 3.12 do not look up.
        if step.opname == "KW_NAMES" and step.arg is not None:
            return self._code.co_consts[step.arg]
        return step.argval

    def _note_name(self, place: int, step: dis.Instruction) -> None:
        if step.opname == "IMPORT_NAME":
            names, level = [
                before.argval
                for before in reversed(self._steps[:place])
                if before.opname not in _SILENT
            ][:2]
            self.imports.append(LateImport(step.argval, level, names or ()))
        elif "GLOBAL" in step.opname or step.opname == "LOAD_NAME":
            self.globals.add(step.argval)
        else:
            self.attributes.add(step.argval)

    def _constant(self, value: object) -> object:
        """Return what is the same for a constant in every process, where its repr may not be."""
        if isinstance(value, CodeType):
            inner = instructions_of(value)
            self.globals |= inner.globals
            self.attributes |= inner.attributes
            self.imports += inner.imports
            return ("code", inner.shape)
        if isinstance(value, frozenset):
            # In one order: that of a set changes with the hashes of the process.
            members = cast("frozenset[object]", value)
            return ("set", tuple(sorted(repr(self._constant(member)) for member in members)))
        if isinstance(value, tuple):
            items = cast("tuple[object, ...]", value)
            return ("tuple", tuple(self._constant(item) for item in items))
        if isinstance(value, str) and value.isidentifier():
            self.attributes.add(value)
        return (type(value).__name__, repr(value))


def _steps_of(code: CodeType) -> Iterator[dis.Instruction]:
    for step in dis.get_instructions(code):
        pair = _PAIR.fullmatch(step.opname)
        if pair is None or step.arg is None:
            yield step
        else:
            for name, local in zip(pair.groups(), divmod(step.arg, 16), strict=True):
                yield step._replace(opname=name, opcode=dis.opmap[name], arg=local)


def _undirected(name: str) -> str:
    # Forward or backward depends on where the compiler has put a block.
    return name.replace("_FORWARD", "").replace("_BACKWARD", "")


def _watches(code: CodeType) -> list[Any]:
    # It has no underscore, and typeshed does not know it.
    reading: Any = dis.Bytecode(code)
    return list(reading.exception_entries)
