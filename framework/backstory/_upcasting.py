"""Upcasters: how events of older schema versions are read today.

Stored events are never rewritten. When the fields of an event change their shape, its class gets a
higher schema version, and for each older one a function that turns its raw data into that of the
next:

    def _add_priority(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "priority": 0}

    class TaskCreated(Event, type="task:created", schema_version=2, upcasters={1: _add_priority}):
        title: str
        priority: int

Whatever reads the event, an aggregate, a projection or an export, reads it through the codec and so
through the whole chain. The chain is complete from version 1, or the class is refused: a gap would
only be found when the one old event is read that falls into it.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from backstory._errors import ConfigurationError
from backstory._reason import reason_of

JSONObject = dict[str, Any]

Upcaster = Callable[[JSONObject], JSONObject]
"""Turns the data of one schema version, as a JSON object that it may change, into that of the
next. Pure: it is called on every read."""


def check_upcasters(event: str, schema_version: int, upcasters: Mapping[int, Upcaster]) -> None:
    """Refuse a chain that does not lead from every older schema version to the class's own.

    Raises:
        ConfigurationError: It has a gap, a link too many, or a link that is no function.
    """
    if not isinstance(cast("object", upcasters), Mapping):
        raise ConfigurationError(f"event {event}: upcasters is a dict of functions by version")
    for version in range(1, schema_version):
        if version not in upcasters:
            raise ConfigurationError(
                f"event {event} is at schema version {schema_version}, and nothing translates "
                f"version {version}: give upcasters={{{version}: …}}"
            )
    for version, upcaster in upcasters.items():
        if version not in range(1, schema_version):
            raise ConfigurationError(
                f"event {event}: an upcaster from version {version!r} leads nowhere, the class is "
                f"at schema version {schema_version}"
            )
        if not callable(upcaster):
            raise ConfigurationError(f"event {event}: upcaster {version} is no function")


def upcast(data: Any, schema_version: int, upcasters: Mapping[int, Upcaster]) -> JSONObject:
    """Return the data of an older schema version in the shape of the newest.

    Raises:
        ValueError: An upcaster raised, or returned no JSON object; the message says which.
    """
    for version in range(schema_version, len(upcasters) + 1):
        try:
            data = upcasters[version](cast("JSONObject", data))
        except Exception as error:
            reason = reason_of(error)
            raise ValueError(f"the upcaster from version {version} raised {reason}") from error
        if not isinstance(data, dict):
            raise ValueError(  # noqa: TRY004 - of a stored event, it is its data that is at fault
                f"the upcaster from version {version} returned no dict"
            )
    return cast("JSONObject", data)
