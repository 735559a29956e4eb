"""Store URLs."""

import os
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from backstory import ConfigurationError, Durability, EventStore, StoreURL, _store_url, store_of
from backstory._store_url import parse_store_url, shown, with_setting
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_url_comes_apart_into_its_parts() -> None:
    url = "sqlite:///a%20b/story.db?durability=buffered&empty="

    assert parse_store_url(url) == StoreURL(
        "sqlite", "/a b/story.db", {"durability": "buffered", "empty": ""}, url
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:s3cret@host/name",
        "postgresql://ada:s3/cret@host/name",
        "postgresql://ada:s3@cret@host/name?schema=x",
        "postgresql://ada:s3?cret@host/name",
        "postgresql://host/name?user=ada&password=s3cret&schema=x",
        "postgresql://host/name?sslpassword=s3cret",
    ],
)
def test_no_password_is_shown(url: str) -> None:
    assert "cret" not in shown(url)
    assert "cret" not in repr(StoreURL("postgresql", "", {}, url))


def test_what_is_no_password_is_shown() -> None:
    for url in ("sqlite:///a:b@c.db", "postgresql://ada@host:5432/name?schema=x", "memory://"):
        assert shown(url) == url


def test_setting_is_added_to_a_url() -> None:
    assert with_setting("memory://", "a", "b c&") == "memory://?a=b+c%26"
    assert with_setting("sqlite:///x.db?a=b", "c", "") == "sqlite:///x.db?a=b&c="


def test_memory_is_a_store_in_memory() -> None:
    assert isinstance(store_of("memory://"), InMemoryStore)
    assert store_of("memory://") is not store_of("memory://")


async def test_three_slashes_are_a_file_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async with store_of("sqlite:///a%23b%3F%25.db"):
        pass

    assert "a#b?%.db" in names_in(tmp_path)


async def test_four_slashes_are_a_whole_path(tmp_path: Path) -> None:
    async with store_of(f"sqlite:///{tmp_path}/story.db"):
        pass

    assert (tmp_path / "story.db").is_file()


async def test_store_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = store_of("sqlite:///story.db")

    os.chdir(tmp_path / "elsewhere")
    async with store:
        assert await store.head() == 0

    assert (tmp_path / "story.db").is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("durability", [Durability.FSYNC, Durability.BUFFERED])
def test_settings_reach_the_store(durability: Durability) -> None:
    store = store_of(
        f"sqlite:///x.db?durability={durability.value}"
        "&busy_timeout_seconds=1.5&poll_interval_seconds=0.01"
    )

    assert isinstance(store, SQLiteStore)
    assert store.capabilities.durability is durability


def test_making_a_store_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    store_of("sqlite:///story.db")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("story.db", "is no store URL"),
        ("", "is no store URL"),
        ("sqlite:story.db", "is no store URL"),
        ("nothing://x", "no store for 'nothing'; known: memory, postgres, postgresql, sqlite"),
        ("memory://x", "nothing more"),
        ("memory://?a=b", "nothing more"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("sqlite://host/story.db", "three slashes"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///a.db?speed=high", "no setting 'speed'"),
        ("sqlite:///a.db?durability=fsync&durability=buffered", "twice"),
        ("sqlite:///a.db?durability=memory", "durability"),
        ("sqlite:///a.db?durability=", "durability"),
        ("sqlite:///a.db?busy_timeout_seconds=long", "busy_timeout_seconds"),
        ("sqlite:///a.db?busy_timeout_seconds=0", "positive"),
        ("sqlite:///a.db?busy_timeout_seconds=nan", "busy_timeout_seconds"),
        ("sqlite:///a.db?poll_interval_seconds=-1", "positive"),
        ("sqlite:///a.db?poll_interval_seconds=inf", "poll_interval_seconds"),
        ("sqlite:///a#1.db", "#"),
        ("sqlite:///a\nb.db", "control characters"),
        ("memory://[", "memory"),
        ("sqlite:///a%00b.db", "NUL"),
    ],
)
def test_url_that_says_nothing_useful_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        store_of(url)


def open_elsewhere(url: StoreURL, read_only: bool) -> EventStore:  # noqa: FBT001 - called with the opener's two arguments
    assert (url.path, read_only) == ("somewhere", True)
    return InMemoryStore()


def test_further_stores_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(**selection: Any) -> EntryPoints:
        found = EntryPoint("elsewhere", f"{__name__}:open_elsewhere", "backstory.stores")
        return EntryPoints([found]).select(**selection)

    monkeypatch.setattr(_store_url, "entry_points", entry_points)

    assert isinstance(store_of("elsewhere://somewhere", read_only=True), InMemoryStore)
