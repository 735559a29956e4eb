"""`backstory completion`: the script by which a shell completes commands and options."""

from typing import Final

import click
from click.shell_completion import ShellComplete, get_completion_class

from backstory.cli._help import EPILOG
from backstory.cli._output import print_line

PROGRAM: Final = "backstory"
COMPLETE_VARIABLE: Final = "_BACKSTORY_COMPLETE"
"""By which a shell asks the program for completions."""


@click.command(short_help="Print the script for shell completion.", epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the script by which SHELL completes commands and options, also those of packages.

    Let the shell read it when it starts. bash needs version 4.4 or newer.

    \b
    Examples:
      backstory completion bash > ~/.local/share/bash-completion/completions/backstory
      backstory completion zsh > ~/.zfunc/_backstory
      backstory completion fish > ~/.config/fish/completions/backstory.fish
    """  # noqa: D301 - \b keeps click from wrapping
    script = get_completion_class(shell)
    if script is None:
        raise click.ClickException(f"this version of click cannot complete in {shell}")
    program = context.find_root().command
    # Without bash's own look at which bash is installed: the script may be for another machine.
    print_line(ShellComplete.source(script(program, {}, PROGRAM, COMPLETE_VARIABLE)))
