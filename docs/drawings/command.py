"""What the command line says of itself, as its users see it."""

import click

from backstory.cli._main import backstory


def draw_help(*names: str) -> str:
    """Return the help of a command, named by its words; of the program when there are none.

    Raises:
        ValueError: There is no such command.
    """
    context = click.Context(backstory, info_name="backstory", **backstory.context_settings)
    command: click.Command = backstory
    for name in names:
        found = command.get_command(context, name) if isinstance(command, click.Group) else None
        if found is None:
            raise ValueError(f"the command line has no command {' '.join(names)!r}")
        command, context = found, click.Context(found, info_name=name, parent=context)
    return f"```text\n{command.get_help(context)}\n```"
