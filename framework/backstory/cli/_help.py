"""What the help of every command ends with."""

from typing import Final

EPILOG: Final = """\b
Exit codes:
  0    done
  1    refused or failed; the reason is on standard error
  2    the call's words are off
  130  interrupted
  141  the reader of standard output went away

\b
Environment:
  BACKSTORY_STORE  the store, where --store is not given
"""
"""For `epilog=`: the exit codes and the environment, which are the same for all commands."""
