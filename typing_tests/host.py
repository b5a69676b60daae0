"""The code of a host's author, for type checkers. Never run."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from typing import Any, assert_type

from hostspec import (
    Alert,
    AnyAction,
    Delivery,
    Fault,
    Identity,
    Image,
    Installation,
    Link,
    Outcome,
    OutcomeKind,
    Preview,
    Provider,
    Receipt,
    Repair,
    Severity,
    Status,
    from_json,
    to_json,
)
from hostspec.inprocess import Host, Report
from hostspec.plugins import (
    Plan,
    PluginInfo,
    Plugins,
    PluginsError,
    PluginState,
    Rule,
    RuleAction,
    load,
    survey,
)
from hostspec.plugins.planning import merge


class Builtin:
    """A plugin of the program's own."""


def embed() -> Host:
    try:
        plugins = load(["pagerduty"], own={"builtin": Builtin()})
    except PluginsError as error:
        assert_type(error.failed, tuple[PluginInfo, ...])
        plugins = survey(["pagerduty"])
    assert_type(plugins, Plugins)
    assert_type(plugins.providers, Mapping[str, Provider[Any]])
    assert_type(plugins.actions, Mapping[str, AnyAction])
    for info in plugins.infos:
        assert_type(info.state, PluginState)
        assert_type(info.actions, tuple[str, ...])
    acme = plugins.installation("pagerduty", "acme", {"services": []})
    assert_type(acme, Installation[Any])
    page = plugins.rule_action("pagerduty.trigger", acme, {"services": ["checkout"]})
    assert_type(page, RuleAction)

    def matches(alert: Alert) -> bool:
        return alert.severity.rank >= Severity.ERROR.rank and alert.labels.get("team") == "data"

    return Host(plugins, [Rule("Pages", [page]), Rule("Data", (page, page), matches)])


def handle(host: Host) -> None:
    alert = Alert(
        "db-1/disk",
        "Disk full on db-1",
        status="firing",
        severity="critical",
        scope="shop",
        started_at=dt.datetime(2026, 11, 23, 3, 14, tzinfo=dt.UTC),
        updated_at="2026-11-23T03:14:00Z",
        labels={"team": "data", "shard": 7},
        details={"used": 0.98, "hosts": {"db-1", "db-2"}},
        links=[
            Link("https://runbook.example"),
            {"href": "https://host.example"},
            "https://x.example",
        ],
        images=[Image("https://graph.example/1.png")],
    )
    assert_type(alert.status, Status)
    assert_type(alert.identity, Identity)
    assert_type(alert.links, tuple[Link, ...])
    assert_type(alert.repairs, tuple[Repair, ...])
    assert_type(Alert.read({"key": "db-1/disk"}), Alert)
    assert_type(Alert.read_text('{"key": "db-1/disk"}'), Alert)

    report = host.handle(alert)
    assert_type(report, Report)
    assert_type(report.delivered, bool)
    for receipt in report.receipts:
        assert_type(receipt, Receipt)
        assert_type(receipt.outcome, Outcome | None)
        if receipt.outcome is not None:
            assert_type(receipt.outcome.kind, OutcomeKind)
    plan = host.plan(alert)
    assert_type(plan, Plan)
    assert_type(plan.deliveries, tuple[Delivery, ...])
    assert_type(plan.failures, tuple[Fault, ...])
    assert_type(merge(plan.deliveries), tuple[Delivery, ...])
    for delivery in plan.deliveries:
        assert_type(host.preview(delivery), Preview)
        assert_type(from_json(Delivery, to_json(delivery)), Delivery)
        assert_type(host.send(delivery), Receipt)


async def handle_in_a_thread(host: Host, alert: Alert) -> None:
    assert_type(await asyncio.to_thread(host.handle, alert), Report)
