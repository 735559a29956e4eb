"""What lies in the columns of the tables, which a column's name tells.

    …_at     a time, in microseconds since 1970 in UTC
    …_json   a JSON text
    is_…     0 or 1

Such values are the same in every database, and compare as what they stand for.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from backstory import SQLValue

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def time_value(moment: datetime) -> int:
    """Return what a column holds for a time with a zone."""
    # In other zones the first year begins, and the last one ends, where UTC has no date.
    return max(_FIRST, min((moment - _EPOCH) // _MICROSECOND, _LAST))


def json_value(value: object) -> str | None:
    """Return what a column holds for JSON values; for None nothing."""
    return None if value is None else msgspec.json.encode(value).decode()


def values_of(columns: Mapping[str, SQLValue]) -> dict[str, Any]:
    """Return what the columns of a row stand for; JSON loses the end of its name."""
    return dict(_value_of(name, value) for name, value in columns.items())


def _value_of(name: str, value: Any) -> tuple[str, Any]:
    if name.endswith("_json"):
        return name.removesuffix("_json"), None if value is None else msgspec.json.decode(value)
    if name.endswith("_at") and value is not None:
        return name, _EPOCH + value * _MICROSECOND
    if name.startswith("is_"):
        return name, bool(value)
    return name, value
