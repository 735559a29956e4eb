"""A basket: handlers of many shapes, to be changed one by one."""

from collections.abc import Callable
from typing import Any, ClassVar

from tests.integration.mutated_shop import prices
from tests.integration.mutated_shop.events import BasketOpened, BasketPaid, LineAdded, LineRemoved
from tests.integration.mutated_shop.prices import (
    Line,
    Size,
    by_price,
    capped,
    discount,
    initials,
    rounded,
)

from backstory import Aggregate, on


class Labelled(Aggregate):
    """Has a label: an abstract aggregate in the same package."""

    label: str = "?"

    def _label_for(self, owner: str) -> str:
        return f"{initials(owner)}/{len(owner):03d}"


class Basket(Labelled, category="mutated", snapshot_every=1):
    """A basket of articles."""

    currency: str = "EUR"
    lines: dict[str, Line] = {}
    order: list[str] = []
    removed: list[str] = []
    colours: dict[str, int] = {}
    cents: int = 0
    tax: int = 0
    shipping: int = 490
    percent: int = 0
    cheap_count: int = 0
    status: str = "new"
    weight: int = 0
    largest: Line | None = None

    LINE_COUNT_MAX: ClassVar[int] = 4
    _RULES: ClassVar[dict[str, Callable[[int], int]]] = {
        "EUR": lambda cents: cents,
        "CHF": rounded,
    }

    def do(self, *events: Any) -> None:
        for event in events:
            self.emit(event)

    @on(BasketOpened)
    def _opened(self, event: BasketOpened) -> None:
        self.label, self.currency = self._label_for(event.owner), event.currency
        self.status = "open"

    @on(LineAdded)
    def _line_added(self, event: LineAdded) -> None:
        line = Line(event.article, event.count, cents=event.cents)
        known = self.lines.get(event.article)
        if known is not None and not known.is_cheap:
            known.grow(by=event.count)
            line = known
        elif known:
            line = known + line
        self.lines[event.article] = line
        line.notes.append(f"{event.article}: {event.count} x {event.cents}")
        del line.notes[:-2]
        for colour in event.colours:
            self.colours[colour] = self.colours.get(colour, 0) + 1
        self.cents += event.total_cents
        self._count()

    @on(LineRemoved)
    def _line_removed(self, event: LineRemoved) -> None:
        try:
            line = self.lines.pop(event.article)
        except KeyError:
            self.removed.append("?")
        else:
            self.removed.insert(0, line.article)
            self.cents -= line.count * line.cents
        self._count()

    @on(BasketPaid)
    def _paid(self, event: BasketPaid) -> None:
        self.percent = capped(sum(discount(code) for code in event.codes))
        rule = self._RULES.get(self.currency, abs)
        self.cents = rule(self.cents * (100 - self.percent) // 100)
        self.tax = prices.tax(self.cents, self.currency)
        is_heavy = event.weight is not None and event.weight > 2_000
        self.shipping = prices.shipping(self.cents, size=Size.LARGE if is_heavy else Size.SMALL)
        self.weight = event.weight or -1
        self.status = "paid" if self.lines else "empty"

    def _count(self) -> None:
        self.order = [line.article for line in sorted(self.lines.values(), key=by_price)]
        self.order = self.order[: self.LINE_COUNT_MAX]
        self.cheap_count = sum(1 for line in self.lines.values() if line.is_cheap)
        self.largest = max(self.lines.values(), key=lambda line: line.count, default=None)
        for colour in sorted(self.colours)[3:]:
            del self.colours[colour]
