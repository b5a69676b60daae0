"""The plugin for Alerta, without it; `test_alerta_itself` runs it."""

from __future__ import annotations

import datetime as dt
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from flask import Flask
from scripted import Scripted


class Base:
    """Stands in for the base of Alerta's plugins."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    @staticmethod
    def get_config(key: str, config: dict[str, str]) -> str | None:
        return config.get(key)


CONFIG = {"DASHBOARD_URL": "https://alerta.example"}
CREATED = dt.datetime(2026, 11, 30, 8, 0)  # noqa: DTZ001 -- as Alerta has it
RECEIVED = CREATED + dt.timedelta(minutes=5)


@pytest.fixture
def plugin(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    plugins = ModuleType("alerta.plugins")
    plugins.PluginBase = Base
    monkeypatch.setitem(sys.modules, "alerta", ModuleType("alerta"))
    monkeypatch.setitem(sys.modules, "alerta.plugins", plugins)
    monkeypatch.setenv("ALERTHOST_URL", server.url)
    name = "alerthost_client.integrations.alerta"
    monkeypatch.delitem(sys.modules, name, raising=False)
    plugin = importlib.import_module(name).AlertPlugin()
    yield plugin
    plugin._client.close()


def alert(**fields: Any) -> Any:
    defaults = {
        "id": "4711",
        "environment": "Production",
        "service": ["Web", "Shop"],
        "resource": "web-1",
        "event": "HttpError",
        "group": "Misc",
        "customer": None,
        "text": "5xx",
        "value": "88 %",
        "tags": ["dc=1"],
        "attributes": {"region": "eu"},
        "severity": "major",
        "previous_severity": "indeterminate",
        "status": "open",
        "repeat": False,
        "update_time": CREATED,
        "last_receive_time": RECEIVED,
    }
    return SimpleNamespace(**{**defaults, **fields})


def receive(plugin: Any, alert: Any, before: Any = None) -> None:
    """Call the plugin as Alerta does for a received alert, with the state before, if it changes."""
    with Flask("alerta").app_context():
        assert plugin.pre_receive(alert, config=CONFIG) is alert
        if before is not None:
            plugin.status_change(before, alert.status, alert.text, config=CONFIG)
        plugin.post_receive(alert, config=CONFIG)


def change(plugin: Any, alert: Any, status: str) -> None:
    """Call the plugin as Alerta does for an action of an operator."""
    with Flask("alerta").app_context():
        plugin.status_change(alert, status, "by the operator", config=CONFIG)


def sent(plugin: Any, server: Scripted) -> list[dict[str, Any]]:
    assert plugin._client.flush(60)
    return server.alerts


def test_an_alert_fires_with_its_fields(plugin: Any, server: Scripted) -> None:
    before = dt.datetime.now(dt.UTC)
    receive(plugin, alert())
    (found,) = sent(plugin, server)
    started = dt.datetime.fromisoformat(found.pop("started_at"))
    assert before <= started <= dt.datetime.now(dt.UTC)
    assert found == {
        "key": "alerta/4711",
        "status": "firing",
        "summary": "HttpError on web-1: 5xx",
        "severity": "major",
        "source": "web-1",
        "labels": {
            "environment": "Production",
            "service": "Web, Shop",
            "resource": "web-1",
            "event": "HttpError",
            "group": "Misc",
        },
        "details": {"value": "88 %", "tags": ["dc=1"], "region": "eu"},
        "url": "https://alerta.example/#/alert/4711",
    }


def test_an_alert_may_lack_texts(plugin: Any, server: Scripted) -> None:
    receive(plugin, alert(text="", severity="security", customer="acme"))
    with mock.patch.dict(CONFIG, clear=True):
        receive(plugin, alert(text="", value=None, severity="Advisory"))
    with_value, bare = sent(plugin, server)
    assert (with_value["summary"], with_value["severity"]) == (
        "HttpError on web-1: 88 %",
        "critical",
    )
    assert with_value["labels"]["customer"] == "acme"
    assert (bare["summary"], bare["severity"], bare["url"]) == ("HttpError on web-1", "info", "")


def test_a_repeat_is_left_out_unless_it_changes_the_status(plugin: Any, server: Scripted) -> None:
    receive(plugin, alert(repeat=True))
    assert sent(plugin, server) == []
    receive(plugin, alert(repeat=True, update_time=RECEIVED))  # after a blackout
    assert [each["status"] for each in sent(plugin, server)] == ["firing"]


def test_a_closed_alert_fires_anew_as_it_is_received(plugin: Any, server: Scripted) -> None:
    closed = alert(status="closed", severity="normal", text="all is well")
    receive(plugin, alert(severity="critical"), before=closed)
    (found,) = sent(plugin, server)
    assert (found["severity"], found["summary"]) == ("critical", "HttpError on web-1: 5xx")


def test_a_normal_severity_resolves(plugin: Any, server: Scripted) -> None:
    receive(plugin, alert(severity="ok", status="closed"), before=alert())
    receive(plugin, alert(severity="Normal", status="open"))  # after a blackout
    assert {each["status"] for each in sent(plugin, server)} == {"resolved"}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("ack", "acknowledged"),
        ("UNACK", "firing"),
        ("RTNUN", "resolved"),
        ("of a plugin", "firing"),
    ],
)
def test_a_received_alert_has_its_status(
    plugin: Any, server: Scripted, status: str, expected: str
) -> None:
    receive(plugin, alert(status=status))
    assert [each["status"] for each in sent(plugin, server)] == [expected]


def test_changes_of_the_status_are_handed_over(plugin: Any, server: Scripted) -> None:
    for status in ("ack", "shelved", "open", "of a plugin", "expired"):
        change(plugin, alert(status="before"), status)
    change(plugin, alert(), "open")
    assert plugin.delete(alert(), config=CONFIG)
    found = [each["status"] for each in sent(plugin, server)]
    assert found == ["acknowledged", "resolved", "firing", "resolved", "resolved"]


def test_an_alert_that_is_opened_again_has_its_earlier_severity(
    plugin: Any, server: Scripted
) -> None:
    change(plugin, alert(status="closed", severity="normal", previous_severity="major"), "open")
    (found,) = sent(plugin, server)
    assert (found["status"], found["severity"]) == ("firing", "major")


def test_a_blackout_resolves(plugin: Any, server: Scripted) -> None:
    with Flask("alerta").app_context():
        plugin.pre_receive(alert(), config=CONFIG)
        plugin.status_change(alert(), "blackout", "", config=CONFIG)
    assert [each["status"] for each in sent(plugin, server)] == ["resolved"]
