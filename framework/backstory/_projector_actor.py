"""The actor of one projection: it runs a projector, as long as that goes."""

import os
import socket
from typing import Any

from backstory._projector import Projector
from backstory.actors import Actor, Directive, SupervisionPolicy

STOPS = SupervisionPolicy(rules=((Exception, Directive.STOP),))
"""What a projector meets it handles by itself: a store that does not answer, a handler that raises.
What is left is a mistake of ours; a restart would make it again, and nobody else is harmed."""


class ProjectorActor(Actor):
    """One projection, with one message that lasts as long as it runs.

    Orders do not go through the mailbox, which that message keeps busy: they are notes in the
    store, and the projector looks at them between two pages.
    """

    def __init__(self, projector: Projector[Any]) -> None:
        """Make the actor of a projector, which `run` runs."""
        self._projector = projector

    async def run(self) -> None:
        """Fold what is there and what comes, until the projector is told to stop."""
        await self._projector.run()


def this_process() -> str:
    """Return who owns what runs here, for whoever looks from elsewhere: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"
