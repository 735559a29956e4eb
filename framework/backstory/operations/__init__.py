"""What one does with a whole store: check it against today's classes, move its events elsewhere."""

# ruff: noqa: RUF022 - __all__ is a table of contents

from backstory.operations._compatibility import CompatibilityReport, check_compatibility
from backstory.operations._folding import AggregateFinding
from backstory.operations._kind import CompatibilityFinding, Verdict
from backstory.operations._transfer import (
    BadEventLineError,
    EventImportSummary,
    SkippedEventLine,
    export_events,
    import_events,
    read_as_today,
)

__all__ = [
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
