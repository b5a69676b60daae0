"""The log with a rate limit: one line a minute for each source, cause and kind."""

from __future__ import annotations

import logging

import pytest

from hostspec.plugins.limited_log import LOG_AGAIN, MOST_KINDS, MOST_SOURCES, LimitedLog


def test_each_client_has_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = LimitedLog(logging.getLogger("hostspec"), lambda: now)
    for _ in range(60):
        log.write("10.0.0.1", "token", "rejected a")
        log.write("10.0.0.2", "token", "rejected b")
        log.write("10.0.0.1", "path", "rejected c")
    assert caplog.messages == ["rejected a", "rejected b", "rejected c"]

    caplog.clear()
    now += LOG_AGAIN
    log.write("10.0.0.1", "token", "rejected a")
    assert caplog.messages == [
        *(f"59 more like this were not logged: rejected {each}" for each in "abc"),
        "rejected a",
    ]
    caplog.clear()
    log.write("10.0.0.1", "token", "rejected a")
    log.flush(everything=True)
    assert caplog.messages == ["1 more like this were not logged: rejected a"]


def test_many_clients_share_one_line(caplog: pytest.LogCaptureFixture) -> None:
    log = LimitedLog(logging.getLogger("hostspec"), lambda: 0.0)
    for number in range(MOST_SOURCES + 1000):
        log.write(f"client {number}", "token", "rejected")
    assert len(caplog.messages) == MOST_SOURCES + 1
    log.flush(everything=True)
    assert caplog.messages[-1] == "999 more like this were not logged: rejected"


def test_number_of_kinds_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = LimitedLog(logging.getLogger("hostspec"), lambda: now)
    for number in range(MOST_KINDS + 5):
        log.write("client", "faulty", f"rejected {number}", kind=f"kind {number}")
    assert caplog.messages == [f"rejected {number}" for number in range(MOST_KINDS + 1)]

    caplog.clear()
    now += LOG_AGAIN
    log.write("client", "faulty", "rejected 99", kind="kind 99")
    rest = f"4 more of this and other kinds were not logged: rejected {MOST_KINDS}"
    assert caplog.messages == [rest, "rejected 99"]
