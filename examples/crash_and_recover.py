"""A program is killed while it works; the next one finds what was acknowledged, and goes on.

The child pays invoices, and says so when each `execute` has returned. It is killed with SIGKILL
after its third word, at whatever it is doing then: it may have recorded a fourth payment without
telling anyone. So the parent asks for all of them again. Every request has an idempotency key, and
what has happened does not happen twice.

Output:
    killed after: paid 1, paid 2, paid 3
    what was acknowledged is there: True
    no stream is torn: True
    asked for all ten again, paid: 10
    events in the log: 10
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from backstory import Aggregate, Backstory, DomainError, Event, on

INVOICES = range(1, 11)


class InvoicePaid(Event, type="invoice:paid"):
    amount: int


class Invoice(Aggregate, category="invoice"):
    is_paid: bool = False

    def pay(self, amount: int) -> None:
        if self.is_paid:
            raise DomainError(f"invoice {self.id} is paid")
        self.emit(InvoicePaid(amount=amount))

    @on(InvoicePaid)
    def _paid(self, event: InvoicePaid) -> None:
        self.is_paid = True


async def pay(url: str) -> None:
    async with Backstory(url) as story:
        for number in INVOICES:
            request = story.using(idempotency_key=f"pay-{number}")
            await request.execute(Invoice.pay, str(number), amount=100)
            print("paid", number, flush=True)


def pay_and_be_killed(url: str) -> list[str]:
    command = [sys.executable, __file__, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - this program itself
        said: Iterable[str] = child.stdout or ()
        words = [word.strip() for word, _ in zip(said, range(3), strict=False)]
        child.kill()  # SIGKILL: no handler runs, nothing is flushed
    return words


async def recover(url: str) -> None:
    async with Backstory(url) as story:
        events = [recorded async for recorded in story.replay()]
        paid = {recorded.id for recorded in events}
        print("what was acknowledged is there:", {"1", "2", "3"} <= paid)
        print("no stream is torn:", all(recorded.version == 1 for recorded in events))

        for number in INVOICES:
            request = story.using(idempotency_key=f"pay-{number}")
            await request.execute(Invoice.pay, str(number), amount=100)
        invoices = [await story.load(Invoice, str(number)) for number in INVOICES]
        print("asked for all ten again, paid:", sum(invoice.is_paid for invoice in invoices))
        print("events in the log:", await story.store.head())


if len(sys.argv) > 1:
    anyio.run(pay, sys.argv[1])
else:
    with TemporaryDirectory() as folder:
        file = f"sqlite:///{Path(folder, 'invoices.db')}"
        print("killed after:", ", ".join(pay_and_be_killed(file)))
        anyio.run(recover, file)
