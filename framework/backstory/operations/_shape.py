"""The shape of data: which keys it has and of which kinds their values are, not what they say.

Data of one type has few shapes, however much of it there is, so that a look at one sample of each
is a look at all. Two things would make many of them, and are told apart from it:

- A list has the shapes of its items, each once: how long it is and in which order makes none.
- An object that is used as a map has other keys each time. Where more than 64 different keys were
  met at one place, the place counts as a map from then on: it has the shapes of its values, each
  once, as a list. The same holds at every new place when there are 10,000 places.

A shape is kept as a digest, and takes 16 bytes.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

_MAP_KEY_COUNT: Final = 64
_PLACE_COUNT_MAX: Final = 10_000
_KINDS: Final[dict[type, str]] = {type(None): "n", bool: "b", int: "i", float: "f", str: "s"}


class _Place:
    """Where a value can stand: its keys as far as they were met, and what stands behind each."""

    __slots__ = ("inner", "is_map", "items")

    def __init__(self, *, is_map: bool) -> None:
        self.inner: dict[str, _Place] = {}
        self.items: _Place | None = None
        self.is_map = is_map


class Shapes:
    """Tells the shapes of the data of one type; it learns which objects are maps."""

    def __init__(self) -> None:
        self.place_count = 0
        """Places that are told apart."""
        self._root = self._new_place()

    def digest(self, data: Any) -> bytes:
        """Return the digest of the shape of a JSON value."""
        text = self._shape(data, self._root)
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    def _new_place(self) -> _Place:
        self.place_count += 1
        return _Place(is_map=self.place_count > _PLACE_COUNT_MAX)

    def _shape(self, value: Any, place: _Place) -> str:
        kind = _KINDS.get(value.__class__)
        if kind is not None:
            return kind
        if isinstance(value, list):
            return f"[{self._shapes_of(cast('Sequence[Any]', value), place)}]"
        return self._shape_of_object(cast("dict[str, Any]", value), place)

    def _shapes_of(self, values: Iterable[Any], place: _Place) -> str:
        items = place.items
        if items is None:
            items = place.items = self._new_place()
        return ",".join(sorted({self._shape(value, items) for value in values}))

    def _shape_of_object(self, data: dict[str, Any], place: _Place) -> str:
        parts: list[str] = []
        for key in () if place.is_map else sorted(data):
            inner = place.inner.get(key)
            if inner is None:
                if len(place.inner) == _MAP_KEY_COUNT:
                    place.is_map, place.inner = True, {}
                    break
                inner = place.inner[key] = self._new_place()
            # As Python writes it, so that no key can look like two.
            parts.append(f"{key!r}:{self._shape(data[key], inner)}")
        if place.is_map:
            return f"<{self._shapes_of(data.values(), place)}>"
        return f"{{{','.join(parts)}}}"
