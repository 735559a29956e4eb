"""`backstory`, and `python -m backstory`: the command line, or what is missing for it."""

import sys


def main() -> None:
    """Run the command line; without its extra, say in one line what to install."""
    try:
        from backstory.cli import main as run  # noqa: PLC0415 - the extra may be missing
    except ImportError as error:
        sys.exit(f"backstory: {error}")
    run()


if __name__ == "__main__":
    main()
