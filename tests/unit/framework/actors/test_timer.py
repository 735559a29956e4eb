"""The heap of alarms: what is cancelled does not pile up."""

import gc

import pytest

from backstory.actors._envelope import Envelope
from backstory.actors._timer import Alarm, Alarms

pytestmark = pytest.mark.anyio


class Nobody:
    parent = None
    turn = None


async def nothing(actor: object) -> None:
    """Do nothing."""


def set_alarm(alarms: Alarms, seconds: float) -> Alarm:
    alarm = Alarm(
        Envelope(Nobody(), None, nothing),
        lambda _: None,
        lambda _: alarms.forget(),
        due_at=seconds,
        interval_seconds=None,
    )
    alarms.add(alarm)
    return alarm


async def test_cancelled_alarms_do_not_pile_up() -> None:
    alarms = Alarms()
    kept = [set_alarm(alarms, 1_000.0) for _ in range(10)]

    for _ in range(10_000):
        set_alarm(alarms, 2_000.0).cancel()

    assert sum(isinstance(thing, Alarm) for thing in gc.get_objects()) < len(kept) + 200


async def test_alarm_that_is_cancelled_twice_is_forgotten_once() -> None:
    forgotten: list[Alarm] = []
    alarm = Alarm(
        Envelope(Nobody(), None, nothing),
        lambda _: None,
        forgotten.append,
        due_at=1.0,
        interval_seconds=None,
    )

    alarm.cancel()
    alarm.cancel()

    assert forgotten == [alarm]
    assert not alarm.is_active


async def test_late_ticks_are_not_made_up_for() -> None:
    alarm = Alarm(
        Envelope(Nobody(), None, nothing),
        lambda _: None,
        lambda _: None,
        due_at=1.0,
        interval_seconds=2.0,
    )

    alarm.go_off(1.5)
    on_time = alarm.due_at
    alarm.go_off(100.0)

    assert (on_time, alarm.due_at) == (3.0, 100.0)
