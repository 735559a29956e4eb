"""Recorded runs of agent systems: run lines into a store, and out of it again.

A run line is one JSON object a line, in the order of the run:

    {"swarm":"s","n":34,"ts":null,"type":"memory.stored","agent":"a","task":null,"key":"k","data":{}}
"""

from backstory_aggregates.run_lines._exporting import RunLineExport, export_run_lines
from backstory_aggregates.run_lines._importing import import_run_lines, read_run_lines
from backstory_aggregates.run_lines._line import RunLine, format_run_line, parse_run_line
from backstory_aggregates.run_lines._mapping import run_line_event_id, to_line, to_new_event
from backstory_aggregates.run_lines._report import (
    BadRunLineError,
    ImportSummary,
    OnError,
    RunLineError,
    RunLineGapError,
    SkippedLine,
)

__all__ = [
    "BadRunLineError",
    "ImportSummary",
    "OnError",
    "RunLine",
    "RunLineError",
    "RunLineExport",
    "RunLineGapError",
    "SkippedLine",
    "export_run_lines",
    "format_run_line",
    "import_run_lines",
    "parse_run_line",
    "read_run_lines",
    "run_line_event_id",
    "to_line",
    "to_new_event",
]
