"""The command line, and what a package needs that adds a command to it.

A command is a `click` command, found by entry point (group `backstory.commands`, its name as the
entry point's name). It parses, calls and prints, and decides nothing. It takes its store with
`store_option` and `open_store`, runs with `run`, and prints with the functions below. Its help has
examples, and ends with `EPILOG`. Errors are left to `main`, which gives all commands the same exit
codes:

    0    done
    1    refused or failed; the reason is on standard error
    2    the call's words are off
    130  interrupted
    141  the reader of standard output went away
"""

try:
    import click as _click
    import rich as _rich
except ImportError as error:
    raise ImportError(
        "the command line needs click and rich, which the extra `cli` brings: "
        "pip install '.[cli]' in a clone of Backstory"
    ) from error

from backstory.cli._event_line import decode_options, prepare_decoding
from backstory.cli._help import EPILOG
from backstory.cli._main import main
from backstory.cli._output import print_fields, print_json, print_line, print_table, printable
from backstory.cli._session import json_option, open_store, run, store_option

__all__ = [
    "EPILOG",
    "decode_options",
    "json_option",
    "main",
    "open_store",
    "prepare_decoding",
    "print_fields",
    "print_json",
    "print_line",
    "print_table",
    "printable",
    "run",
    "store_option",
]

del _click, _rich
