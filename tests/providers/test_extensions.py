"""Plugins that override PagerDuty's events, and plugins that fail."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import hostspec_saboteur as saboteur
import pytest
from hostspec_nightwatch import GRAPHS, RUNBOOKS
from workspace import CHECKOUT, Workspace, line

from hostspec import Alert, Delivery, Image, Link, Suppression, hookimpl
from hostspec.inprocess import Host
from hostspec.plugins import Rule, load
from hostspec.plugins.isolation import FAILURES
from pagerduty_plugin import Enrich, Suppress
from pagerduty_plugin.testing import FakePagerDuty

KEYS = {"checkout": "checkoutcheckoutcheckoutcheckout", "platform": "PLATFORM" * 4}

HOOKS = ("pagerduty_services", "pagerduty_severity", "pagerduty_dedup_key", "pagerduty_enrich")

Answering = Callable[..., Any]


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    with FakePagerDuty(services=KEYS, rate_limit=0) as fake:
        yield fake


def host_of(
    fake: FakePagerDuty, *enabled: str, own: dict[str, object] | None = None, **settings: Any
) -> Host:
    """Return a host that pages checkout, also for unknown alerts, with plugins beside PagerDuty."""
    plugins = load(["pagerduty", *enabled], own=own or {})
    services = [{"name": name, "integration_key": key} for name, key in KEYS.items()]
    acme = plugins.installation(
        "pagerduty", "acme", {"base_url": fake.url, "services": services, **settings}
    )
    page = plugins.rule_action("pagerduty.trigger", acme, {"services": ["checkout"]})
    return Host(plugins, [Rule("Pages", [page], resolve_unknown=True)])


def plugin(*, first: bool = False, **hooks: Answering) -> object:
    """Return a plugin from hook implementations, by their names without the prefix."""

    class Plugin:
        pass

    for name, function in hooks.items():
        implementation = staticmethod(hookimpl(tryfirst=first)(function))
        setattr(Plugin, f"pagerduty_{name}", implementation)
    return Plugin()


def sent(host: Host, alert: Alert) -> Delivery:
    """Send the one delivery of an alert."""
    (receipt,) = host.handle(alert).receipts
    assert receipt.outcome is not None
    assert receipt.outcome.delivered, receipt.outcome
    return receipt.delivery


def bodies(fake: FakePagerDuty) -> list[Any]:
    return [json.loads(request.body) for request in fake.requests]


def body_of(fake: FakePagerDuty, alert: Alert, **own: object) -> tuple[Any, Delivery]:
    """Send an alert through plugins, and return the event as sent."""
    delivery = sent(host_of(fake, own=own), alert)
    return bodies(fake)[-1], delivery


class TestNightWatch:
    """An extension in a distribution of its own, with all four hooks."""

    def test_all_overrides_reach_the_wire(self, fake: FakePagerDuty) -> None:
        labels = {"tier": "gold", "owner": "platform", "cluster": "eu-1", "runbook": "disk"}
        alert = Alert("db-1/disk", "Full", severity="warning", source="db-1", labels=labels)

        delivery = sent(host_of(fake, "night-watch"), alert)

        assert bodies(fake) == [
            {
                "routing_key": KEYS["platform"],
                "event_action": "trigger",
                "dedup_key": "/cluster/eu-1",
                "payload": {
                    "summary": "Full",
                    "source": "db-1",
                    "severity": "critical",
                    "custom_details": {
                        "labels": labels,
                        "night-watch": {"notified": ["platform"], "as": "critical", "for": "Pages"},
                    },
                },
                "links": [{"href": f"{RUNBOOKS}/disk", "text": "Runbook"}],
                "images": [{"src": f"{GRAPHS}/db-1.png", "alt": "Load"}],
            }
        ]
        assert delivery.notes == (
            "services platform was set by plugin night-watch",
            "severity critical was set by plugin night-watch",
            "dedup key /cluster/eu-1 was set by plugin night-watch",
            "1 detail, 1 link, 1 image came from plugin night-watch",
        )
        assert delivery.repairs == ()

    def test_a_suppressed_event_is_shown_and_not_sent(self, fake: FakePagerDuty) -> None:
        alert = Alert("db-1/disk", severity="warning", labels={"quiet": "yes"})

        report = host_of(fake, "night-watch").handle(alert)

        assert fake.requests == ()
        assert report.plan.suppressions == (
            Suppression(
                "pagerduty.trigger",
                "acme",
                "quiet hours; it is not critical",
                "night-watch",
                ("Pages",),
            ),
        )

    def test_a_suppression_applies_to_no_follow_up(self, fake: FakePagerDuty) -> None:
        """The incident may have been opened by an earlier process."""
        labels = {"quiet": "yes", "owner": "platform", "cluster": "eu-1"}
        alert = Alert("db-1/disk", severity="warning", labels=labels, status="resolved")

        delivery = sent(host_of(fake, "night-watch"), alert)

        assert delivery.notes == (
            "plugin night-watch suppressed a follow-up; ignored",
            "dedup key /cluster/eu-1 was set by plugin night-watch",
        )

    def test_a_host_without_a_store_finds_the_incident(self, fake: FakePagerDuty) -> None:
        labels = {"tier": "gold", "owner": "platform", "cluster": "eu-1"}
        sent(host_of(fake, "night-watch"), Alert("db-1/disk", severity="error", labels=labels))

        later = Alert("db-1/disk", severity="error", labels=labels, status="resolved")
        sent(host_of(fake, "night-watch"), later)

        assert bodies(fake)[-1] == {
            "routing_key": KEYS["platform"],
            "event_action": "resolve",
            "dedup_key": "/cluster/eu-1",
        }
        assert [incident.state for incident in fake.incidents] == ["resolved"]

    def test_a_durable_host_ignores_later_overrides_for_follow_ups(
        self, fake: FakePagerDuty
    ) -> None:
        """The rules still send a resolve to the new destination, without effect."""
        host = host_of(fake, "night-watch")
        sent(host, Alert("db-1/disk", severity="error", labels={"owner": "platform"}))

        receipts = host.handle(Alert("db-1/disk", severity="error", status="resolved")).receipts

        assert (receipts[0].delivery.ref.destination, receipts[0].delivery.notes) == (
            "platform",
            (),
        )
        assert [incident.state for incident in fake.incidents] == ["resolved"]


@pytest.fixture
def workspace(tmp_path: Any) -> Iterator[Workspace]:
    (tmp_path / "pd_platform").write_text(KEYS["platform"], encoding="utf-8")
    with FakePagerDuty(services={"checkout": CHECKOUT, "platform": KEYS["platform"]}) as fake:
        workspace = Workspace(tmp_path, fake)
        workspace.configure(('["pagerduty"]', '["pagerduty", "night-watch"]'))
        yield workspace


class TestAlerthost:
    def test_plugins_lists_the_extended_hooks(self, workspace: Workspace) -> None:
        run = workspace.alerthost("plugins")

        (row,) = [row for row in run.stdout.splitlines() if row.startswith("night-watch")]
        assert row.split(maxsplit=4) == [
            "night-watch",
            "0.1.0",
            "hostspec-nightwatch",
            "active",
            "pagerduty_dedup_key, pagerduty_enrich, pagerduty_services, pagerduty_severity",
        ]

    def test_explain_names_the_plugin_of_each_override(self, workspace: Workspace) -> None:
        labels = {"team": "data", "owner": "platform", "tier": "gold"}

        run = workspace.alerthost("explain", given=line(severity="error", labels=labels))

        assert run.returncode == 0, run.stderr
        assert "trigger to acme/platform" in run.stdout
        assert "trigger to acme/checkout" not in run.stdout
        assert "note: services platform was set by plugin night-watch" in run.stdout
        assert "note: severity critical was set by plugin night-watch" in run.stdout
        assert '"severity": "critical"' in run.stdout
        assert workspace.bodies() == []

    def test_explain_and_send_show_a_suppression(self, workspace: Workspace) -> None:
        given = line(severity="error", labels={"team": "data", "quiet": "yes"})

        explained = workspace.alerthost("explain", given=given)
        ran = workspace.alerthost("send", given=given)

        message = "suppressed by night-watch at acme: quiet hours; it is not critical"
        assert message in explained.stdout
        assert "nothing would be sent" in explained.stdout
        assert "1 suppressed" in ran.stdout
        assert ran.returncode == 0
        assert workspace.bodies() == []

    def test_a_hostile_plugin_costs_no_page_and_leaks_nothing(self, workspace: Workspace) -> None:
        workspace.configure(('["pagerduty"]', '["pagerduty", "saboteur"]'))
        given = line(labels={"team": "data", "sabotage": "fail SystemExit"})

        run = workspace.alerthost("send", given=given)

        assert run.returncode == 0
        assert len(workspace.bodies()) == 2
        place = "hostspec_saboteur/__init__.py:"
        assert f"note: plugin saboteur: pagerduty_enrich failed at {place}" in run.stderr
        assert saboteur.SECRET not in run.stdout + run.stderr


class TestSaboteur:
    """An extension that breaks in every way."""

    @pytest.mark.parametrize("status", ["firing", "resolved"])
    @pytest.mark.parametrize("way", sorted(saboteur.WAYS.keys() - {"text", "Text", "hang"}))
    def test_the_event_is_sent_without_a_failed_plugin(
        self,
        fake: FakePagerDuty,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
        way: str,
        status: str,
    ) -> None:
        """Except for hangs, and for texts, which are valid dedup keys: see below."""
        caplog.set_level(logging.DEBUG)
        alert = Alert("k", "Down", severity="error", labels={"sabotage": way}, status=status)

        with_it = sent(host_of(fake, "saboteur"), alert)
        without = sent(host_of(fake), alert)

        attempted, plain = (request.body for request in fake.requests)
        assert attempted == plain
        assert (with_it.ref, with_it.severity) == (without.ref, without.severity)
        assert with_it.repairs == without.repairs
        asked = HOOKS if status == "firing" else (HOOKS[0], HOOKS[2])
        assert all(note.startswith("plugin saboteur") for note in with_it.notes)
        assert len(with_it.notes) == len(asked) - (way == "blank")
        message = repr(with_it) + caplog.text + "".join(capfd.readouterr())
        assert saboteur.SECRET not in message

    @pytest.mark.parametrize("name", saboteur.FAILING)
    def test_a_failure_is_reported_by_its_location_only(
        self, fake: FakePagerDuty, name: str
    ) -> None:
        alert = Alert("k", labels={"sabotage": f"fail {name}"})

        notes = sent(host_of(fake, "saboteur"), alert).notes

        place = "failed at hostspec_saboteur/__init__.py:"
        failed = "returned a coroutine, which is not run" if name == "coroutine" else place
        for note, hook in zip(notes, HOOKS, strict=True):
            assert note.startswith(f"plugin saboteur: {hook} {failed}")

    @pytest.mark.parametrize("name", saboteur.NONSENSE)
    def test_a_wrong_type_is_reported_by_its_name(self, fake: FakePagerDuty, name: str) -> None:
        alert = Alert("k", labels={"sabotage": f"answer {name}"})

        notes = sent(host_of(fake, "saboteur"), alert).notes

        right = (
            "a tuple or list of names",
            "one of critical, error, warning, info",
            "a text that is not blank",
            "an Enrich",
        )
        assert notes == tuple(
            f"plugin saboteur answered {hook} with {name}, not with {wanted}"
            for hook, wanted in zip(HOOKS, right, strict=True)
        )

    @pytest.mark.parametrize("way", ["text", "Text"])
    def test_overridden_methods_of_a_text_are_not_called(
        self, fake: FakePagerDuty, way: str
    ) -> None:
        sent(host_of(fake, "saboteur"), Alert("k", labels={"sabotage": way}))

        (body,) = bodies(fake)
        assert body["dedup_key"] == saboteur.SECRET
        assert body["payload"]["severity"] == "error"

    def test_a_text_like_a_key_is_not_repeated(self, fake: FakePagerDuty) -> None:
        delivery = sent(host_of(fake, "saboteur"), Alert("k", labels={"sabotage": "list of texts"}))

        assert delivery.notes[0] == ("plugin saboteur chose unknown services: a text like a key")

    def test_a_hanging_plugin_does_not_block_the_others(
        self, fake: FakePagerDuty, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = host_of(fake, "night-watch", "saboteur")
        monkeypatch.setattr(host.plugins.hooks, "_deadline", 0.05)
        monkeypatch.setattr(saboteur, "released", threading.Event())
        alert = Alert("k", labels={"sabotage": "hang", "tier": "gold"})
        try:
            late = sent(host, alert).notes
            again = sent(host, alert).notes
        finally:
            saboteur.released.set()

        def of_saboteur(notes: tuple[str, ...]) -> list[str]:
            return [note for note in notes if "saboteur" in note]

        assert of_saboteur(late) == [
            f"plugin saboteur: {hook} exceeded its deadline of 0.05 s" for hook in HOOKS
        ]
        assert of_saboteur(again) == [
            f"plugin saboteur: {hook} was not called: it exceeded its deadline before"
            for hook in HOOKS
        ]
        assert [body["payload"]["severity"] for body in bodies(fake)] == ["critical"] * 2

    def test_a_failed_plugin_does_not_affect_others(self, fake: FakePagerDuty) -> None:
        alert = Alert("k", labels={"sabotage": "fail UtterError", "owner": "platform"})

        delivery = sent(host_of(fake, "night-watch", "saboteur"), alert)

        assert delivery.ref.destination == "platform"
        assert "services platform was set by plugin night-watch" in delivery.notes


class TestHookArguments:
    def test_hooks_get_names_and_values_only(self, fake: FakePagerDuty) -> None:
        given: dict[str, dict[str, Any]] = {}

        def asked(hook: str, *names: str) -> Answering:
            def answer(*values: Any) -> None:
                given[hook] = dict(zip(names, values, strict=True))

            arguments = ", ".join(names)
            return eval(f"lambda {arguments}: answer({arguments})", {"answer": answer})

        alert = Alert("k", severity="debug")
        about = ("alert", "installation", "rule")
        body_of(
            fake,
            alert,
            spy=plugin(
                services=asked("services", *about, "services", "chosen"),
                severity=asked("severity", *about, "severity"),
                dedup_key=asked("dedup_key", *about),
                enrich=asked("enrich", *about, "severity", "services"),
            ),
        )

        same = {"alert": alert, "installation": "acme", "rule": "Pages"}
        assert given == {
            "services": {**same, "services": ("checkout", "platform"), "chosen": ("checkout",)},
            "severity": {**same, "severity": "info"},
            "dedup_key": same,
            "enrich": {**same, "severity": "info", "services": ("checkout",)},
        }
        assert not [key for key in KEYS.values() if key in repr(given)]

    def test_enrich_gets_the_decisions_of_the_other_hooks(self, fake: FakePagerDuty) -> None:
        body, _ = body_of(
            fake,
            Alert("k"),
            a=plugin(
                services=lambda: ["platform"],
                severity=lambda: "warning",
                enrich=lambda severity, services: Enrich(details={severity: services}),
            ),
        )

        assert body["payload"]["custom_details"] == {"warning": ["platform"]}

    def test_without_plugins_no_thread_is_started(
        self, fake: FakePagerDuty, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = host_of(fake)
        started: list[threading.Thread] = []
        monkeypatch.setattr(threading.Thread, "start", started.append)

        (delivery,) = host.plan(Alert("k")).deliveries

        assert (started, delivery.notes) == ([], ())

    def test_a_follow_up_of_a_stored_incident_calls_no_plugin(self, fake: FakePagerDuty) -> None:
        asked: list[str] = []
        host = host_of(fake, own={"spy": plugin(services=lambda alert: asked.append(alert.status))})
        sent(host, Alert("k"))
        (incident,) = host._memory.held_by(Alert("k").identity)
        asked.clear()

        action = host.plugins.actions["pagerduty.trigger"]
        delivery = action.follow_up(incident, Alert("k", status="resolved"))

        assert delivery is not None
        assert asked == []


class TestPrecedence:
    def test_the_first_severity_is_used(self, fake: FakePagerDuty) -> None:
        body, delivery = body_of(
            fake,
            Alert("k"),
            a=plugin(severity=lambda: "warning"),
            b=plugin(severity=lambda: "warning"),
            c=plugin(severity=lambda: "urgent", first=True),
            d=plugin(severity=lambda: "info", first=True),
            e=plugin(severity=lambda: None, first=True),
        )

        assert body["payload"]["severity"] == "info"
        assert delivery.severity == "info"
        assert delivery.notes == (
            "plugin c answered pagerduty_severity with another text, "
            "not with one of critical, error, warning, info",
            "severity info was set by plugin d",
            "plugin a set severity warning; ignored, as plugin d comes first",
            "plugin b set severity warning; ignored, as plugin d comes first",
        )

    def test_an_answer_of_a_wrong_type_is_logged_and_counted(
        self, fake: FakePagerDuty, caplog: pytest.LogCaptureFixture
    ) -> None:
        host = host_of(fake, own={"typist": plugin(severity=lambda: 3, enrich=lambda: {"a": 1})})

        sent(host, Alert("a"))
        sent(host, Alert("b"))

        assert caplog.messages == [
            "plugin typist: answered pagerduty_severity with int, "
            "not with one of critical, error, warning, info",
            "plugin typist: answered pagerduty_enrich with dict, not with an Enrich",
        ]
        counts = FAILURES.counts()
        assert counts["typist", "pagerduty_severity"] == counts["typist", "pagerduty_enrich"] == 2

    def test_a_plugin_that_agrees_is_not_noted(self, fake: FakePagerDuty) -> None:
        same = plugin(severity=lambda: "info")
        other = plugin(severity=lambda: "info")

        _, delivery = body_of(fake, Alert("k"), a=same, b=other)

        assert delivery.notes == ("severity info was set by plugin a",)

    def test_the_first_dedup_key_is_prefixed_and_shortened(self, fake: FakePagerDuty) -> None:
        own = {"a": plugin(dedup_key=lambda: " "), "b": plugin(dedup_key=lambda: "é" * 300)}

        delivery = sent(host_of(fake, own=own, dedup_prefix="eu"), Alert("k"))

        key = bodies(fake)[0]["dedup_key"]
        assert (key[:5], len(key)) == ("eu/éé", 255)
        assert [repair.field for repair in delivery.repairs if repair.field == "key"] == ["key"]
        assert delivery.notes == (
            "plugin a answered pagerduty_dedup_key with a blank text, "
            "not with a text that is not blank",
            f"dedup key {'é' * 80}… was set by plugin b",
        )

    def test_a_key_of_lone_surrogates_can_be_sent(self, fake: FakePagerDuty) -> None:
        body, _ = body_of(fake, Alert("k"), a=plugin(dedup_key=lambda: "a\ud800b"))

        assert body["dedup_key"] == "a\ufffdb"

    @pytest.mark.parametrize(
        "answer", ["platform", ["platform"], ("platform", "platform"), ["platform", "", "lost"]]
    )
    def test_known_services_of_an_answer_are_used(self, fake: FakePagerDuty, answer: Any) -> None:
        body, delivery = body_of(fake, Alert("k"), a=plugin(services=lambda: answer))

        assert body["routing_key"] == KEYS["platform"]
        assert delivery.notes[-1] == "services platform was set by plugin a"
        assert delivery.notes[:-1] == (
            ("plugin a chose unknown services: 'lost'",) if "lost" in answer else ()
        )

    @pytest.mark.parametrize("answer", [[], (), "", [" "], Suppress(" "), Suppress(None)])
    def test_an_empty_answer_stops_no_page(self, fake: FakePagerDuty, answer: Any) -> None:
        body, delivery = body_of(fake, Alert("k"), a=plugin(services=lambda: answer))

        assert body["routing_key"] == KEYS["checkout"]
        assert delivery.notes == (
            ("plugin a suppressed the trigger without a reason; ignored",)
            if isinstance(answer, Suppress)
            else ()
        )

    def test_unknown_services_stop_no_page(self, fake: FakePagerDuty) -> None:
        names = [f"lost-{number}" for number in range(7)]

        body, delivery = body_of(fake, Alert("k"), a=plugin(services=lambda: names))

        assert body["routing_key"] == KEYS["checkout"]
        assert delivery.notes == (
            "plugin a chose unknown services: "
            "'lost-0', 'lost-1', 'lost-2', 'lost-3', 'lost-4' and 2 others",
        )

    def test_all_overrides_apply_to_each_service(self, fake: FakePagerDuty) -> None:
        own = {
            "a": plugin(
                services=lambda services: services, enrich=lambda: Enrich(details={"more": 1})
            )
        }

        report = host_of(fake, own=own).handle(Alert("k"))

        assert report.delivered
        assert {body["routing_key"] for body in bodies(fake)} == set(KEYS.values())
        assert [body["payload"]["custom_details"] for body in bodies(fake)] == [{"more": 1}] * 2

    def test_any_plugin_can_suppress(self, fake: FakePagerDuty) -> None:
        own = {
            "a": plugin(services=lambda: ["platform"]),
            "b": plugin(services=lambda: Suppress("maintenance")),
            "c": plugin(services=lambda: Suppress("later")),
        }

        report = host_of(fake, own=own).handle(Alert("k"))

        (suppression,) = report.plan.suppressions
        assert (suppression.plugin, suppression.reason) == ("b", "maintenance")
        assert (report.receipts, fake.requests) == ((), ())

    def test_a_suppression_reports_the_faults_of_other_plugins(self, fake: FakePagerDuty) -> None:
        """Covers plugins called before it and after it."""

        def broken() -> None:
            raise RuntimeError("a secret message")

        own = {
            "a": plugin(services=broken),
            "b": plugin(services=lambda: Suppress(" ")),
            "c": plugin(services=lambda: Suppress("quiet hours")),
            "d": plugin(services=broken),
        }

        report = host_of(fake, own=own).handle(Alert("k"))

        [suppression] = report.plan.suppressions
        assert (suppression.plugin, suppression.reason) == ("c", "quiet hours")
        assert [note.partition(" at ")[0] for note in suppression.notes] == [
            "plugin a: pagerduty_services failed",
            "plugin b suppressed the trigger without a reason; ignored",
            "plugin d: pagerduty_services failed",
        ]
        assert fake.requests == ()

    def test_a_rule_without_services_names_the_plugins_that_failed(
        self, fake: FakePagerDuty
    ) -> None:
        host = host_of(fake, own={"a": plugin(services=lambda: ["unknown"])})
        (use,) = host.rules[0].actions
        services = [{"name": "platform", "integration_key": KEYS["platform"]}]
        settings = {"base_url": fake.url, "services": services, "removed_services": ["checkout"]}
        acme = host.plugins.installation("pagerduty", "acme", settings)

        (suppression,) = use.action.plan(Alert("k"), use.settings, acme)

        assert suppression.reason.startswith("all its services were removed from account acme")
        assert suppression.notes == ("plugin a chose unknown services: 'unknown'",)

    def test_a_plugin_can_choose_services_for_a_rule_without_any(self, fake: FakePagerDuty) -> None:
        """The rule's only service was removed; an extension names another one."""
        own = {"a": plugin(services=lambda chosen: None if chosen else ["platform"])}
        host = host_of(fake, own=own)
        (use,) = host.rules[0].actions
        services = [{"name": "platform", "integration_key": KEYS["platform"]}]
        settings = {"base_url": fake.url, "services": services, "removed_services": ["checkout"]}
        acme = host.plugins.installation("pagerduty", "acme", settings)

        (delivery,) = use.action.plan(Alert("k"), use.settings, acme)

        assert delivery.ref.destination == "platform"


class TestAdditions:
    def test_additions_are_appended_in_order(self, fake: FakePagerDuty) -> None:
        alert = Alert(
            "k",
            source="s",
            severity="error",
            labels={"team": "data"},
            details={"owner": "me", "b.owner": 0},
            links=["https://own.example.com"],
        )
        added = Enrich(
            details={"owner": "you", "labels": 1, "_delivery": 2, "_truncated": 3, "tier": "gold"},
            links=[Link("https://b.example.com")],
            images=[Image("http://b.example.com/a.png", alt="Graph")],
        )

        body, delivery = body_of(
            fake,
            alert,
            b=plugin(enrich=lambda: added),
            c=plugin(enrich=lambda: Enrich(details={"tier": "silver"})),
            d=plugin(enrich=lambda: Enrich(details={})),
        )

        assert body["payload"]["custom_details"] == {
            "owner": "me",
            "b.owner": 0,
            "labels": {"team": "data"},
            "b.b.owner": "you",
            "b.labels": 1,
            "b._delivery": 2,
            "b._truncated": 3,
            "tier": "gold",
            "c.tier": "silver",
        }
        assert body["links"] == [
            {"href": "https://own.example.com"},
            {"href": "https://b.example.com"},
            {"href": "http://b.example.com/a.png", "text": "Graph"},
        ]
        assert [
            str(repair.field) for repair in delivery.repairs if repair not in alert.repairs
        ] == [
            "details.owner",
            "details.labels",
            "details._delivery",
            "details._truncated",
            "images",
            "details.tier",
        ]
        assert delivery.notes == (
            "5 details, 2 links came from plugin b",
            "1 detail came from plugin c",
        )

    def test_each_repair_names_its_plugin(self, fake: FakePagerDuty) -> None:
        def enrich() -> Enrich:
            return Enrich(
                details={"load": float("nan"), 7: b"bytes"},  # type: ignore[dict-item]
                links=[{"text": "nowhere"}, "https://a.example.com"],
                images=7,  # type: ignore[arg-type]
            )

        alert = Alert("k", source="s", severity="error")
        body, delivery = body_of(fake, alert, a=plugin(enrich=enrich))

        assert body["payload"]["custom_details"] == {"load": "NaN", "7": "bytes"}
        assert body["links"] == [{"href": "https://a.example.com"}]
        repairs = [repair for repair in delivery.repairs if repair not in alert.repairs]
        assert [repair.field for repair in repairs] == [
            "details.load",
            "details",
            "details.7",
            "links[0]",
            "links[1]",
            "images",
        ]
        assert all(repair.reason.endswith(" (from plugin a)") for repair in repairs)

    def test_additions_without_room_are_dropped(self, fake: FakePagerDuty) -> None:
        own = {f"text {number}": "x" * 51_000 for number in range(9)}
        alert = Alert("k", source="s", severity="error", details=own)
        large = Enrich(
            details={"small": 1, "large": "y" * 70_000, "second": 2},
            links=["https://a.example.com/" + "z" * 60_000, "https://a.example.com"],
        )

        body, delivery = body_of(fake, alert, a=plugin(enrich=lambda: large))

        assert body["payload"]["custom_details"] == {**own, "small": 1, "second": 2}
        assert body["links"] == [{"href": "https://a.example.com"}]
        repairs = [(repair.field, repair.reason) for repair in delivery.repairs[-2:]]
        assert repairs == [
            ("details", "no room for 1 detail from plugin a; left out"),
            ("links", "no room for 1 link from plugin a; left out"),
        ]
        assert delivery.notes == ("2 details, 1 link came from plugin a",)

    def test_unusable_addresses_of_a_plugin_go_to_the_details(self, fake: FakePagerDuty) -> None:
        odd = Enrich(links=["/runbook", "https://a.example.com"], details={"links": 1})

        body, delivery = body_of(
            fake, Alert("k", source="s", severity="error"), a=plugin(enrich=lambda: odd)
        )

        assert body["links"] == [{"href": "https://a.example.com"}]
        assert body["payload"]["custom_details"] == {"links": 1, "a.links": [{"href": "/runbook"}]}
        reasons = [each.reason for each in delivery.repairs if each.field == "links[0].href"]
        wrong = "is not an absolute http(s) URL with a host; moved to the details (from plugin a)"
        assert reasons == [f"'/runbook' {wrong}"]

    def test_a_plugin_without_added_content_is_not_named(self, fake: FakePagerDuty) -> None:
        large = Enrich(details={"large": "y" * 600_000})

        body, delivery = body_of(fake, Alert("k"), a=plugin(enrich=lambda: large))

        assert "custom_details" not in body["payload"]
        assert delivery.notes == ()
