"""Every command says how it is used, and a shell can complete it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from backstory.cli._main import backstory as program

ROOT = Path(__file__).parents[2]
RUN = [sys.executable, "-m", "backstory"]


def commands(
    group: click.Group, context: click.Context, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, context, (*words, name))


COMMANDS = dict(commands(program, click.Context(program)))


def help_of(words: tuple[str, ...]) -> str:
    result = CliRunner().invoke(program, [*words, "--help"])
    assert result.exit_code == 0
    return result.stdout


def test_commands_of_other_packages_are_among_them() -> None:
    found = {(point.name,) for point in entry_points(group="backstory.commands")}

    assert found
    assert found <= COMMANDS.keys()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_is_complete(words: tuple[str, ...]) -> None:
    text = help_of(words)

    assert text.startswith("Usage: backstory" if len(words) == 1 else "Usage: ")
    assert len(examples(text)) >= 2
    for heading in ("Options:", "Exit codes:", "Environment:"):
        assert f"\n  {heading}" in text or f"\n{heading}" in text
    for code in ("0 ", "1 ", "2 ", "130 ", "141 "):
        assert f"\n    {code}" in text
    assert "BACKSTORY_STORE" in text


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_is(words: tuple[str, ...]) -> None:
    silent = [
        option.opts
        for option in COMMANDS[words].params
        if isinstance(option, click.Option) and not option.help
    ]

    assert not silent


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_examples_in_the_help_can_be_called(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    for example in examples(help_of(words)):
        for arguments in calls_in(example):
            for word in arguments:
                if word.endswith((".jsonl", ".gz")):
                    Path(word).touch()
            parse(program, arguments)


def examples(text: str) -> list[str]:
    """Return the lines under `Examples:`."""
    found = re.search(r"^  Examples:\n((?:    .*\n)+)", text, re.MULTILINE)
    assert found, text
    return [line.strip() for line in found[1].splitlines()]


def calls_in(example: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of the program in a line of shell."""
    lexer = shlex.shlex(example, posix=True, punctuation_chars="|>")
    lexer.whitespace_split = True
    call: list[str] = []
    for word in [*lexer, "|"]:
        if word in ("|", ">"):
            if call[:1] == ["backstory"]:
                yield call[1:]
            call = []
        else:
            call.append(word)


def parse(group: click.Group, words: list[str], context: click.Context | None = None) -> None:
    """Read the words of a call as the program does, without calling anything."""
    context = context or click.Context(group, info_name="backstory")
    name, *rest = words
    command = group.get_command(context, name)
    assert command is not None, name
    if isinstance(command, click.Group):
        parse(command, rest, context)
    else:
        command.make_context(name, rest, parent=context)


def test_sections_hold_every_command_once() -> None:
    listed = re.findall(r"^  ([a-z][a-z-]+)  ", help_of(()), re.MULTILINE)

    assert sorted(listed) == sorted(words[0] for words in COMMANDS if len(words) == 1)
    assert "COMMAND --help" in help_of(())
    further = help_of(()).partition("Further commands:")[2]
    assert not [name for name in program.commands if f"  {name} " in further]


def environment(**variables: str) -> dict[str, str]:
    roots = (str(ROOT / root) for root in ("framework", "aggregates", "projections"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "PYTHONUTF8": "1", **variables}


def completions(*words: str) -> list[str]:
    """Return what the program offers for the last word, asked as a shell asks."""
    asked = subprocess.run(
        RUN,
        env=environment(
            _BACKSTORY_COMPLETE="bash_complete",
            COMP_WORDS=shlex.join(["backstory", *words]),
            COMP_CWORD=str(len(words)),
        ),
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    return [line.partition(",")[2] for line in asked.stdout.splitlines()]


def test_shell_completes_commands_of_all_packages() -> None:
    assert completions("st") == ["state", "stats", "stream", "streams"]
    assert completions("imp") == ["import"]
    assert completions("show", "ta") == ["tasks"]


def test_shell_completes_options_and_their_values() -> None:
    assert completions("log", "--rec") == ["--recorded-after", "--recorded-until"]
    assert completions("export", "--format", "ev") == ["events"]
    assert completions("completion", "f") == ["fish"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_names_program_and_protocol(shell: str) -> None:
    script = CliRunner().invoke(program, ["completion", shell]).stdout

    assert f"_BACKSTORY_COMPLETE={shell}_complete" in script
    assert re.search(r"(complete|compdef).*\bbackstory\b", script)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_by_the_script(tmp_path: Path) -> None:
    (tmp_path / "backstory").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m backstory "$@"\n', encoding="utf-8"
    )
    (tmp_path / "backstory").chmod(0o755)
    script = (
        'eval "$(backstory completion bash)"; COMP_WORDS=(backstory expo); COMP_CWORD=1; '
        '_backstory_completion backstory; echo "${COMPREPLY[@]}"'
    )

    run = subprocess.run(
        ["bash", "-c", script],  # noqa: S607 - whichever bash there is
        env=environment(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}"),
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )

    assert run.stdout.strip() == "export"


def test_shell_that_is_not_known_is_refused() -> None:
    assert CliRunner().invoke(program, ["completion", "tcsh"]).exit_code == 2
