"""The store, or a running engine with signals and tracked submissions, for one command."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar

import attrs

from alerthost.cli.output import Screen, counted
from alerthost.cli.progress import Tracker
from alerthost.cli.tracked import QUEUED, Count, Tally, Tracked
from alerthost.config import store
from alerthost.config.accounts import Accounts, open_accounts
from alerthost.config.configuration import Configuration
from alerthost.config.document import ConfigFile
from alerthost.config.plugins import LaneNames
from alerthost.config.states import BLOCKED, missing
from alerthost.config.store import open_engine
from alerthost.store.errors import StoreError
from hostspec.delivery import OutcomeKind
from hostspec.plugins.isolation import can_follow_up

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.engine import Engine

_T = TypeVar("_T")

PAUSE: Final = 0.2
"""Seconds between two checks for signals."""

STUCK: Final = 5.0
"""Seconds without progress after which the oldest submission is no longer tracked."""

SIGN_OF_LIFE: Final = 5.0
"""Seconds to wait for a sign of life of a worker, if earlier submissions are unfinished."""

_MOST_EARLIER: Final = 1000

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Sent by the operator, a supervisor and a closed terminal. Windows has no SIGHUP."""


@attrs.frozen(eq=False)
class StoreView:
    """The store of a configuration, with the names of its contents; no rules are needed."""

    accounts: Accounts
    configuration: Configuration
    admin: Admin
    lanes: LaneNames


@contextlib.contextmanager
def open_store(path: Path) -> Iterator[StoreView]:
    """Open the store of a configuration, even if its rules are wrong."""
    with open_accounts(path) as accounts, view_of(accounts) as view:
        yield view


@contextlib.contextmanager
def view_of(accounts: Accounts) -> Iterator[StoreView]:
    """Open the store that some accounts belong to."""
    from alerthost.outbox.admin import Admin  # noqa: PLC0415 -- slow to import

    with store.database_of(accounts.source) as database:
        configuration = Configuration(accounts.plugins, accounts.installations(), ())
        admin = Admin(database, accounts.plugins, time.time)
        yield StoreView(accounts, configuration, admin, LaneNames.of(configuration))


def change_each(items: Iterable[_T], change: Callable[[_T], str], screen: Screen) -> NoReturn:
    """Change each item, print the result or the error, and exit."""
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- slow to import

    success = True
    for each in items:
        try:
            screen.print(change(each), "green")
        except AdminError as error:
            success = False
            screen.print_error(str(error))
    screen.exit(success=success)


def cut_off_notes(admin: Admin, configuration: Configuration) -> Sequence[str]:
    """Return one note for each reason why open incidents cannot be closed."""
    if not admin.exists:
        return ()
    found = Counter[tuple[str, str, str]]()
    for (action_name, account), count in admin.ways().items():
        if reason := missing(configuration, action_name, account):
            found[account, reason, "restore the configuration"] += count
    installations = {each.name: each for each in configuration.installations}
    for incident, count in admin.handles():
        ref = incident.ref
        if missing(configuration, ref.action, ref.installation):
            continue
        action = configuration.plugins.actions[ref.action]
        if not can_follow_up(action, incident, installations[ref.installation]):
            name = f"{ref.installation}/{ref.destination}"
            found[name, "their former key", "configure the key again"] += count
    return [
        f"{counted(count, 'open incident')} at {name} cannot be closed without {reason}; "
        f"{remedy}, or close at the provider and run `alerthost resolve --here ID` (see "
        "`alerthost incidents`)"
        for (name, reason, remedy), count in sorted(found.items())
    ]


class Interrupts:
    """Counts signals in a block, in the main thread; the second one raises KeyboardInterrupt.

    Signals that are ignored stay ignored, as `nohup` wants.

    Args:
        limit: the signal that raises, outside of `breakable`; 0 for none.
        message: written to standard error on the first signal.
    """

    def __init__(self, *, limit: int = 2, message: bytes = b"") -> None:
        self.count = 0
        self._limit = limit
        self._message = message
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for each in _SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                self._previous[each] = signal.signal(each, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    @contextlib.contextmanager
    def breakable(self, *, at: int) -> Iterator[None]:
        """Leave the block early, without an error, once `at` signals were received."""
        with contextlib.suppress(KeyboardInterrupt):
            self._limit, previous = at, self._limit
            try:
                yield
            finally:
                self._limit = previous

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 1 and self._message:
            # unbuffered: the signal may have interrupted a print to the same stream
            with contextlib.suppress(OSError):
                os.write(2, self._message)
        if self._limit and self.count >= self._limit:
            raise KeyboardInterrupt


@attrs.frozen(eq=False)
class Session:
    """A started engine, for the time of a command, with the signals received meanwhile."""

    engine: Engine
    interrupts: Interrupts
    tracker: Tracker
    screen: Screen

    def make_room(self, most: int) -> None:
        """Wait until fewer than `most` are tracked; without progress, stop tracking the oldest."""
        while self.tracker.count >= most and not self.interrupts.count:
            self.tracker.update(PAUSE)
            if time.monotonic() - self.tracker.moved_at > STUCK:
                self.tracker.leave_oldest()

    def is_waiting(self, end: float) -> bool:
        """Check whether anything is tracked, before a moment on the monotonic clock."""
        return bool(self.tracker.count and not self.interrupts.count and time.monotonic() < end)

    def finish(self, timeout: float = 0.0) -> None:
        """Wait up to `timeout` seconds; then finish deliveries in flight, and show the rest."""
        end = time.monotonic() + timeout
        while self.is_waiting(end):
            self.tracker.update(PAUSE)
        if self.interrupts.count:
            text = "interrupted: finishing deliveries in flight; interrupt again to abort"
            self.screen.warn(text)
        self.engine.stop()
        self.tracker.finish()


@contextlib.contextmanager
def open_session(
    source: ConfigFile, loaded: Configuration, screen: Screen, *, earlier: bool = False
) -> Iterator[Session]:
    """Run the engine of a configuration; the block ends with `Session.finish`.

    If the store fails in the block, the command ends with exit code 1.

    Args:
        source: of the configuration.
        loaded: the configuration.
        screen: shows deliveries.
        earlier: track unfinished submissions of earlier runs, and resolve orphaned incidents
            whose keys are back.
    """
    lanes = LaneNames.of(loaded)
    with (
        open_engine(source, loaded) as engine,
        _logged(screen),
        Interrupts() as interrupts,
    ):
        tracker = Tracker(engine, lanes, screen)
        if earlier:
            tracker.add_earlier(_earlier(engine))
        engine.start()
        for fault in loaded.rule_faults():
            screen.warn(str(fault))
        for note in (*loaded.notes(), *cut_off_notes(engine.admin, loaded)):
            screen.note(note)
        try:
            yield Session(engine, interrupts, tracker, screen)
        except StoreError as error:
            # deliveries may have been sent, so this is no configuration error
            screen.print_error(str(error))
            screen.exit(success=False)
        finally:
            engine.stop(0.0)


def _earlier(engine: Engine) -> Iterator[Tracked]:
    """Find unfinished submissions of earlier runs, unless another process delivers them."""
    admin = engine.admin
    if not admin.exists:
        return
    if admin.is_worked_on() and (not admin.unfinished(1) or admin.is_worked_on(SIGN_OF_LIFE)):
        return
    engine.recover_orphans()
    for status in admin.unfinished(_MOST_EARLIER):
        before = {row.id: row for row in status.entries}
        yield Tracked("", submission_id=status.submission_id, before=before)


def conclude(tally: Tally, screen: Screen, noun: str = "alert") -> NoReturn:
    """Print the summary and the remedy for unsent deliveries, and exit."""
    screen.print(tally.summary(noun), "bold")
    queued = tally.deliveries[QUEUED] + tally.counts[Count.UNPLANNED]
    blocked = tally.deliveries[BLOCKED] + tally.deliveries[OutcomeKind.MISCONFIGURED]
    if queued:
        screen.warn(f"{queued:,} still queued; run `alerthost run` or `alerthost send` to continue")
    if blocked:
        verb = "is" if blocked == 1 else "are"
        screen.warn(
            f"{counted(blocked, 'delivery')} {verb} blocked until the configuration is fixed; "
            "run `alerthost send` or `alerthost run` afterwards"
        )
    if unknown := tally.counts[Count.UNKNOWN]:
        screen.warn(
            f"{counted(unknown, Count.UNKNOWN)} not sent: this store knows no alert with that key. "
            "If another process or machine opens the incident, set resolve_unknown = true on the "
            "rule, and send the resolve again"
        )
    if queued or blocked:
        screen.print_error("list them with `alerthost deliveries`", "dim")
    screen.exit(success=tally.all_well)


class _Handler(logging.Handler):
    """Shows each warning of the engine once: a failing store logs it every second."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name == "hostspec" and text not in self._shown:
            self._shown.add(text)
            self._screen.warn(text)


@contextlib.contextmanager
def _logged(screen: Screen) -> Iterator[None]:
    logger, handler = logging.getLogger("hostspec"), _Handler(screen)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
