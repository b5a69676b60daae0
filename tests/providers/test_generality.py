"""Three unlike providers work side by side in one host."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import attrs
import pytest
from hostspec_tickets.system import Ticket

import hostspec
from hostspec import Alert, OutcomeKind
from hostspec.inprocess import Host
from hostspec.plugins import PluginState, Rule, load, survey
from pagerduty_plugin.testing import FakePagerDuty

KEY = "0123456789abcdefghijABCDEFGHIJ01"

CONFIGURATION = """\
[plugins]
enabled = ["pagerduty", "tickets", "webhook"]

[[installations]]
provider = "pagerduty"
name = "acme"
[installations.settings]
base_url = "{fake}"
services = [{{ name = "checkout", integration_key = "env:PD_CHECKOUT" }}]

[[installations]]
provider = "tickets"
name = "desk"
[installations.settings]
journal = "{journal}"

[[installations]]
provider = "webhook"
name = "chat"
[installations.settings]
url = "env:CHAT_URL"

[[rules]]
name = "Everything"
[[rules.actions]]
use = "pagerduty.trigger"
installation = "acme"
services = ["checkout"]
[[rules.actions]]
use = "tickets.open"
installation = "desk"
queue = "storage"
[[rules.actions]]
use = "webhook.post"
installation = "chat"
"""

STORY = (
    Alert("db-1/disk", "Disk full", severity="critical", source="db-1"),
    Alert("db-1/disk", "Disk still full", severity="critical", source="db-1"),
    Alert("db-1/disk", status="acknowledged", summary="On it"),
    Alert("db-1/disk", status="resolved", summary="Space again"),
)


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    with FakePagerDuty(services={"checkout": KEY}) as fake:
        yield fake


@pytest.fixture
def host(fake: FakePagerDuty, receiver: Any, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PD_CHECKOUT", KEY)
    monkeypatch.setenv("CHAT_URL", receiver.url)
    plugins = load(["pagerduty", "tickets", "webhook"])
    services = [{"name": "checkout", "integration_key": "env:PD_CHECKOUT"}]
    acme = plugins.installation("pagerduty", "acme", {"base_url": fake.url, "services": services})
    tickets = plugins.installation("tickets", "desk", {})
    chat = plugins.installation("webhook", "chat", {"url": "env:CHAT_URL"})
    actions = [
        plugins.rule_action("pagerduty.trigger", acme, {"services": ["checkout"]}),
        plugins.rule_action("tickets.open", tickets, {"queue": "storage"}),
        plugins.rule_action("webhook.post", chat, {}),
    ]
    return Host(plugins, [Rule("Everything", actions)])


def tickets_of(host: Host) -> list[Ticket]:
    action: Any = host.plugins.actions["tickets.open"]
    return action.system.tickets


def sent(fake: FakePagerDuty) -> list[str]:
    return [json.loads(request.body)["event_action"] for request in fake.requests]


def test_one_rule_notifies_three_providers(host: Host, fake: FakePagerDuty, receiver: Any) -> None:
    reports = [host.handle(alert) for alert in STORY]

    assert all(report.delivered for report in reports)
    assert sent(fake) == ["trigger", "trigger", "acknowledge", "resolve"]
    assert [incident.state for incident in fake.incidents] == ["resolved"]
    assert tickets_of(host) == [
        Ticket("T-1", "storage", ["critical: Disk full", "critical: Disk still full"], open=False)
    ]
    assert [(kind, post["status"], post["summary"]) for kind, post in receiver.posts] == [
        ("application/json", str(alert.status), alert.summary) for alert in STORY
    ]


def test_the_webhook_posts_the_alert(host: Host, receiver: Any) -> None:
    alert = Alert("db-1/disk", "Disk full", details={"used": 0.98}, labels={"team": "data"})

    host.handle(alert)

    ((_, posted),) = receiver.posts
    assert hostspec.from_json(Alert, posted) == alert


def test_a_problem_that_comes_back_is_a_new_ticket(host: Host) -> None:
    for alert in (*STORY, STORY[0]):
        host.handle(alert)

    assert [(ticket.id, ticket.open) for ticket in tickets_of(host)] == [
        ("T-1", False),
        ("T-2", True),
    ]


def test_a_resolve_without_an_incident_sends_nothing(
    host: Host, fake: FakePagerDuty, receiver: Any
) -> None:
    """A pager discards it, a webhook gets it, and no ticket can be closed without its id."""
    rules = [attrs.evolve(rule, resolve_unknown=True) for rule in host.rules]
    report = Host(host.plugins, rules).handle(STORY[-1])

    assert report.delivered
    assert sent(fake) == ["resolve"]
    assert [post["status"] for _, post in receiver.posts] == ["resolved"]
    assert tickets_of(host) == []


def test_a_ticket_without_its_id_cannot_be_followed_up(host: Host) -> None:
    host.handle(STORY[0])
    (closing,) = [
        delivery
        for delivery in host.plan(STORY[-1]).deliveries
        if delivery.ref.action == "tickets.open"
    ]
    elsewhere = attrs.evolve(closing.ref, correlation_key="another")

    lost = host.send(attrs.evolve(closing, ref=elsewhere)).outcome
    host.send(closing)
    host.handle(STORY[0])
    known = host.send(closing).outcome

    assert lost is not None
    assert (lost.kind, "no such open ticket" in lost.reason) == (OutcomeKind.REJECTED, True)
    assert known is not None
    assert known.delivered
    assert [ticket.open for ticket in tickets_of(host)] == [False, False]


def test_a_ticket_that_was_closed_by_hand_is_rejected(host: Host) -> None:
    host.handle(STORY[0])
    action: Any = host.plugins.actions["tickets.open"]
    action.system.close("T-1", "")

    outcomes = [receipt.outcome for receipt in host.handle(STORY[1]).receipts]

    assert sorted(outcome.kind for outcome in outcomes if outcome) == [
        OutcomeKind.DELIVERED,
        OutcomeKind.DELIVERED,
        OutcomeKind.REJECTED,
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, OutcomeKind.DELIVERED),
        (302, OutcomeKind.MISCONFIGURED),
        (307, OutcomeKind.MISCONFIGURED),
        (404, OutcomeKind.MISCONFIGURED),
        (422, OutcomeKind.REJECTED),
        (429, OutcomeKind.THROTTLED),
        (500, OutcomeKind.UNCERTAIN),
        (0, OutcomeKind.UNCERTAIN),
    ],
)
def test_the_status_of_a_webhook_becomes_an_outcome(
    host: Host, receiver: Any, status: int, kind: OutcomeKind
) -> None:
    receiver.answers.append(status)

    *_, receipt = host.handle(STORY[0]).receipts

    assert receipt.outcome is not None
    assert receipt.outcome.kind is kind
    assert len(receiver.posts) == 1
    assert receiver.url not in repr(receipt)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:{closed}/hook", OutcomeKind.UNREACHABLE),
        ("https://{receiver}", OutcomeKind.UNCERTAIN),
        ("file:///etc/hostname", OutcomeKind.MISCONFIGURED),
        ("http://127.0.0.1:canary/", OutcomeKind.MISCONFIGURED),
        ("http://", OutcomeKind.MISCONFIGURED),
        ("http://[canary/", OutcomeKind.MISCONFIGURED),
        ("http://127.0.0.1/\ncanary", OutcomeKind.MISCONFIGURED),
        ("", OutcomeKind.MISCONFIGURED),
    ],
)
def test_a_webhook_accepts_any_url(
    host: Host, receiver: Any, monkeypatch: pytest.MonkeyPatch, url: str, kind: OutcomeKind
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        _, port = closed.getsockname()
        there = receiver.url.removeprefix("http://")
        monkeypatch.setenv("CHAT_URL", url.format(receiver=there, closed=port))

        *_, receipt = host.handle(STORY[0]).receipts

    assert receipt.outcome is not None
    assert receipt.outcome.kind is kind
    assert "canary" not in repr(receipt)


def test_a_failing_provider_does_not_affect_others(
    host: Host, fake: FakePagerDuty, receiver: Any
) -> None:
    fake.stop()
    receiver.answers.append(500)

    report = host.handle(STORY[0])

    kinds = [receipt.outcome.kind for receipt in report.receipts if receipt.outcome]
    assert kinds == [OutcomeKind.UNREACHABLE, OutcomeKind.DELIVERED, OutcomeKind.UNCERTAIN]


def test_a_journal_in_a_missing_folder_is_an_outcome(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    plugins = load(["tickets"])
    tickets = plugins.installation("tickets", "desk", {"journal": str(folder / "journal")})
    host = Host(plugins, [Rule("All", [plugins.rule_action("tickets.open", tickets, {})])])
    opened, again, _, resolved = STORY
    outcomes = []

    def tell(alert: Alert) -> None:
        [receipt] = host.handle(alert).receipts
        assert receipt.outcome
        outcomes.append((str(receipt.outcome.kind), receipt.outcome.reason))

    tell(opened)
    assert tickets_of(host) == []
    folder.mkdir()
    tell(opened)
    folder.rename(elsewhere)
    tell(again)
    tell(resolved)
    assert tickets_of(host) == [Ticket("T-1", "operations", ["critical: Disk full"])]
    elsewhere.rename(folder)
    tell(resolved)

    reason = "the journal cannot be written: No such file or directory"
    missing, delivered = ("misconfigured", reason), ("delivered", "")
    assert outcomes == [missing, delivered, missing, missing, delivered]
    assert [ticket.open for ticket in tickets_of(host)] == [False]


def test_a_ticket_is_opened_when_the_store_is_back(host: Host, fake: FakePagerDuty) -> None:
    """Each has its own state; the first failure of the pager loses nothing."""
    fake.stop()
    host.handle(STORY[0])
    fake.start()
    for alert in STORY[1:]:
        host.handle(alert)

    assert [incident.state for incident in fake.incidents] == ["resolved"]
    assert [ticket.open for ticket in tickets_of(host)] == [False]


def test_alerthost_sends_to_three_providers(
    fake: FakePagerDuty, receiver: Any, tmp_path: Path
) -> None:
    """It runs as a separate process, with one TOML file and a file of alerts."""
    journal = tmp_path / "journal"
    (tmp_path / "alerthost.toml").write_text(
        CONFIGURATION.format(fake=fake.url, journal=journal), encoding="utf-8"
    )
    statements = [hostspec.to_json(alert) for alert in STORY]
    for statement in statements:
        del statement["repairs"]

    run = subprocess.run(
        [sys.executable, "-m", "alerthost", "send", "-"],
        cwd=tmp_path,
        env={**os.environ, "PD_CHECKOUT": KEY, "CHAT_URL": receiver.url},
        input="\n".join(map(json.dumps, statements)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert sent(fake) == ["trigger", "trigger", "acknowledge", "resolve"]
    assert [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()] == [
        ["created", "T-1", "storage", "critical: Disk full"],
        ["commented", "T-1", "storage", "critical: Disk still full"],
        ["closed", "T-1", "storage", ""],
    ]
    assert [post["status"] for _, post in receiver.posts] == [
        "firing",
        "firing",
        "acknowledged",
        "resolved",
    ]
    assert receiver.url not in run.stdout


def test_three_providers_are_loaded_with_their_capabilities() -> None:
    names = {"pagerduty", "tickets", "webhook"}
    assert names <= entry_points(group="hostspec").names

    infos = {info.name: info for info in survey(names).infos if info.name in names}

    assert {info.state for info in infos.values()} == {PluginState.ACTIVE}
    assert infos["tickets"].distribution == "hostspec-tickets"
    assert infos["webhook"].actions == ("webhook.post",)
    assert infos["tickets"].hooks == infos["webhook"].hooks
    assert infos["pagerduty"].hooks == (
        "hostspec_actions",
        "hostspec_addhooks",
        "hostspec_providers",
    )


def test_their_destinations_can_be_listed(host: Host) -> None:
    listed = {
        use.installation.name: [
            destination.name
            for destination in host.plugins.providers[use.installation.provider].destinations(
                use.installation
            )
        ]
        for use in host.rules[0].actions
    }

    assert listed == {"acme": ["checkout"], "desk": [], "chat": ["chat"]}


def test_the_host_does_not_name_any_provider() -> None:
    """Texts may name a provider as an example; code may not."""
    for path in Path(hostspec.__file__).parent.rglob("*.py"):
        code = re.sub(r'"""(?:.|\n)*?"""|#.*', "", path.read_text(encoding="utf-8"))
        code = re.sub(r"@_?example\(.*\)", "", code)
        assert not re.search(r"pagerduty|webhook|tickets\.|_tickets", code, re.IGNORECASE), path
