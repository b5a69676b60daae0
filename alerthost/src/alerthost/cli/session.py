"""The engine at work for one command: started, shown, and stopped when the command is done."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from alerthost.cli.incidents import Reach, cut_off
from alerthost.cli.progress import BLOCKED, QUEUED, Following, Tally
from alerthost.cli.screen import Screen, printable
from alerthost.cli.signals import Interrupts
from alerthost.config.configuration import Configuration
from alerthost.config.destinations import LaneNames
from alerthost.config.document import ConfigFile
from alerthost.config.engine import open_engine
from alerthost.store.errors import StoreError
from hostspec.delivery import OutcomeKind
from hostspec.normalisation import Repair

if TYPE_CHECKING:
    from alerthost.outbox.admin_rows import SubmissionStatus
    from alerthost.outbox.engine import Engine


PAUSE: Final = 0.05
"""Seconds after which it is looked again whether something has come, or a signal."""


STUCK: Final = 5.0
"""Seconds without any getting through after which the oldest is followed no longer."""


_LEFT: Final = 1000
"""Submissions of earlier runs that are followed."""


@attrs.frozen(eq=False)
class Work:
    """An engine that works for a command.

    Attributes:
        engine: started.
        interrupts: signals that came meanwhile.
        lanes: names of places.
        screen: where things are shown.
        left: submissions that earlier runs left, where they were asked for.
    """

    engine: Engine
    interrupts: Interrupts
    lanes: LaneNames
    screen: Screen
    left: tuple[SubmissionStatus, ...] = ()

    def following(
        self,
        *,
        advance: Callable[[], None] = lambda: None,
        repaired: Callable[[str, Repair], None] | None = None,
    ) -> Following:
        """Follow statements; see `Following`."""
        return Following(self.engine, self.lanes, self.screen, advance=advance, repaired=repaired)

    def make_room(self, following: Following, most: int) -> None:
        """Wait while so many are followed; where none gets through, the oldest is left to itself.

        Raises:
            StoreError: the store cannot be read.
        """
        while following.count >= most and not self.interrupts.count:
            following.look(PAUSE)
            if time.monotonic() - following.moved_at > STUCK:
                following.leave_oldest()

    def wait(self, following: Following, timeout: float) -> None:
        """Wait until nothing more happens to what is followed; at most so many seconds.

        Raises:
            StoreError: the store cannot be read.
        """
        end = time.monotonic() + timeout
        while following.count and not self.interrupts.count and time.monotonic() < end:
            following.look(PAUSE)

    def finish(self, following: Following) -> None:
        """Finish what is being sent, and show what is left.

        Raises:
            StoreError: the store cannot be read.
        """
        if self.interrupts.count:
            told = "interrupted: what is being sent is finished first; again to give up"
            self.screen.complain(told, "yellow")
        self.engine.stop()
        following.finish()


@contextlib.contextmanager
def begun(
    source: ConfigFile, loaded: Configuration, screen: Screen, *, earlier: bool = False
) -> Iterator[Work]:
    """Let the engine of a configuration work for a while; whoever uses it calls `finish`.

    Args:
        source: of the configuration.
        loaded: the configuration.
        screen: where things are shown.
        earlier: find what earlier runs left, and resolve orphaned incidents whose keys are back.

    Raises:
        ConfigurationError: the table ``[store]`` is wrong.
        StoreError: the store cannot be used.
    """
    lanes = LaneNames.of(loaded)
    with (
        open_engine(source, loaded) as engine,
        _logged(screen),
        Interrupts() as interrupts,
    ):
        left = _left_by_others(engine) if earlier else ()
        engine.start()
        reach = Reach.of(loaded.plugins, loaded.installations)
        for note in (*loaded.notes(), *cut_off(engine.admin, reach)):
            screen.note(note)
        try:
            yield Work(engine, interrupts, lanes, screen, left)
        except StoreError as error:
            # something may have been sent by then, so it is no mistake of the beginning
            screen.complain(printable(str(error)))
            sys.exit(1)
        finally:
            engine.stop(0.0)


def _left_by_others(engine: Engine) -> tuple[SubmissionStatus, ...]:
    """Return the submissions that earlier runs left, where no other process works on them."""
    admin = engine.admin
    if not admin.exists or admin.is_worked_on():
        return ()
    engine.recover_orphans()
    return admin.unfinished(_LEFT)


def tell_rest(tally: Tally, screen: Screen) -> None:
    """Say of what was not sent who will send it."""
    waiting = tally.deliveries[QUEUED] + tally.unplanned
    held = tally.deliveries[BLOCKED] + tally.deliveries[str(OutcomeKind.MISCONFIGURED)]
    if waiting:
        what = "1 of them waits" if waiting == 1 else f"{waiting} of them wait"
        told = f"{what} in the store: `alerthost run`, or the next `alerthost send`, goes on"
        screen.complain(told, "yellow")
    if held:
        what = "1 of them waits" if held == 1 else f"{held} of them wait"
        told = f"{what} for somebody to mend what is wrong; then send goes on by itself"
        screen.complain(told, "yellow")
    if waiting or held:
        screen.complain("`alerthost deliveries` shows them", "dim")


class _Shown(logging.Handler):
    """Shows what the engine logs: each text once, for a store that fails says so each second."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name == "hostspec" and text not in self._told:
            self._told.add(text)
            self._screen.complain(printable(text), "yellow")


@contextlib.contextmanager
def _logged(screen: Screen) -> Iterator[None]:
    logger, handler = logging.getLogger("hostspec"), _Shown(screen)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
