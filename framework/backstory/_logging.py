"""The logger and its keys.

Events are named `noun.past`; the keys beside them are always the ones below, so that a search finds
them all. Nothing is printed until the program asks for it: the entries go to the standard library's
logger `backstory`, at the level that is said in the reference.
"""

import logging
from typing import Any, Final

import structlog

STREAM_ID: Final = "stream_id"
VERSION: Final = "version"
POSITION: Final = "position"
PROJECTION: Final = "projection"
DECISION: Final = "decision"
ATTEMPT: Final = "attempt"
REASON: Final = "reason"
FIELD: Final = "field"
ACTOR: Final = "actor"
METHOD: Final = "method"
DIRECTIVE: Final = "directive"

_standard = logging.getLogger("backstory")
_standard.addHandler(logging.NullHandler())

log: Any = structlog.wrap_logger(
    _standard,
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.processors.format_exc_info,
        structlog.stdlib.render_to_log_kwargs,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)
"""Backstory's logger; the keys arrive as attributes of the standard library's log records."""
