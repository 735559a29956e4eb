"""An event changes its shape: older ones are translated when they are read, and stay as they are.

Version 1 had a name in one text, version 2 in two; version 3 has them as they are used today. Each
upcaster turns the data of one schema version into that of the next, as JSON values; stored bytes
are never rewritten.

Output:
    stored in version 1: {"name":"Ada Lovelace"}
    read as version 3: given 'Ada', family 'Lovelace', title None
    stored in version 2: {"first":"Alan","last":"Turing"}
    read as version 3: given 'Alan', family 'Turing', title None
    stored in version 3: {"given":"Grace","family":"Hopper","title":"Rear Admiral"}
    read as version 3: given 'Grace', family 'Hopper', title 'Rear Admiral'
    refused when it is defined: nothing translates version 1: give upcasters={1: …}
"""

from typing import Any

import anyio

from backstory import ANY, Backstory, ConfigurationError, Event, EventStore, NewEvent
from backstory import derive_event_id as id_of


def split_name(data: dict[str, Any]) -> dict[str, Any]:
    first, _, last = data["name"].partition(" ")
    return {"first": first, "last": last}


def rename_parts(data: dict[str, Any]) -> dict[str, Any]:
    return {"given": data["first"], "family": data["last"]}


class PersonRegistered(
    Event,
    type="person:registered",
    schema_version=3,
    upcasters={1: split_name, 2: rename_parts},
):
    given: str
    family: str
    title: str | None = None


def define_with_a_gap() -> type[Event]:
    class PersonMoved(Event, type="person:moved", schema_version=3, upcasters={2: rename_parts}):
        place: str

    return PersonMoved


async def write_as_older_programs_did(store: EventStore) -> None:
    for version, data in [
        (1, b'{"name":"Ada Lovelace"}'),
        (2, b'{"first":"Alan","last":"Turing"}'),
    ]:
        old = NewEvent.raw(
            "person:registered", data, event_id=id_of(version), schema_version=version
        )
        await store.append("person-1", [old], expected_version=ANY)


async def main() -> None:
    async with Backstory("memory://") as story:
        await write_as_older_programs_did(story.store)
        today = PersonRegistered(given="Grace", family="Hopper", title="Rear Admiral")
        new = NewEvent.of(today, event_id=id_of(3))
        await story.store.append("person-1", [new], expected_version=ANY)

        async for recorded in story.replay():
            print(f"stored in version {recorded.schema_version}:", recorded.data_json.decode())
            if isinstance(event := recorded.data, PersonRegistered):
                parts = f"given {event.given!r}, family {event.family!r}, title {event.title!r}"
                print(f"read as version {event.schema_version}: {parts}")

    try:
        define_with_a_gap()
    except ConfigurationError as error:
        print("refused when it is defined:", str(error).rpartition(", and ")[2])


anyio.run(main)
