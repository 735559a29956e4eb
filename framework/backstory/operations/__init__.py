"""Work on a whole store: verify and salvage it, check it against today's classes, move events."""

# ruff: noqa: RUF022 - __all__ is a table of contents

from backstory.operations._compatibility import CompatibilityReport, check_compatibility
from backstory.operations._damage import Damage, DamageKind
from backstory.operations._folding import AggregateFinding
from backstory.operations._inspection import inspected
from backstory.operations._kind import CompatibilityFinding, Verdict
from backstory.operations._salvage import CutStream, Salvage, SalvageClock, salvage
from backstory.operations._transfer import (
    BadEventLineError,
    EventImportSummary,
    SkippedEventLine,
    export_events,
    import_events,
    read_as_today,
)
from backstory.operations._verification import Verification, verify

__all__ = [
    # Integrity
    "verify",
    "Verification",
    "Damage",
    "DamageKind",
    "inspected",
    "salvage",
    "SalvageClock",
    "Salvage",
    "CutStream",
    # Compatibility
    "check_compatibility",
    "CompatibilityReport",
    "CompatibilityFinding",
    "AggregateFinding",
    "Verdict",
    # Export and import
    "export_events",
    "import_events",
    "read_as_today",
    "EventImportSummary",
    "SkippedEventLine",
    "BadEventLineError",
]
