"""The mailbox: bounded, in order, and first come, first served before its door."""

import gc
from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backstory.actors._envelope import Envelope, Method, Place
from backstory.actors._mailbox import Mailbox


class Nobody:
    parent = None
    turn = None


async def nothing(actor: object) -> None:
    """Do nothing."""


def letter(method: Method = nothing) -> Envelope:
    return Envelope(Nobody(), None, method)


def test_full_mailbox_takes_no_more() -> None:
    mailbox = Mailbox(2)

    taken = [mailbox.offer(letter()) for _ in range(3)]

    assert taken == [True, True, False]


def test_first_in_line_has_the_room_that_is_made() -> None:
    mailbox = Mailbox(1)
    first, second, third = letter(), letter(), letter()
    mailbox.offer(first)
    mailbox.line_up(second)
    mailbox.line_up(third)

    mailbox.take()

    assert (second.place, third.place) == (Place.MAILBOX, Place.LINE)
    assert mailbox.is_full


def test_withdrawing_makes_room_for_the_line() -> None:
    mailbox = Mailbox(1)
    first, second = letter(), letter()
    mailbox.offer(first)
    mailbox.line_up(second)

    assert mailbox.withdraw(first)

    assert mailbox.take() is second
    assert mailbox.take() is None


def test_what_has_begun_is_not_withdrawn() -> None:
    mailbox = Mailbox(1)
    mailbox.offer(letter())
    begun = mailbox.take()

    assert begun is not None
    assert not mailbox.withdraw(begun)
    assert begun.place is Place.BEGUN


def test_withdrawn_messages_do_not_pile_up() -> None:
    mailbox = Mailbox(10)
    mailbox.offer(letter())
    for _ in range(10_000):
        passing = letter()
        mailbox.offer(passing)
        mailbox.withdraw(passing)

    kept = [thing for thing in gc.get_objects() if isinstance(thing, Envelope)]

    assert len(mailbox) == 1
    assert len(kept) < 50


CAPACITY = 4


class MailboxMachine(RuleBasedStateMachine):
    """A mailbox, and beside it one list in the order of arrival."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox = Mailbox(CAPACITY)
        self.arrived: deque[Envelope] = deque()

    @rule()
    def send(self) -> None:
        envelope = letter()
        if not self.mailbox.offer(envelope):
            self.mailbox.line_up(envelope)
        self.arrived.append(envelope)

    @rule()
    def take(self) -> None:
        assert self.mailbox.take() is (self.arrived.popleft() if self.arrived else None)

    @precondition(lambda self: self.arrived)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        envelope = data.draw(st.sampled_from(list(self.arrived)))
        assert self.mailbox.withdraw(envelope)
        self.arrived.remove(envelope)

    @rule(odd=st.booleans())
    def withdraw_many(self, *, odd: bool) -> None:
        chosen = set(list(self.arrived)[odd::2])
        gone = self.mailbox.withdraw_all(messages=chosen.__contains__, line=chosen.__contains__)
        assert gone == [envelope for envelope in self.arrived if envelope in chosen]
        self.arrived = deque(envelope for envelope in self.arrived if envelope not in chosen)

    @invariant()
    def the_first_are_inside(self) -> None:
        assert len(self.mailbox) == min(len(self.arrived), CAPACITY)
        assert [envelope.place for envelope in self.arrived] == [
            Place.MAILBOX if place < CAPACITY else Place.LINE for place in range(len(self.arrived))
        ]


TestMailbox = pytest.mark.filterwarnings("default")(MailboxMachine.TestCase)
