"""The handler of logging: its alerts, their repeats, and no recursion."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import Scripted, later

from alerthost_client import Client
from alerthost_client.integrations import reporter
from alerthost_client.integrations.logging import AlertHandler


@pytest.fixture
def client(server: Scripted) -> Iterator[Client]:
    with Client(server.url, source="web-1") as client:
        yield client


@pytest.fixture
def root(client: Client) -> Iterator[logging.Logger]:
    """Return the root logger, with a handler."""
    handler = AlertHandler(client, logging.WARNING)
    root = logging.getLogger()
    root.addHandler(handler)
    yield root
    root.removeHandler(handler)


def alerts(client: Client, server: Scripted) -> list[dict[str, Any]]:
    assert client.flush(60)
    return [alert for post in server.posts for alert in post.alerts]


def test_a_record_becomes_an_alert(root: logging.Logger, client: Client, server: Scripted) -> None:
    try:
        int("no number")
    except ValueError:
        logging.getLogger("shop.cart").exception("Order %d failed", 7)
    root.info("not serious")
    (alert,) = alerts(client, server)
    assert alert["key"].startswith("shop.cart/test_logging.test_a_record_becomes_an_alert:")
    assert (alert["summary"], alert["severity"]) == ("Order 7 failed", "error")
    assert alert["source"] == "web-1"
    assert alert["details"]["logger"] == "shop.cart"
    assert alert["details"]["traceback"].endswith("base 10: 'no number'")
    assert alert["details"]["repeats"] == 0


def test_fields_of_the_record_precede(
    root: logging.Logger, client: Client, server: Scripted
) -> None:
    own = {"key": "queue", "severity": "info", "labels": {"team": "data"}}
    root.critical("Queue is long", extra={"alert": own})
    (alert,) = alerts(client, server)
    assert {name: alert[name] for name in own} == own
    assert alert["summary"] == "Queue is long"


@pytest.mark.parametrize(
    ("level", "severity"),
    [(50, "critical"), (45, "error"), (30, "warning"), (20, "info"), (10, "debug")],
)
def test_levels_become_severities(
    client: Client, server: Scripted, level: int, severity: str
) -> None:
    AlertHandler(client).handle(logging.LogRecord("shop", level, "/shop.py", 7, "text", None, None))
    assert alerts(client, server)[0]["severity"] == severity


def test_repeats_within_a_window_are_one(
    client: Client, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(reporter, "time", SimpleNamespace(monotonic=lambda: now[0]))
    handler = AlertHandler(client, repeat_after=60)
    record = logging.LogRecord("shop", logging.ERROR, "/shop.py", 7, "text", None, None)
    other = logging.LogRecord("shop", logging.ERROR, "/shop.py", 8, "text", None, None)
    for now[0] in (0.0, 1.0, 59.0):
        handler.handle(record)
    handler.handle(other)
    now[0] = 61.0
    handler.handle(record)
    fired = [(alert["key"], alert["details"]["repeats"]) for alert in alerts(client, server)]
    assert fired == [("shop/shop.None:7", 0), ("shop/shop.None:8", 0), ("shop/shop.None:7", 2)]


def test_the_memory_of_repeats_is_bounded(
    client: Client, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "MOST_KEYS", 2)
    handler = AlertHandler(client)
    for number in (1, 2, 2, 3, 1):
        handler.handle(logging.LogRecord("a", 40, "/a.py", number, "text", None, None))
    assert len(alerts(client, server)) == 4


def test_a_quiet_period_resolves(
    client: Client, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = logging.LogRecord("shop", logging.ERROR, "/shop.py", 7, "text", None, None)
    AlertHandler(client, repeat_after=60, resolve_after=540).handle(record)
    (alert,) = alerts(client, server)
    lasts = datetime.fromisoformat(alert["expires_at"]) - datetime.fromisoformat(
        alert["started_at"]
    )
    assert round(lasts.total_seconds()) == 600


def test_records_of_the_client_fire_nothing(
    root: logging.Logger, client: Client, server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    server.script.append(later(503))
    root.error("broken")
    assert [alert["summary"] for alert in alerts(client, server)] == ["broken", "broken"]
    assert not client.fire("")
    assert len(caplog.records) == 3
    assert len(alerts(client, server)) == 2


def test_a_record_that_cannot_be_formatted_costs_no_page(client: Client, server: Scripted) -> None:
    record = logging.LogRecord("shop", 40, "/shop.py", 7, "Order %d failed", ("x",), None)
    AlertHandler(client).handle(record)
    assert alerts(client, server)[0]["summary"] == "Order %d failed"


def test_invalid_fields_break_nothing(
    root: logging.Logger,
    client: Client,
    server: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    root.error("broken", extra={"alert": 7})
    assert "is not a mapping" in capsys.readouterr().err
    assert alerts(client, server) == []
