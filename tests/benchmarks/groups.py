"""All groups of rows, in the order of the page. A further one is a module, and a name here."""

from typing import Final

from tests.benchmarks import appends, catching_up, commands, delivery, growth, loads, replays
from tests.benchmarks.group import Group
from tests.benchmarks.postgres import groups as postgres

GROUPS: Final[tuple[Group, ...]] = (
    appends.GROUP,
    loads.GROUP,
    commands.GROUP,
    replays.GROUP,
    catching_up.GROUP,
    delivery.GROUP,
    growth.GROUP,
    *postgres.GROUPS,
)
