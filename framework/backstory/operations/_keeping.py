"""What becomes of stored data when a class reads it: which fields it keeps, lacks or drops.

msgspec passes over a key that a class has no field for, without a word; that is what lets a new
program read old events, and what loses a fact when a field was renamed. So the stored data and the
value that it was read as are gone through side by side. The value itself is looked at, and not its
JSON: a class may leave out of its JSON what equals its default, and has kept it all the same.

Of values only numbers are compared, since a large whole number loses digits in a field for floats.
A text may be written otherwise than it was stored, as a time in another zone, and say the same.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Struct

JSONObject = dict[str, Any]

_NO_TAG: Final[frozenset[str]] = frozenset()


class Keeping:
    """The places where stored data and what it was read as differ, as paths such as `lines[].sku`.

    Items of a list share the path `[]`, the values of a map the path `.*`.
    """

    def __init__(self, stored: JSONObject, event: Struct) -> None:
        self.lost: dict[str, None] = {}
        """What is stored and was not kept, in order."""
        self.filled: dict[str, None] = {}
        """What is not stored and was filled by a default, in order."""
        self._walk(stored, event, "")

    def _walk(self, stored: Any, read: Any, path: str) -> None:
        fields = _fields_of(read)
        if isinstance(stored, dict):
            of_object = cast("JSONObject", stored)
            if fields is not None:
                self._walk_fields(of_object, fields, _tag_of(read), path)
            elif isinstance(read, dict):
                self._walk_map(of_object, cast("Mapping[Any, Any]", read), path)
        elif isinstance(stored, list):
            items: Any = read if fields is None else tuple(fields.values())
            self._walk_items(cast("Sequence[Any]", stored), items, path)
        elif _is_number(stored) and _is_number(read) and stored != read:
            self.lost[path] = None

    def _walk_fields(
        self, stored: JSONObject, fields: JSONObject, tag: frozenset[str], path: str
    ) -> None:
        for key, value in stored.items():
            place = f"{path}.{key}" if path else key
            if key in fields:
                self._walk(value, fields[key], place)
            elif key not in tag:
                self.lost[place] = None
        for key, value in fields.items():
            if key not in stored and value is not UNSET:
                self.filled[f"{path}.{key}" if path else key] = None

    def _walk_map(self, stored: JSONObject, read: Mapping[Any, Any], path: str) -> None:
        if len(stored) == len(read):
            # By order and not by key: a map may read its keys as numbers or times.
            for value, kept in zip(stored.values(), read.values(), strict=True):
                self._walk(value, kept, f"{path}.*")
            return
        # A TypedDict drops what it does not name.
        for key, value in stored.items():
            if key in read:
                self._walk(value, read[key], f"{path}.{key}")
            else:
                self.lost[f"{path}.{key}"] = None

    def _walk_items(self, stored: Sequence[Any], read: Any, path: str) -> None:
        if not isinstance(read, list | tuple | AbstractSet):
            return
        items = tuple(cast("list[Any]", read))
        if len(items) < len(stored):
            self.lost[f"{path}[]"] = None
        elif len(items) > len(stored):
            self.filled[f"{path}[]"] = None
        if isinstance(read, list | tuple) or hasattr(cast("object", read), "__struct_fields__"):
            # A set has an order of its own, so that its items cannot be told which is which.
            for value, kept in zip(stored, items, strict=False):
                self._walk(value, kept, f"{path}[]")


def _fields_of(read: Any) -> JSONObject | None:
    """Return the values of an object with named fields, by the names they are stored under."""
    if isinstance(read, Struct):
        fields = msgspec.structs.fields(read)
        return {field.encode_name: getattr(read, field.name) for field in fields}
    if dataclasses.is_dataclass(read) and not isinstance(read, type):
        return {field.name: getattr(read, field.name) for field in dataclasses.fields(read)}
    attributes: Any = getattr(read, "__attrs_attrs__", None)  # classes of the package attrs
    if attributes is None:
        return None
    return {attribute.name: getattr(read, attribute.name) for attribute in attributes}


def _tag_of(read: Any) -> frozenset[str]:
    config = getattr(read, "__struct_config__", None)
    return _NO_TAG if config is None or config.tag_field is None else frozenset({config.tag_field})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool | Enum)
