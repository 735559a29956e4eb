"""The benchmarks run from one end to the other; how fast anything is, no test asks."""

import json
from pathlib import Path

import pytest
from tests.benchmarks import appends, delivery, page
from tests.benchmarks.groups import GROUPS
from tests.benchmarks.postgres import groups as postgres
from tests.benchmarks.report import Report
from tests.benchmarks.row import Result, Row
from tests.benchmarks.run import main

QUICK = ("--quick", "--pairs", "1")


@pytest.mark.slow
def test_quick_run_of_some_groups_writes_their_rows_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            *QUICK,
            *("--only", "appends", "--only", "delivery"),
            *("--json", str(tmp_path / "out.json"), "--folder", str(tmp_path / "files")),
        ]
    )

    report = json.loads((tmp_path / "out.json").read_text("utf-8"))
    rows = [row.name for group in (appends.GROUP, delivery.GROUP) for row in group.rows]
    assert [result["row"]["name"] for result in report["results"]] == rows
    assert all(result["low"] <= result["figure"] <= result["high"] for result in report["results"])
    assert all(name in capsys.readouterr().out for name in rows[:1])
    assert not list((tmp_path / "files").iterdir()), "the files are gone"


@pytest.mark.slow
def test_facts_of_the_machine_name_neither_it_nor_a_path(tmp_path: Path) -> None:
    out = tmp_path / "out.json"

    main([*QUICK, "--only", "projections", "--json", str(out), "--folder", str(tmp_path)])

    assert str(tmp_path) not in out.read_text("utf-8")
    assert set(json.loads(out.read_text("utf-8"))["machine"]) >= {"cores", "Python", "SQLite"}


@pytest.mark.parametrize("option", [["--quick"], ["--only", "loads"], ["--growth", "20000"]])
def test_page_is_not_written_from_a_part_of_a_run(option: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--write", *option])


def test_names_of_groups_and_rows_are_not_given_twice() -> None:
    names = [group.name for group in GROUPS]
    rows = [row.name for group in GROUPS for row in group.rows]

    assert len(names) == len(set(names))
    assert len(rows) == len(set(rows))


def test_page_keeps_what_is_written_by_hand_and_names_the_rows(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks.md"
    empty = "<!-- written by: make bench -->\nold\n<!-- up to here -->"
    file.write_text(f"before\n{empty}\nafter\n", "utf-8")
    result = Result(Row("appends", "events/s"), "few", [1.0, 2.0], [4.0, 4.0])

    report = Report("2026-01-07", {"cores": "2"}, 2, [result], ["a note"])
    page.write("make bench", report, [result.row], file)

    text = file.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert page.row_names("make bench", file) == [("appends", "raw")]


def test_page_stays_as_it_is_where_a_row_was_not_measured(tmp_path: Path) -> None:
    row = Row("appends", "events/s")

    with pytest.raises(LookupError, match="appends, raw: not measured"):
        page.write("make bench", Report("2026-01-07", {}, 2, [], []), [row], tmp_path / "none.md")


@pytest.mark.slow
@pytest.mark.usefixtures("needs_own_postgres_server")
def test_quick_run_on_postgresql_has_all_its_rows(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    groups = [option for group in postgres.GROUPS for option in ("--only", group.name)]

    main([*QUICK, *groups, "--json", str(out), "--folder", str(tmp_path / "files")])

    report = json.loads(out.read_text("utf-8"))
    rows = [row.name for group in postgres.GROUPS for row in group.rows]
    assert [result["row"]["name"] for result in report["results"]] == rows
    assert any(note.startswith("PostgreSQL 1") for note in report["notes"])
