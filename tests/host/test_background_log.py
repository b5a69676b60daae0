"""A log that is read slowly delays nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from alerthost.http import delivery_log
from alerthost.http.delivery_log import DropCount, log_in_background

log = logging.getLogger("test_background_log")


class Stalling(logging.Handler):
    """Writes nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.inside, self.go_on = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.inside.set()
        assert self.go_on.wait(60)
        self.lines.append(record.getMessage())


@pytest.fixture
def stalling() -> Iterator[Stalling]:
    handler = Stalling()
    yield handler
    handler.go_on.set()


def test_records_are_written_before_the_program_ends(stalling: Stalling) -> None:
    stalling.go_on.set()

    with log_in_background(stalling):
        log.warning("one %s", "line")
        log.error("another")

    assert stalling.lines == ["one line", "another"]
    log.warning("afterwards")
    assert len(stalling.lines) == 2


def test_dropped_records_are_counted_and_reported(stalling: Stalling) -> None:
    drops = DropCount()

    with log_in_background(stalling, drops, most=3):
        log.warning("first")
        assert stalling.inside.wait(60)
        for number in range(10):
            log.warning("line %s", number)
        assert drops.count == 7
        stalling.go_on.set()
        for _ in range(60_000):
            if len(stalling.lines) == 4:
                break
            threading.Event().wait(0.001)
        log.warning("last")

    expected = "7 log records were dropped: the log is read too slowly"
    assert stalling.lines == ["first", "line 0", "line 1", "line 2", expected, "last"]


def test_stop_waits_a_limited_time_for_a_stalled_reader(
    stalling: Stalling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_log, "WRITE_WITHIN", 0.01)

    with log_in_background(stalling):
        log.warning("first")

    assert stalling.lines == []
