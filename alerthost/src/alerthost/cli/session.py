"""Runs the engine for one command: starts it, tracks submissions, and stops it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NoReturn

import attrs

from alerthost.cli.formatting import counted, printable
from alerthost.cli.progress import ShowRepair, Tracked, Tracker
from alerthost.cli.reach import Reach, cut_off_notes
from alerthost.cli.screen import Advance, Screen
from alerthost.cli.signals import Interrupts
from alerthost.cli.tally import BLOCKED, QUEUED, Tally
from alerthost.config.configuration import Configuration
from alerthost.config.destinations import LaneNames
from alerthost.config.document import ConfigFile
from alerthost.config.engine import open_engine
from alerthost.store.errors import StoreError
from hostspec.delivery import OutcomeKind

if TYPE_CHECKING:
    from alerthost.outbox.engine import Engine

PAUSE: Final = 0.2
"""Seconds between two checks for signals."""

STUCK: Final = 5.0
"""Seconds without progress after which the oldest submission is no longer tracked."""

_MOST_EARLIER: Final = 1000


@attrs.frozen(eq=False)
class Session:
    """A started engine, for the time of a command.

    Attributes:
        engine: started.
        interrupts: signals received meanwhile.
        lanes: names of services.
        screen: shows deliveries.
        earlier: unfinished submissions of earlier runs, if asked for.
    """

    engine: Engine
    interrupts: Interrupts
    lanes: LaneNames
    screen: Screen
    earlier: tuple[Tracked, ...] = ()

    def tracker(
        self, *, advance: Advance = lambda _: None, show_repair: ShowRepair | None = None
    ) -> Tracker:
        """Build a tracker of this engine's submissions; see `Tracker`."""
        return Tracker(
            self.engine, self.lanes, self.screen, advance=advance, show_repair=show_repair
        )

    def make_room(self, tracker: Tracker, most: int) -> None:
        """Wait until fewer than `most` are tracked; without progress, stop tracking the oldest.

        Raises:
            StoreError: the store cannot be read.
        """
        while tracker.count >= most and not self.interrupts.count:
            tracker.update(PAUSE)
            if time.monotonic() - tracker.moved_at > STUCK:
                tracker.leave_oldest()

    def wait(self, tracker: Tracker, timeout: float) -> None:
        """Wait until nothing is tracked any more, at most `timeout` seconds.

        Raises:
            StoreError: the store cannot be read.
        """
        end = time.monotonic() + timeout
        while tracker.count and not self.interrupts.count and time.monotonic() < end:
            tracker.update(PAUSE)

    def finish(self, tracker: Tracker) -> None:
        """Finish deliveries in flight, and show the rest.

        Raises:
            StoreError: the store cannot be read.
        """
        if self.interrupts.count:
            text = "interrupted: finishing deliveries in flight; interrupt again to abort"
            self.screen.print_error(text, "yellow")
        self.engine.stop()
        tracker.finish()


@contextlib.contextmanager
def open_session(
    source: ConfigFile, loaded: Configuration, screen: Screen, *, earlier: bool = False
) -> Iterator[Session]:
    """Run the engine of a configuration; the block ends with `Session.finish`.

    Args:
        source: of the configuration.
        loaded: the configuration.
        screen: shows deliveries.
        earlier: track unfinished submissions of earlier runs, and resolve orphaned incidents
            whose keys are back.

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
        unfinished = _earlier(engine) if earlier else ()
        engine.start()
        reach = Reach.of(loaded.plugins, loaded.installations)
        for note in (*loaded.notes(), *cut_off_notes(engine.admin, reach)):
            screen.note(note)
        try:
            yield Session(engine, interrupts, lanes, screen, unfinished)
        except StoreError as error:
            # deliveries may have been sent, so this is no configuration error
            screen.print_error(printable(str(error)))
            screen.exit(success=False)
        finally:
            engine.stop(0.0)


def _earlier(engine: Engine) -> tuple[Tracked, ...]:
    """Find unfinished submissions of earlier runs, unless another process delivers them."""
    if not engine.admin.exists or engine.admin.is_worked_on():
        return ()
    engine.recover_orphans()
    return tuple(map(Tracked.earlier, engine.admin.unfinished(_MOST_EARLIER)))


def conclude(tally: Tally, screen: Screen, noun: str = "alert") -> NoReturn:
    """Print the summary and the remedy for unsent deliveries, and exit."""
    screen.print(tally.summary(noun), "bold")
    queued = tally.deliveries[QUEUED] + tally.unplanned
    blocked = tally.deliveries[BLOCKED] + tally.deliveries[str(OutcomeKind.MISCONFIGURED)]
    if queued:
        text = f"{queued:,} still queued; run `alerthost run` or `alerthost send` to continue"
        screen.print_error(text, "yellow")
    if blocked:
        verb = "is" if blocked == 1 else "are"
        screen.print_error(
            f"{counted(blocked, 'delivery')} {verb} blocked until the configuration is fixed; "
            "run `alerthost send` or `alerthost run` afterwards",
            "yellow",
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
            self._screen.print_error(printable(text), "yellow")


@contextlib.contextmanager
def _logged(screen: Screen) -> Iterator[None]:
    logger, handler = logging.getLogger("hostspec"), _Handler(screen)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
