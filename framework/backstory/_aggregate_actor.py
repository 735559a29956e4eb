"""The actor of one aggregate: commands one at a time, in order, on an instance that it keeps."""

from typing import TypeVar

import anyio

from backstory._execution import Execution, Kept
from backstory._reason import reason_of
from backstory.actors import Actor

R = TypeVar("R")


class CommandFailedError(Exception):
    """Carries what a command has raised out of its actor, to the one who asked."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(reason_of(error))
        self.error = error
        """What it has raised."""


class AggregateActor(Actor):
    """One aggregate: its live instance, or none."""

    def __init__(self, *, keeps: bool) -> None:
        """Make an actor without an instance.

        Args:
            keeps: Whether it keeps one from command to command.
        """
        self._keeps = keeps
        self._kept: Kept | None = None

    @property
    def version(self) -> int | None:
        """The version of the live instance; None when there is none, or a command has it."""
        return None if self._kept is None else self._kept.aggregate.version

    async def execute(self, execution: Execution[R]) -> R:
        """Run a command, and return what it returned.

        Raises:
            CommandFailedError: It has raised, or the append has; no instance is kept.
        """
        # Not put back unless all went well, whatever else happens, cancellation included.
        kept, self._kept = self._kept, None
        try:
            outcome = await execution.run(kept)
        except (anyio.get_cancelled_exc_class(), GeneratorExit):
            raise
        except BaseException as error:
            # Its caller's affair, a SystemExit too; the actor and its neighbours go on.
            raise CommandFailedError(error) from error
        if self._keeps:
            self._kept = outcome.kept
        return outcome.answer
