"""Checkpoints and read models, held against a fold of the log while it is read."""

from collections.abc import Iterable, Sequence

from backstory._codec import state_decoder
from backstory._fingerprint import fingerprint_of
from backstory._fold import fold
from backstory._projection import Projection
from backstory._recorded import RecordedEvent
from backstory.testing._difference import differing_fields
from backstory.testing._history import Checkpointed, History
from backstory.testing._history_verdict import Findings, Invariant


class JudgedProjection:
    """One projection, folded along the log, and the checkpoints that it must agree with."""

    def __init__(
        self,
        projection: type[Projection],
        histories: Iterable[History],
        findings: Findings,
    ) -> None:
        self._model = projection()
        self._findings = findings
        fingerprint = fingerprint_of(projection)
        self._due = sorted(
            (
                (line, history.name)
                for history in histories
                for line in history.lines
                if isinstance(line, Checkpointed)
                and line.projection == projection.projection_name
                and line.fingerprint == fingerprint
            ),
            key=lambda due: due[0].position,
            reverse=True,
        )

    def see(self, recorded: RecordedEvent) -> None:
        """Compare the checkpoints that lie before an event, and fold it."""
        while self._due and self._due[-1][0].position < recorded.position:
            self._compare(*self._due.pop())
        fold(self._model, recorded)

    def finish(self, head: int, models: Sequence[Projection]) -> None:
        """Compare what is left, and the read models that have seen all of the log.

        Args:
            head: Where the log ends.
            models: Read models of this projection.
        """
        while self._due:
            line, history = self._due.pop()
            if line.position > head:
                what = f"the checkpoint is at {line.position}, the log ends at {head}"
                self._findings.add(Invariant.READ_MODELS, what, where=_where(line, history))
            else:
                self._compare(line, history)
        for model in models:
            name = model.projection_name
            self._compare_model(model, f"the read model of {name!r} at the end of the log")

    def _compare(self, line: Checkpointed, history: str) -> None:
        where = _where(line, history)
        try:
            model = state_decoder(type(self._model))(line.model_json.encode())
        except ValueError as error:
            what = f"the read model cannot be read: {error}"
            self._findings.add(Invariant.READ_MODELS, what, where=where)
            return
        self._compare_model(model, where)

    def _compare_model(self, model: Projection, where: str) -> None:
        self._findings.counts["checkpoint_count"] += 1
        for name in differing_fields(self._model, model):
            due, found = getattr(self._model, name), getattr(model, name)
            what = f"{name!r} is {found!r}, folded from the log it is {due!r}"
            self._findings.add(Invariant.READ_MODELS, what, where=where)


def _where(line: Checkpointed, history: str) -> str:
    return f"checkpoint of {line.projection!r} at position {line.position}, seen by {history!r}"
