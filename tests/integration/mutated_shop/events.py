"""What happens in a shop."""

from typing import Any

from backstory import Event


def _say_currency(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"currency": "EUR"}


class BasketOpened(Event, type="mutated:opened", schema_version=2, upcasters={1: _say_currency}):
    owner: str
    currency: str = "EUR"


class LineAdded(Event, type="mutated:line-added"):
    article: str
    count: int = 1
    cents: int = 0
    colours: tuple[str, ...] = ()

    @property
    def total_cents(self) -> int:
        return self.count * self.cents


class LineRemoved(Event, type="mutated:line-removed"):
    article: str


class BasketPaid(Event, type="mutated:paid"):
    codes: tuple[str, ...] = ()
    weight: int | None = None
