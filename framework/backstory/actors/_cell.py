"""A cell holds one actor: it takes messages for it, lets it work, and judges its failures.

What the actor is doing is a state, and the only thing that awaits on the actor's behalf is its
task, of which there is one at most. The rules that everything here keeps:

- Whoever sends runs to the end of sending without awaiting: the message is in the mailbox and the
  actor is awake, or in the line, or refused. The task does the same at its other end: it finds the
  mailbox empty and is idle, in one go. So an idle actor has no message, and `stop_if_idle` decides
  for good, in whatever order the tasks of the program run.
- Everything that happens to an actor's instance happens in its task, between two messages. Who
  else has something to say (a child that has failed, somebody who stops it) leaves a note, and
  wakes the task where there is none.
- A message that was taken is handled, or becomes a dead letter; a question is answered, or refused
  with an error. There is no third way, cancellation included.

Stopping goes from the outside in. First the mailbox closes: from then on only the actor's own
descendants can tell it something. It handles what it has, with its children still at work for it;
then the children stop, the newest first; then it handles what they have told it last; then comes
the hook. After a failure that nobody wants to survive, the first and the last handling are left
out, and the messages become dead letters.

While an actor waits for its children to stop, it handles nothing. A child that would wait for it
now would wait for ever, and so its questions are refused, those that already lie in the mailbox
too, and so is what it would have to stand in line for. (This is also why a circle of questions is
refused. Circles that close later, by two actors that ask each other at the same moment, are not
seen; a time limit for asking ends them.)

Cancellation comes from outside only: the system's block is cancelled, or its grace has run out.
The task then gives up what it is handling and leaves the rest, the hook included, to the system,
which goes through the actors in order when all tasks have ended. A task that is cancelled by
anybody else, through the event loop, takes only its actor with it: that one stops.
"""

from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel

from backstory._errors import ActorStoppedError, ConfigurationError, MailboxFullError
from backstory._logging import ACTOR, DIRECTIVE, METHOD, REASON, log
from backstory._reason import reason_of
from backstory.actors._dead_letters import DeadLetters
from backstory.actors._envelope import (
    Envelope,
    Method,
    Place,
    closes_a_circle,
    is_from_below,
)
from backstory.actors._incarnation import Incarnation, starts, stops
from backstory.actors._mailbox import Mailbox
from backstory.actors._state import ActorState, Trigger, follow
from backstory.actors._status import ActorStatus
from backstory.actors._supervisor import Directive, Restarts, SupervisionPolicy
from backstory.actors._timer import Alarm
from backstory.actors._watch import Termination, Watch

TURN: Final[ContextVar[Envelope | None]] = ContextVar("backstory.actors.turn", default=None)
"""What is being handled here; None outside actors."""

_IDLE: Final = ActorState.IDLE
_STOPPING: Final = ActorState.STOPPING
_STOPPED: Final = ActorState.STOPPED

_YIELD_EVERY: Final = 32
"""Messages after which a busy actor lets others have a turn, whether its methods wait or not."""


class Home(Protocol):
    """What a cell needs of the system around it."""

    dead_letters: DeadLetters
    chance: Callable[[], float]
    hook_timeout_seconds: float
    is_closing: bool

    def start(self, cell: "Cell") -> None:
        """Begin a task that runs the cell."""
        ...

    def add_alarm(self, alarm: Alarm) -> None:
        """Let an alarm go off when it is due."""
        ...

    def forget_alarm(self) -> None:
        """Note that an alarm was cancelled."""
        ...

    def dismiss(self, cell: "Cell") -> None:
        """Forget a cell that has stopped."""
        ...

    def fail(self, cell: "Cell", error: Exception) -> None:
        """Fail because of a cell without a parent."""
        ...

    def crash(self, error: BaseException) -> None:
        """End with an error that no supervision judges."""
        ...


class Cell:
    """One actor, from its spawning to its end."""

    __slots__ = (
        *("home", "name", "parent", "children", "ask_timeout_seconds"),
        *("_make", "_policy", "_mailbox", "_refuses_when_full"),
        *("state", "turn", "_actor", "_is_started", "_is_parting", "_hurry"),
        *("_escalated", "_restarts", "_alarms", "_watches", "watchers"),
        *("stop_error", "_escalates", "_stopped"),
        *("_restart_count", "_handled_count", "_failure_count", "_refused_count"),
        *("_idle_since", "_last_error"),
    )

    def __init__(
        self,
        home: Home,
        *,
        name: str,
        parent: "Cell | None",
        make: Callable[["Cell"], Incarnation],
        policy: SupervisionPolicy,
        mailbox_size: int,
        refuses_when_full: bool,
        ask_timeout_seconds: float | None,
    ) -> None:
        """Make a cell; `begin` fills it."""
        self.home = home
        self.name = name
        self.parent = parent
        self.children: dict[str, Cell] | None = None
        self.ask_timeout_seconds = ask_timeout_seconds
        self._make = make
        self._policy = policy
        self._mailbox = Mailbox(mailbox_size)
        self._refuses_when_full = refuses_when_full
        self.state = ActorState.NEW
        self.turn: Envelope | None = None
        self._actor: Incarnation | None = None
        self._is_started = False
        self._is_parting = False
        self._hurry: anyio.Event | None = None
        # Most actors never need these, and there may be very many actors.
        self._escalated: deque[Exception] | None = None
        self._restarts: Restarts | None = None
        self._alarms: set[Alarm] | None = None
        self._watches: dict[Watch, Cell] | None = None
        self.watchers: dict[Watch, None] | None = None
        self.stop_error: Exception | None = None
        self._escalates = False
        self._stopped: anyio.Event | None = None
        self._restart_count = 0
        self._handled_count = 0
        self._failure_count = 0
        self._refused_count = 0
        self._idle_since = 0.0
        self._last_error: str | None = None

    # Taking messages

    def send(self, envelope: Envelope, *, waits: bool = True) -> bool:
        """Take a message, or let it wait for room.

        Returns:
            Whether it is in the mailbox; if not, it is in the line before it.

        Raises:
            ActorStoppedError: The actor takes no message any more, or not from this sender.
            MailboxFullError: The mailbox is full, and the sender does not wait or must not.
        """
        refusal = self._refusal(envelope)
        if refusal is not None:
            raise refusal
        if self._mailbox.offer(envelope):
            if self.state is _IDLE:
                self._wake()
            return True
        if not waits or self._refuses_when_full or self._waits_for(envelope):
            self._refused_count += 1
            raise MailboxFullError(actor=self.name, capacity=self._mailbox.capacity)
        self._mailbox.line_up(envelope)
        return False

    def ask(self, question: Envelope) -> None:
        """Take a question.

        Raises:
            ConfigurationError: The asker would wait for itself.
            ActorStoppedError: As `send`.
            MailboxFullError: As `send`.
        """
        if closes_a_circle(self, question.sender):
            raise ConfigurationError(
                f"{question.label} was asked of actor {self.name!r} by itself, or by one that it "
                "is waiting for, and would wait for ever; call the method, or tell"
            )
        self.send(question)

    def deliver(self, method: Method, *args: Any, **kwargs: Any) -> Envelope:
        """Take a message that nobody has sent; without room it waits for some."""
        envelope = Envelope(self, None, method, args, kwargs)
        if self.state is _STOPPING or self.state is _STOPPED:
            self._give_up(envelope, f"the actor was {self.state.value}")
        elif not self._mailbox.offer(envelope):
            self._mailbox.line_up(envelope)
        elif self.state is _IDLE:
            self._wake()
        return envelope

    def withdraw(self, envelope: Envelope) -> None:
        """Take back what its sender no longer waits for; what has begun is not stopped by that."""
        was_waiting = self._mailbox.withdraw(envelope)
        if not was_waiting and envelope.place is Place.DONE and envelope.error is not None:
            # It was given to an asker that was leaving in the same moment.
            self._log_failure(envelope.label, envelope.error, Directive.RESUME)
        envelope.leave()

    @property
    def takes_children(self) -> bool:
        """Whether a child that is spawned now would be stopped before this actor is."""
        return not (self._is_parting or self.state is _STOPPED or self.stop_error is not None)

    def _refusal(self, envelope: Envelope) -> ActorStoppedError | None:
        """Return why a message is not taken; None where it is."""
        sender = envelope.sender
        if self.state is _STOPPED or self.stop_error is not None:
            return self._stopped_error("it has stopped")
        if self.state is _STOPPING and not is_from_below(self, sender):
            return self._stopped_error("it is stopping")
        if self._is_parting and envelope.is_question and is_from_below(self, sender):
            return self._stopped_error("it is waiting for its children to stop, as the asker is")
        if sender is None and self.home.is_closing:
            return self._stopped_error("the actor system is stopping")
        return None

    def _waits_for(self, envelope: Envelope) -> bool:
        """Return whether room can only come when the sender no longer waits for it."""
        return closes_a_circle(self, envelope.sender) or (
            self._is_parting and is_from_below(self, envelope.sender)
        )

    def _stopped_error(self, reason: str) -> ActorStoppedError:
        return ActorStoppedError(actor=self.name, reason=reason)

    def _wake(self) -> None:
        self._move(Trigger.WOKEN)
        self.home.start(self)

    def _move(self, trigger: Trigger) -> None:
        self.state = follow(self.state, trigger)

    # Working

    def begin(self) -> None:
        """Make the first instance.

        Raises:
            Exception: Whatever the factory raises; the cell is of no use then.
        """
        self._actor = self._make(self)
        if self.parent is not None:
            self.parent.children = self.parent.children or {}
            self.parent.children[self.name] = self
        if starts(self._actor):
            self.home.start(self)
        else:
            self._is_started = True
            self._settle(Trigger.SETTLED)

    async def run(self) -> None:
        """Work until nothing is left to be done; raises nothing but the cancellation of a scope."""
        try:
            await self._live()
        except anyio.get_cancelled_exc_class():
            self.abandon()
            if anyio.current_effective_deadline() == float("-inf"):
                raise
            # No scope around the task was cancelled, but the task itself, from outside. Nobody
            # else will see to the rest; and raised, it would cancel the group, and everybody in it.
            self.home.start(self)
        except BaseException as error:  # noqa: BLE001 - the system's block raises it
            self.abandon()
            self.home.crash(error)

    async def _live(self) -> None:
        if self.state is ActorState.NEW:
            self._move(Trigger.WOKEN)
        while True:
            await self._work()
            if self.state is not _STOPPING:
                self._settle(Trigger.SETTLED)
                return
            if not self.children:
                break
            await self._part_with_children()
        await self._say_goodbye(self.stop_error)
        self._end()

    async def _work(self) -> None:
        """Handle one thing after the other, until there is none."""
        count = 0
        while await self._do_next():
            count += 1
            if count % _YIELD_EVERY == 0:
                await anyio.lowlevel.checkpoint()

    async def _do_next(self) -> bool:
        if self._escalated:
            await self._judge(self._escalated.popleft(), "a child")
        elif not self._is_started:
            if self.state is _STOPPING and not self._mailbox:
                return False
            await self._start()
        elif (envelope := self._mailbox.take()) is not None:
            await self._handle(envelope)
        else:
            return False
        return True

    async def _handle(self, envelope: Envelope) -> None:
        self.turn = envelope
        TURN.set(envelope)
        try:
            value = await envelope.call(self._actor)
        except Exception as error:  # noqa: BLE001 - the policy's to judge, and the asker's to have
            self.turn = None
            is_told = envelope.fail(error)
            await self._judge(error, envelope.label, is_told=is_told)
        else:
            self.turn = None
            self._handled_count += 1
            envelope.answer(value)

    async def _start(self) -> None:
        try:
            if self._actor is None:
                self._actor = self._make(self)
            if starts(self._actor):
                await self._take_turn(self._actor.started)
        except Exception as error:  # noqa: BLE001 - the policy's to judge
            await self._judge(error, "started")
        else:
            self._is_started = True

    async def _take_turn(self, hook: Callable[..., Any], *args: Any) -> None:
        self.turn = Envelope(self, None, hook, args)
        TURN.set(self.turn)
        try:
            await hook(*args)
        finally:
            self.turn = None

    def _settle(self, trigger: Trigger) -> None:
        self._idle_since = anyio.current_time()
        self._move(trigger)

    # Failing

    def escalate(self, error: Exception) -> None:
        """Note that a child has stopped with an error that is this actor's to fail with."""
        if self._escalated is None:
            self._escalated = deque()
        self._escalated.append(error)
        if self.state is _IDLE:
            self._wake()

    async def _judge(self, error: Exception, label: str, *, is_told: bool = False) -> None:
        directive, pause_seconds = self._directive_for(error)
        self._failure_count += 1
        self._last_error = reason_of(error)
        if not (is_told and directive is Directive.RESUME):
            self._log_failure(label, error, directive)
        if directive is Directive.RESTART:
            await self._restart(error, pause_seconds)
        elif directive is not Directive.RESUME:
            self._fall(error, escalates=directive is Directive.ESCALATE)

    def _directive_for(self, error: Exception) -> tuple[Directive, float]:
        """Return what is to be done, and the pause where it is a restart."""
        directive = self._policy.directive_for(error)
        if directive is Directive.RESUME and not self._is_started:
            directive = Directive.RESTART  # an instance that has not started cannot be kept
        if self.stop_error is not None and directive is Directive.RESTART:
            return Directive.RESUME, 0.0  # it is over already
        if directive is not Directive.RESTART:
            return directive, 0.0
        self._restarts = self._restarts or Restarts()
        count = self._restarts.count_another(self._policy, anyio.current_time())
        if count == 0:
            return Directive.ESCALATE, 0.0
        return directive, self._policy.pause_seconds(count, chance=self.home.chance())

    async def _restart(self, error: Exception, pause_seconds: float) -> None:
        if self.state is ActorState.RUNNING:
            self._move(Trigger.FAILED)
        self._restart_count += 1
        self._end_alarms_and_watches()
        await self._part_with_children()
        self._escalated = None  # those who failed on the way out have no parent any more
        await self._say_goodbye(error)
        self._is_started = False
        self._actor = None
        await self._back_off(pause_seconds)
        if self.state is ActorState.BACKING_OFF:
            self._move(Trigger.RESTARTED)

    async def _back_off(self, pause_seconds: float) -> None:
        if self.state is ActorState.BACKING_OFF:
            self._hurry = anyio.Event()
            with anyio.move_on_after(pause_seconds):
                await self._hurry.wait()
            self._hurry = None

    def _fall(self, error: Exception, *, escalates: bool) -> None:
        """Stop for good, without handling anything more."""
        self.stop_error = self.stop_error or error
        self._escalates = self._escalates or escalates
        self._shut(f"the actor stopped: {reason_of(error)}")
        self._give_all_up(f"the actor stopped: {reason_of(error)}")

    def _log_failure(self, label: str, error: Exception, directive: Directive) -> None:
        log.warning(
            "actor.failed",
            **{
                ACTOR: self.name,
                METHOD: label,
                REASON: reason_of(error),
                DIRECTIVE: directive.value,
            },
            exc_info=error,
        )

    # Stopping

    def stop(self) -> None:
        """Take no more messages, and stop when those at hand are handled; may be called again."""
        if self.state is _STOPPING or self.state is _STOPPED:
            return
        was_idle = self.state is _IDLE
        self._shut("the actor was stopped before there was room")
        if self._hurry is not None:
            self._hurry.set()
        if was_idle:
            if self.children or (self._actor is not None and stops(self._actor)):
                self.home.start(self)
            else:
                self._end()

    def stop_if_idle(self) -> bool:
        """Stop if the actor has nothing to do; return whether it had nothing."""
        if self.state is not _IDLE or self.children:
            return False
        self.stop()
        return True

    async def wait_stopped(self) -> None:
        """Return when the actor has stopped for good."""
        if self.state is not _STOPPED:
            self._stopped = self._stopped or anyio.Event()
            await self._stopped.wait()

    def abandon(self) -> None:
        """Give up everything at once, for the system is cancelled; only `bury` is left to do."""
        if self.state is _STOPPED:
            return
        self.stop_error = self.stop_error or ActorStoppedError(
            actor=self.name, reason="it was cancelled"
        )
        self._escalates = False
        turn, self.turn = self.turn, None
        if turn is not None and turn.place is Place.BEGUN:
            turn.refuse(
                ActorStoppedError(actor=self.name, reason="it was cancelled", outcome_unknown=True)
            )
            self.home.dead_letters.keep(self.name, turn, "cancelled while it was handled")
        self._shut("the actor was cancelled")
        self._give_all_up("the actor was cancelled")

    async def bury(self) -> None:
        """Call the hook of an actor that was abandoned, and end it."""
        if self.state is not _STOPPED:
            # Shielded by the host, which also bounds all hooks together.
            await self._say_goodbye(self.stop_error, shield=False)
            self._end()

    def forsake(self) -> None:
        """End an actor that was abandoned, without its hook: there is no time left."""
        if self.state is not _STOPPED:
            self._end()

    def _shut(self, reason: str) -> None:
        """Close the mailbox; who stands in line goes."""
        if self.state is not _STOPPING:
            self._move(Trigger.STOPPED)
        self._end_alarms_and_watches()
        for envelope in self._mailbox.withdraw_all(messages=_no, line=_yes):
            if envelope.settled is None:
                self._give_up(envelope, reason)
            else:
                envelope.refuse(self._stopped_error(reason))

    def _give_all_up(self, reason: str) -> None:
        for envelope in self._mailbox.withdraw_all(messages=_yes, line=_yes):
            self._give_up(envelope, reason)

    def _give_up(self, envelope: Envelope, reason: str) -> None:
        envelope.refuse(self._stopped_error(reason))
        self.home.dead_letters.keep(self.name, envelope, reason)

    async def _part_with_children(self) -> None:
        self._is_parting = True
        try:
            self._release_descendants()
            while self.children:
                child = next(reversed(self.children.values()))
                child.stop()
                await child.wait_stopped()
        finally:
            self._is_parting = False

    def _release_descendants(self) -> None:
        """Refuse what descendants wait for: they could not stop before it."""
        if not self.children:
            return

        def is_waited_for_below(envelope: Envelope) -> bool:
            return envelope.settled is not None and is_from_below(self, envelope.sender)

        for envelope in self._mailbox.withdraw_all(
            messages=is_waited_for_below, line=is_waited_for_below
        ):
            envelope.refuse(
                self._stopped_error("it is waiting for its children to stop, as the sender is")
            )

    async def _say_goodbye(self, error: Exception | None, *, shield: bool = True) -> None:
        """Call the hook `stopped`, if the instance has started; bounded, whatever it does."""
        actor, is_started = self._actor, self._is_started
        self._is_started = False
        if actor is None or not is_started or not stops(actor):
            return
        self._is_parting = True  # what it would spawn, or set, would outlive it
        seconds = self.home.hook_timeout_seconds
        try:
            with anyio.move_on_after(seconds, shield=shield) as scope:
                await self._take_turn(actor.stopped, error)
            if scope.cancelled_caught:
                self._log_hook(f"it was cancelled after {seconds:g} s")
        except Exception as failure:  # noqa: BLE001 - nothing is left that it could fail
            self._log_hook(reason_of(failure))
        finally:
            self._is_parting = False
            self._end_alarms_and_watches()

    def _log_hook(self, reason: str) -> None:
        log.warning("hook.failed", **{ACTOR: self.name, REASON: reason})

    def _end(self) -> None:
        self._move(Trigger.ENDED)
        self._give_all_up("the actor stopped")
        self._actor = None
        self.home.dismiss(self)
        if self.parent is not None and self.parent.children is not None:
            del self.parent.children[self.name]
        if self._stopped is not None:
            self._stopped.set()
        watchers, self.watchers = self.watchers, None
        for watch in watchers or ():
            watch.end(Termination(self.name, self.stop_error))
        if self._escalates and self.stop_error is not None:
            if self.parent is None:
                self.home.fail(self, self.stop_error)
            else:
                self.parent.escalate(self.stop_error)

    # Alarms and watches

    def set_alarm(self, message: Envelope, *, seconds: float, is_periodic: bool) -> Alarm:
        """Send a message to this actor after some time, or again and again."""
        alarm = Alarm(
            message,
            self._on_alarm,
            self._on_alarm_cancelled,
            due_at=anyio.current_time() + seconds,
            interval_seconds=seconds if is_periodic else None,
        )
        if self._alarms is None:
            self._alarms = set()
        self._alarms.add(alarm)
        self.home.add_alarm(alarm)
        return alarm

    def _on_alarm(self, alarm: Alarm) -> None:
        if not alarm.is_active and self._alarms is not None:
            self._alarms.discard(alarm)
        message = alarm.message
        if alarm.is_active and (self._mailbox.is_full or message.place is Place.MAILBOX):
            alarm.left_out_count += 1
            self._refused_count += 1
        else:
            alarm.message = self.deliver(message.method, *message.args, **message.kwargs)

    def _on_alarm_cancelled(self, alarm: Alarm) -> None:
        if self._alarms is not None:
            self._alarms.discard(alarm)
        self.home.forget_alarm()

    def watch(self, other: "Cell", method: Method) -> None:
        """Send a message to this actor when another one has stopped for good."""
        watch = Watch(self._on_termination, method)
        if other.state is _STOPPED:
            self.deliver(method, Termination(other.name, other.stop_error))
            return
        self._watches = self._watches or {}
        self._watches[watch] = other
        other.watchers = other.watchers or {}
        other.watchers[watch] = None

    def _on_termination(self, watch: Watch, termination: Termination) -> None:
        if self._watches is not None:
            del self._watches[watch]
        self.deliver(watch.method, termination)

    def _end_alarms_and_watches(self) -> None:
        for alarm in list(self._alarms or ()):
            alarm.cancel()
        for watch, other in (self._watches or {}).items():
            if other.watchers is not None:
                del other.watchers[watch]
        self._alarms = self._watches = None

    # Telling

    def status(self) -> ActorStatus:
        """Return how the actor is now."""
        is_idle = self.state is _IDLE
        return ActorStatus(
            name=self.name,
            parent=None if self.parent is None else self.parent.name,
            state=self.state,
            mailbox_depth=len(self._mailbox),
            restart_count=self._restart_count,
            handled_count=self._handled_count,
            failure_count=self._failure_count,
            refused_count=self._refused_count,
            idle_seconds=anyio.current_time() - self._idle_since if is_idle else 0.0,
            last_error=self._last_error,
        )


def _yes(_: Envelope) -> bool:
    return True


def _no(_: Envelope) -> bool:
    return False
