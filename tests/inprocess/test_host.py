"""The host plans, follows up, sends and remembers, whatever plugins and rules do."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from recorder import (
    IDEMPOTENT,
    SILENT,
    UPDATING,
    Hanging,
    Page,
    Pager,
    Sent,
    acknowledged,
    firing,
    host_of,
    plugins_of,
    resolved,
    rule_of,
)
from waiting import wait_until

from hostspec import (
    Alert,
    Capabilities,
    Delivery,
    Fault,
    Identity,
    IncidentRef,
    Operation,
    Outcome,
    OutcomeKind,
    Receipt,
    Repair,
    Severity,
    Suppression,
    hookimpl,
)
from hostspec.inprocess import Host, Report
from hostspec.plugins import Rule, planning
from hostspec.plugins.limited_log import LOG_AGAIN

NOT_ARRIVED = (OutcomeKind.THROTTLED, OutcomeKind.REJECTED, OutcomeKind.MISCONFIGURED)
MAY_HAVE_ARRIVED = (OutcomeKind.UNREACHABLE, OutcomeKind.FAULTED, OutcomeKind.UNCERTAIN)


def together(_alert: Alert) -> str:
    """Share one incident between all alerts."""
    return "everything"


def handle_all(host: Host, *alerts: Alert) -> list[Report]:
    return [host.handle(alert) for alert in alerts]


def only(alerts: str) -> Callable[[Alert], bool]:
    return lambda alert: alert.key == alerts


class TestPlanning:
    def test_rules_choose_destinations(self) -> None:
        page = Page()
        plugins = plugins_of(page)
        host = Host(
            plugins,
            [
                rule_of(plugins, "Disks", only("disk"), teams=["storage", "data"]),
                rule_of(plugins, "Fans", only("fan"), teams=["hardware"]),
            ],
        )

        report = host.handle(firing("disk"))

        assert report.plan.rules == ("Disks",)
        assert sorted(sent.destination for sent in page.sent) == ["data", "storage"]
        assert report.delivered
        assert [receipt.delivery for receipt in report.receipts] == list(report.plan.deliveries)

    def test_suppression_is_planned_and_nothing_is_sent(self) -> None:
        page = Page()
        suppression = Suppression("pager.page", "acme", "maintenance", "night-watch", ("Pages",))
        page.behaviour["plan"] = lambda alert: [suppression, delivery_to("all")]

        report = host_of(page).handle(firing())

        assert report.plan.suppressions == (suppression,)
        assert page.operations == ["trigger"]
        assert report.plan.failures == ()

    def test_follow_ups_are_those_allowed_by_the_trigger(self) -> None:
        page = Page()
        opening = attrs.evolve(delivery_to("all"), follow_ups=(Operation.ACKNOWLEDGE,))
        page.behaviour["plan"] = lambda alert: [opening] if alert.status == "firing" else []
        host = host_of(page)

        first, _, last = handle_all(host, firing(), acknowledged(), resolved())

        assert page.operations == ["trigger", "acknowledge"]
        assert last.plan.released == first.plan.refs
        assert handle_all(host, resolved())[0].plan.refs == ()

    def test_destination_is_shown_by_its_name(self) -> None:
        host = host_of(Page())

        assert host.name_of(delivery_to("all").ref) == "acme/Everybody"
        assert host.name_of(delivery_to("gone").ref) == "acme/gone"

    def test_failing_destinations_cost_no_page(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(Pager, "destinations", lambda *_: 1 / 0)
        host = host_of(Page())

        assert host.name_of(delivery_to("all").ref) == "acme/all"
        assert (
            "the provider pager returned no destinations: it failed at tests/inprocess/"
            in caplog.text
        )

    def test_unmatched_alert_is_not_sent(self) -> None:
        page = Page()
        plugins = plugins_of(page)

        report = Host(plugins, [rule_of(plugins, matches=only("fan"))]).handle(firing("disk"))

        assert (report.plan.rules, report.receipts, page.sent) == ((), (), [])
        assert report.unmatched
        assert not report.delivered

    def test_rule_without_a_condition_matches_every_alert(self) -> None:
        page = Page()
        plugins = plugins_of(page)
        use = rule_of(plugins).actions[0]

        Host(plugins, [Rule("Everything", [use])]).handle(firing())

        assert page.operations == ["trigger"]

    def test_two_rules_for_one_service_send_once(self) -> None:
        """The delivery has both rules, and the worst severity."""
        page = Page()
        page.behaviour["plan"] = lambda alert: [
            delivery_to("all", Severity.WARNING, rules=("Mild",)),
            delivery_to("all", Severity.CRITICAL, rules=("Bad",)),
        ]
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, "One"), rule_of(plugins, "Two")])

        plan = host.plan(firing())

        assert plan.rules == ("One", "Two")
        (delivery,) = plan.deliveries
        assert delivery.severity is Severity.CRITICAL
        assert delivery.rules == ("Mild", "Bad")

    def test_planning_sends_nothing_and_remembers_nothing(self) -> None:
        page = Page()
        host = host_of(page)

        assert host.plan(firing()) == host.plan(firing())
        assert page.sent == []
        assert host.plan(resolved()).deliveries == ()

    @pytest.mark.parametrize("error", [ValueError("canary"), KeyError("canary")])
    def test_failing_rule_matches(self, error: Exception) -> None:
        def fail(_alert: Alert) -> bool:
            raise error

        page = Page()
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, "Broken", fail), rule_of(plugins, "Good")])

        report = host.handle(firing())

        assert page.operations == ["trigger"]
        (failure,) = report.plan.failures
        assert failure.path == "rule 'Broken'"
        reported = "could not decide, taken as a match: it failed at tests/inprocess/"
        assert failure.reason.startswith(reported)
        assert "canary" not in str(failure)
        assert not report.delivered

    def test_repairs_are_listed_once(self) -> None:
        page = Page()
        repaired = Repair("summary", "cut")
        page.behaviour["plan"] = lambda alert: [
            attrs.evolve(delivery_to(team), repairs=(*alert.repairs, repaired)) for team in "ab"
        ]

        plan = host_of(page).plan(firing(summary="Disk full", severity="odd"))

        assert [repair.field for repair in plan.repairs] == ["severity", "summary"]


def delivery_to(  # noqa: PLR0913 -- one argument for each thing that may be wrong
    team: str,
    severity: Severity = Severity.ERROR,
    *,
    key: str = "disk",
    action: str = "pager.page",
    account: str = "acme",
    operation: Operation = Operation.TRIGGER,
    rules: tuple[str, ...] = (),
) -> Delivery:
    ref = IncidentRef(action, account, team, key)
    return Delivery(operation, ref, Identity("", "disk"), severity, rules=rules)


def nonsense() -> list[Any]:
    """Return an object that resembles a delivery, but cannot be sent by this action."""
    good = delivery_to("all")
    return [
        None,
        "all",
        {"operation": "trigger"},
        attrs.evolve(good, operation="trigger"),
        attrs.evolve(good, severity="critical"),
        attrs.evolve(good, ref=("pager.page", "acme", "all", "disk")),
        attrs.evolve(good, alert="disk"),
        attrs.evolve(good, rules=None),
        attrs.evolve(good, repairs=[]),
        attrs.evolve(good, notes="note"),
        delivery_to("all", action="bell.ring"),
        delivery_to("all", account="other"),
        attrs.evolve(good, ref=attrs.evolve(good.ref, correlation_key=["disk"])),
        attrs.evolve(good, ref=attrs.evolve(good.ref, destination=None)),
    ]


class TestFailingPlugins:
    @pytest.mark.parametrize("error", [RuntimeError("canary"), SystemExit("canary")])
    def test_failing_plan_costs_no_other_page(
        self, error: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(alert: Alert) -> Any:
            yield delivery_to("early")
            raise error

        page = Page()
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, "Broken"), rule_of(plugins, "Good")])
        plans = iter([fail, lambda alert: [delivery_to("late")]])
        page.behaviour["plan"] = lambda alert, plans=plans: next(plans)(alert)

        report = host.handle(firing())

        assert sorted(sent.destination for sent in page.sent) == ["early", "late"]
        (failure,) = report.plan.failures
        assert failure.path == "rule 'Broken'"
        reported = "the action pager.page could not plan: it failed at tests/inprocess/"
        assert failure.reason.startswith(reported)
        assert "canary" not in str(failure)
        assert not report.delivered
        assert caplog.messages == [f"alert disk: {failure}"], "the report may go unread"

    @pytest.mark.parametrize("planned", [None, 7, object()])
    def test_invalid_plan_is_a_failure(self, planned: object) -> None:
        page = Page()
        page.behaviour["plan"] = lambda _: planned

        report = host_of(page).handle(firing())

        assert "could not plan: it failed at" in report.plan.failures[0].reason

    @pytest.mark.parametrize("planned", nonsense())
    def test_invalid_delivery_costs_no_other_page(self, planned: object) -> None:
        page = Page()
        page.behaviour["plan"] = lambda alert: [planned, delivery_to("good")]

        report = host_of(page).handle(firing())

        assert [sent.destination for sent in page.sent] == ["good"]
        assert report.plan.failures == (
            Fault(
                "rule 'Pages'",
                "the action pager.page planned something else than a delivery of its own",
            ),
        )
        assert not report.delivered

    @pytest.mark.parametrize("error", [RuntimeError("canary"), SystemExit("canary")])
    def test_failing_follow_up_costs_no_other_incident(self, error: BaseException) -> None:
        """Its own incident stays open for the next resolve."""
        page = Page()
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, teams=["a", "b"])])
        host.handle(firing())

        def fail(incident: Any, alert: Alert) -> Delivery:
            if incident.ref.destination == "a":
                raise error
            return delivery_to("b", operation=Operation.RESOLVE)

        page.behaviour["follow_up"] = fail
        report = host.handle(resolved())
        del page.behaviour["follow_up"]
        host.handle(resolved())

        (failure,) = report.plan.failures
        assert failure.path == "destination 'a'"
        reported = "the action pager.page could not follow up: it failed at "
        assert failure.reason.startswith(reported)
        assert "canary" not in str(failure)
        assert page.operations[2:] == ["resolve"] * 2
        assert [sent.destination for sent in page.sent[2:]] == ["b", "a"]

    @pytest.mark.parametrize("made", [*nonsense()[1:], delivery_to("other"), [delivery_to("all")]])
    def test_invalid_follow_up_is_not_sent(self, made: object) -> None:
        page = Page()
        host = host_of(page)
        host.handle(firing())
        page.behaviour["follow_up"] = lambda incident, alert: made

        report = host.handle(resolved())

        reason = (
            "the action pager.page followed up with something else than a delivery to the incident"
        )
        assert report.plan.failures == (Fault("destination 'all'", reason),)
        assert page.operations == ["trigger"]
        del page.behaviour["follow_up"]
        assert host.handle(resolved()).delivered
        assert page.operations == ["trigger", "resolve"]

    @pytest.mark.parametrize(
        ("capabilities", "kind"),
        [(IDEMPOTENT, OutcomeKind.FAULTED), (UPDATING, OutcomeKind.UNCERTAIN)],
    )
    @pytest.mark.parametrize("error", [RuntimeError("canary"), SystemExit("canary")])
    def test_failing_attempt_may_have_arrived(
        self, error: BaseException, capabilities: Capabilities, kind: OutcomeKind
    ) -> None:
        page = Page(capabilities)
        page.outcomes.append(error)
        host = host_of(page)

        report = host.handle(firing())

        (receipt,) = report.receipts
        assert receipt.outcome is not None
        assert receipt.outcome.kind is kind
        reported = "the action pager.page failed at recorder.py:"
        assert receipt.outcome.reason.startswith(reported)
        assert "canary" not in repr(receipt)
        host.handle(resolved())
        assert page.operations == ["trigger", "resolve"]

    @pytest.mark.parametrize("outcome", [None, "delivered", Outcome("delivered")])  # type: ignore[arg-type]
    def test_invalid_outcome_is_a_failure(self, outcome: object) -> None:
        page = Page()
        page.behaviour["send"] = lambda delivery: outcome

        report = host_of(page).handle(firing())

        assert report.receipts[0].outcome == Outcome(
            OutcomeKind.FAULTED, "the action pager.page returned no outcome"
        )
        assert not report.delivered

    @pytest.mark.parametrize("method", ["plan", "follow_up", "send"])
    def test_keyboard_interrupt_is_raised(self, method: str) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        page = Page()
        host = host_of(page)
        host.handle(firing())
        page.behaviour[method] = interrupt

        with pytest.raises(KeyboardInterrupt):
            host.handle(firing() if method == "plan" else resolved())

        page.behaviour.clear()
        assert host.handle(resolved()).delivered

    def test_failed_delivery_stops_no_other(self) -> None:
        page = Page()
        page.outcomes.extend([OutcomeKind.REJECTED, RuntimeError("no"), OutcomeKind.DELIVERED])
        plugins = plugins_of(page)

        report = Host(plugins, [rule_of(plugins, teams=["a", "b", "c"])]).handle(firing())

        kinds = [receipt.outcome.kind for receipt in report.receipts if receipt.outcome]
        assert kinds == [OutcomeKind.REJECTED, OutcomeKind.FAULTED, OutcomeKind.DELIVERED]
        assert not report.delivered


class Witness:
    """An observer."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Receipt]] = []

    @hookimpl
    def hostspec_delivered(self, receipt: Receipt) -> str:
        self.seen.append(("delivered", receipt))
        return "what an observer returns is ignored"

    @hookimpl
    def hostspec_undelivered(self, receipt: Receipt) -> None:
        self.seen.append(("undelivered", receipt))


class BrokenWitness:
    """An observer that raises."""

    @hookimpl
    def hostspec_delivered(self) -> None:
        raise SystemExit("canary")


class TestObservers:
    def test_observers_are_notified_of_each_delivery(self) -> None:
        page, witness = Page(), Witness()
        host = host_of(page, witness=witness)

        delivered = host.handle(firing("a")).receipts
        page.outcomes.append(Outcome(OutcomeKind.REJECTED, "too long"))
        undelivered = host.handle(firing("b")).receipts

        assert witness.seen == [("delivered", *delivered), ("undelivered", *undelivered)]
        assert delivered[0].id != undelivered[0].id
        assert undelivered[0].outcome == Outcome(OutcomeKind.REJECTED, "too long")

    def test_failing_observer_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        witness = Witness()
        host = host_of(Page(), broken=BrokenWitness(), witness=witness)

        with caplog.at_level(logging.DEBUG):
            report = host.handle(firing())

        assert report.delivered
        assert len(witness.seen) == 1
        debug, record = caplog.records
        assert debug.getMessage().startswith("SystemExit was raised")
        assert "canary" not in debug.getMessage()
        assert (record.name, record.levelname) == ("hostspec", "ERROR")
        reported = "plugin broken: hostspec_delivered failed at tests/inprocess/"
        assert record.getMessage().startswith(reported)
        assert "canary" not in record.getMessage()


class TestFollowingUp:
    def test_incident_is_opened_acknowledged_and_resolved(self) -> None:
        page = Page()
        page.outcomes.append(Outcome(OutcomeKind.DELIVERED, handle={"id": "P1"}))
        host = host_of(page)

        handle_all(host, firing(), acknowledged(), resolved())

        assert page.sent == [
            Sent(Operation.TRIGGER, "all", "disk", None),
            Sent(Operation.ACKNOWLEDGE, "all", "disk", {"id": "P1"}),
            Sent(Operation.RESOLVE, "all", "disk", {"id": "P1"}),
        ]

    def test_incident_reopens_after_its_resolve(self) -> None:
        """The new incident does not get the handle of the old one."""
        page = Page(UPDATING)
        page.outcomes.append(Outcome(OutcomeKind.DELIVERED, handle={"id": "P1"}))
        host = host_of(page)

        handle_all(host, firing(), resolved(), firing())

        assert page.operations == ["trigger", "resolve", "trigger"]
        assert page.sent[-1].handle is None

    def test_follow_up_goes_to_the_open_incident(self) -> None:
        """The resolve is sent although the alert has lost the label that routed it."""
        page = Page()
        plugins = plugins_of(page)
        rules = [
            rule_of(plugins, "Data", lambda alert: "team" in alert.labels, teams=["data"]),
            rule_of(plugins, "Rest", lambda alert: "team" not in alert.labels, teams=["rest"]),
        ]
        host = Host(plugins, rules[:1])

        host.handle(firing(labels={"team": "data"}))
        report = host.handle(resolved())

        assert report.plan.rules == ()
        assert [(sent.operation, sent.destination) for sent in page.sent] == [
            ("trigger", "data"),
            ("resolve", "data"),
        ]
        assert report.receipts[0].delivery.rules == ("Data",)

    def test_follow_up_without_an_open_incident_is_not_sent(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "hostspec")
        page = Page()

        reports = handle_all(host_of(page), acknowledged("a"), resolved("b"))

        assert page.sent == []
        assert [str(each) for each in reports] == ["no open incident, nothing is sent"] * 2
        assert caplog.messages == ["alert a: no open incident, nothing is sent"]

    def test_resolves_without_an_open_incident_are_logged_once_a_minute(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "hostspec")
        now = 0.0
        host = host_of(Page())
        host._without_incident._clock = lambda: now

        handle_all(host, *(resolved(f"task-{number}") for number in range(300)))
        handle_all(host, resolved(scope="other"))
        assert caplog.messages == [
            "alert task-0: no open incident, nothing is sent",
            "alert disk: no open incident, nothing is sent",
        ]

        caplog.clear()
        now += LOG_AGAIN
        handle_all(host, firing())
        assert caplog.messages == [
            "299 more like this were not logged: alert task-0: no open incident, nothing is sent"
        ]

    def test_scopes_keep_alerts_apart(self) -> None:
        page = Page(correlate=lambda alert: f"{alert.scope}/{alert.key}")
        host = host_of(page)

        handle_all(host, firing(scope="a"), firing(scope="b"), resolved(scope="a"))

        assert [sent.key for sent in page.sent] == ["a/disk", "b/disk", "a/disk"]

    @pytest.mark.parametrize("kind", NOT_ARRIVED)
    def test_lost_trigger_opens_nothing(self, kind: OutcomeKind) -> None:
        page = Page(UPDATING)
        page.outcomes.append(kind)
        host = host_of(page)

        handle_all(host, firing(), firing())

        assert page.operations == ["trigger", "trigger"]

    @pytest.mark.parametrize("kind", [OutcomeKind.DELIVERED, *MAY_HAVE_ARRIVED])
    def test_uncertain_trigger_is_resolved(self, kind: OutcomeKind) -> None:
        """The resolve is sent although no rule matches it."""
        page = Page()
        page.outcomes.append(kind)
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, matches=lambda alert: alert.status == "firing")])

        handle_all(host, firing(), resolved())

        assert page.operations == ["trigger", "resolve"]

    @pytest.mark.parametrize("kind", [OutcomeKind.UNREACHABLE, OutcomeKind.FAULTED])
    @pytest.mark.parametrize("capabilities", [UPDATING, SILENT])
    def test_lost_ticket_is_opened_again(
        self, kind: OutcomeKind, capabilities: Capabilities
    ) -> None:
        """Such actions return *uncertain* if they do not know; an update would notify no one."""
        page = Page(capabilities)
        page.outcomes.append(kind)
        host = host_of(page)

        handle_all(host, firing(), firing())

        assert page.operations == ["trigger", "trigger"]

    def test_uncertain_ticket_is_not_opened_again(self) -> None:
        page = Page(UPDATING)
        page.outcomes.append(OutcomeKind.UNCERTAIN)
        host = host_of(page)

        handle_all(host, firing(), firing())

        assert page.operations == ["trigger", "update"]

    @pytest.mark.parametrize("kind", [*NOT_ARRIVED, *MAY_HAVE_ARRIVED])
    def test_failed_resolve_is_sent_again(self, kind: OutcomeKind) -> None:
        page = Page()
        page.outcomes.extend([OutcomeKind.DELIVERED, kind])
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, matches=lambda alert: alert.status == "firing")])

        handle_all(host, firing(), resolved(), resolved(), resolved())

        assert page.operations == ["trigger", "resolve", "resolve"]

    def test_failed_acknowledge_changes_nothing(self) -> None:
        page = Page()
        page.outcomes.extend([OutcomeKind.DELIVERED, OutcomeKind.REJECTED])

        handle_all(host_of(page), firing(), acknowledged(), resolved())

        assert page.operations == ["trigger", "acknowledge", "resolve"]

    def test_pager_is_triggered_again(self) -> None:
        """The repeated trigger has the first handle."""
        page = Page()
        page.outcomes.extend(
            [
                Outcome(OutcomeKind.FAULTED),
                *(Outcome(OutcomeKind.DELIVERED, handle={"id": n}) for n in (1, 2)),
            ]
        )

        handle_all(host_of(page), firing(), firing(), firing(), resolved())

        assert page.operations == ["trigger", "trigger", "trigger", "resolve"]
        assert [sent.handle for sent in page.sent] == [None, None, {"id": 1}, {"id": 1}]

    def test_ticket_is_updated(self) -> None:
        page = Page(UPDATING)
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, "One"), rule_of(plugins, "Two")])

        handle_all(host, firing(), firing())

        assert page.operations == ["trigger", "update"]

    def test_email_is_sent_once_for_each_episode(self) -> None:
        """An e-mail has no follow-up; a problem that fires again is a new episode."""
        page = Page(SILENT)
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, matches=lambda alert: alert.status == "firing")])

        reports = handle_all(host, firing(), firing(), acknowledged(), resolved(), firing())

        assert page.operations == ["trigger", "trigger"]
        assert [len(report.receipts) for report in reports] == [1, 0, 0, 0, 1]

    def test_action_without_resolve_releases_the_incident(self) -> None:
        page = Page(UPDATING)
        host = host_of(page)
        host.handle(firing())
        page.behaviour["follow_up"] = lambda incident, alert: attrs.evolve(
            delivery_to("all"), operation=Operation.UPDATE
        )

        handle_all(host, resolved(), firing())

        assert page.operations == ["trigger", "update", "trigger"]


class TestSharedIncidents:
    @pytest.mark.parametrize("capabilities", [IDEMPOTENT, UPDATING])
    def test_last_holder_resolves(self, capabilities: Capabilities) -> None:
        page = Page(capabilities, correlate=together)
        host = host_of(page)

        reports = handle_all(
            host, firing("a"), firing("b"), firing("c"), resolved("b"), resolved("a"), resolved("c")
        )

        again = "trigger" if capabilities.idempotent else "update"
        assert page.operations == ["trigger", again, again, "resolve"]
        ref = IncidentRef("pager.page", "acme", "all", "everything")
        assert [report.plan.released for report in reports[3:]] == [(ref,), (ref,), ()]

    def test_silent_joiner_holds_the_incident(self) -> None:
        """The incident has no follow-up for it, but stays open until both have resolved."""
        page = Page(attrs.evolve(UPDATING, update=False), correlate=together)
        host = host_of(page)

        handle_all(host, firing("a"), firing("b"), resolved("a"))
        assert page.operations == ["trigger"]
        host.handle(resolved("b"))

        assert page.operations == ["trigger", "resolve"]

    def test_alert_that_holds_nothing_closes_nothing(self) -> None:
        page = Page(correlate=together)
        host = host_of(page)

        handle_all(host, firing("a"), acknowledged("b"), resolved("b"))

        assert page.operations == ["trigger"]

    def test_incident_names_the_rules_of_all_holders(self) -> None:
        page = Page(correlate=together)
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, "A", only("a")), rule_of(plugins, "B", only("b"))])

        *_, report = handle_all(host, firing("a"), firing("b"), resolved("a"), resolved("b"))

        assert report.receipts[0].delivery.rules == ("A", "B")

    def test_joining_a_closed_incident_changes_nothing(self) -> None:
        page = Page(UPDATING, correlate=together)
        host = host_of(page)
        host.handle(firing("a"))
        plan = host.plan(firing("b"))
        leaving = attrs.evolve(plan, joined=(), released=plan.joined, deliveries=())
        host.handle(resolved("a"))

        host.assume(plan)
        host.assume(leaving)

        assert host.plan(firing("c")).deliveries[0].operation is Operation.TRIGGER


class TestPreview:
    def test_preview_shows_the_message(self) -> None:
        host = host_of(Page())
        plan = host.plan(firing())

        preview = host.preview(plan.deliveries[0])

        assert (preview.target, preview.body) == ("all", {"text": "disk"})

    def test_preview_knows_the_handle(self) -> None:
        page = Page()
        page.outcomes.append(Outcome(OutcomeKind.DELIVERED, handle={"id": "P1"}))
        seen: list[object] = []
        original = page.preview
        page.preview = lambda *args: (seen.append(args[2].handle), original(*args))[1]  # type: ignore[method-assign]
        host = host_of(page)
        host.handle(firing())

        host.preview(host.plan(resolved()).deliveries[0])

        assert seen == [{"id": "P1"}]

    @pytest.mark.parametrize("capabilities", [IDEMPOTENT, UPDATING, SILENT])
    def test_assumed_plans_lead_to_the_same_plans_as_sending(
        self, capabilities: Capabilities
    ) -> None:
        story = [firing(), firing(), acknowledged(), resolved(), resolved(), firing("b")]
        sending, assuming = host_of(Page(capabilities)), host_of(page := Page(capabilities))

        for alert in story:
            plan = assuming.plan(alert)
            assuming.assume(plan)
            assert plan == sending.handle(alert).plan

        assert page.sent == []


class TestMakingOne:
    def test_two_installations_with_one_name_are_refused(self) -> None:
        plugins = plugins_of(Page())
        rule = rule_of(plugins)
        other = attrs.evolve(rule.actions[0].installation, provider="other")
        use = attrs.evolve(rule.actions[0], installation=other)

        with pytest.raises(ValueError, match="two installations are named 'acme'"):
            Host(plugins, [rule, Rule("Other", [use])])

    def test_installation_may_serve_several_rules(self) -> None:
        plugins = plugins_of(Page())

        assert len(Host(plugins, [rule_of(plugins, "A"), rule_of(plugins, "B")]).rules) == 2

    def test_unknown_action_is_refused(self) -> None:
        plugins, others = plugins_of(Page()), plugins_of(Page())

        with pytest.raises(ValueError, match=r"'pager\.page' of a rule"):
            Host(plugins, [rule_of(others)])


class TestThreads:
    def test_updates_of_one_alert_keep_their_order(self) -> None:
        """A resolve waits for the trigger before it, and the next trigger for the resolve."""
        page = Page()
        hanging = Hanging(page)
        host = host_of(page)
        story = [firing(), resolved()] * 10

        with ThreadPoolExecutor(len(story)) as pool:
            first = pool.submit(host.handle, story[0])
            assert hanging.inside.wait(60)
            waiting = []
            for number, alert in enumerate(story[1:], start=2):
                waiting.append(pool.submit(host.handle, alert))
                wait_until_queued(host, number, delivery_to("all").ref)
            assert not first.done()
            hanging.go_on.set()

        assert page.operations == ["trigger", "resolve"] * 10

    def test_slow_alert_does_not_block_others(self) -> None:
        page = Page()
        hanging = Hanging(page, lambda delivery: delivery.alert.key == "slow")
        host = host_of(page)

        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(host.handle, firing("slow"))
            assert hanging.inside.wait(60)
            reports = [host.handle(firing(str(number))) for number in range(200)]
            assert not slow.done()
            hanging.go_on.set()

        assert all(report.delivered for report in reports)

    @pytest.mark.parametrize("capabilities", [IDEMPOTENT, UPDATING])
    def test_alerts_of_one_incident_take_turns(self, capabilities: Capabilities) -> None:
        """There is one ticket and one resolve, after the last alert resolves, in any order."""
        page = Page(capabilities, correlate=together)
        host = host_of(page)
        keys = [str(number) for number in range(16)]

        for _ in range(20):
            page.sent.clear()
            with ThreadPoolExecutor(len(keys)) as pool:
                list(pool.map(lambda key: host.handle(firing(key)), keys))
                list(pool.map(lambda key: host.handle(resolved(key)), keys))

            again = "trigger" if capabilities.idempotent else "update"
            assert page.operations == ["trigger", *[again] * 15, "resolve"]

    def test_trigger_behind_a_resolve_reopens(self) -> None:
        """It was planned as an update while the ticket was still open."""
        page = Page(UPDATING, correlate=together)
        hanging = Hanging(page, lambda delivery: delivery.operation is Operation.RESOLVE)
        host = host_of(page)
        host.handle(firing("a"))

        with ThreadPoolExecutor(2) as pool:
            pool.submit(host.handle, resolved("a"))
            assert hanging.inside.wait(60)
            second = pool.submit(host.handle, firing("b"))
            wait_until_queued(host, 2, IncidentRef("pager.page", "acme", "all", "everything"))
            hanging.go_on.set()

        assert second.result().delivered
        assert page.operations == ["trigger", "resolve", "trigger"]

    def test_asyncio_program_uses_a_thread(self) -> None:
        page = Page()
        host = host_of(page)

        async def program() -> Report:
            return await asyncio.to_thread(host.handle, firing())

        assert asyncio.run(program()).delivered
        assert page.operations == ["trigger"]


def test_open_incidents_of_an_alert_are_returned() -> None:
    host = host_of(Page())
    assert host.held_by(firing("a").identity) == ()

    host.handle(firing("a"))

    assert [incident.ref.correlation_key for incident in host.held_by(firing("a").identity)] == [
        "a"
    ]
    assert host.held_by(firing("b").identity) == ()


def wait_until_queued(host: Host, number: int, ref: IncidentRef) -> None:
    """Wait until so many calls are queued for an incident."""
    wait_until(lambda: len(host._locks._queues.get(ref, ())) >= number)


def test_time_ahead_of_the_clock_counts_as_now() -> None:
    host = host_of(Page(IDEMPOTENT))
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=26)
    plan = host.plan(firing(started_at=later, updated_at=later))
    assert plan.alert.started_at is not None
    assert plan.alert.started_at <= dt.datetime.now(dt.UTC)
    assert plan.alert.updated_at is None
    assert [repair.field for repair in plan.alert.repairs][-2:] == ["started_at", "updated_at"]


def test_resolve_without_a_severity_needs_no_repair() -> None:
    host = host_of(Page(IDEMPOTENT))
    assert "severity" in [repair.field for repair in host.plan(firing()).repairs]
    assert host.plan(resolved()).repairs == ()


def test_ended_episode_is_not_reopened(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hostspec")
    began = dt.datetime(2026, 11, 18, 3, tzinfo=dt.UTC)
    page = Page()
    host = host_of(page)
    handle_all(host, firing(started_at=began), resolved(started_at=began))

    report = host.handle(firing(started_at=began))

    assert page.operations == ["trigger", "resolve"]
    assert str(report) == "a repeat of an episode that has ended: it started at the same time"
    assert f"alert disk: {report}" in caplog.messages
    report.raise_for_undelivered()
    handle_all(host, firing(started_at=began + dt.timedelta(seconds=1)), firing(started_at=began))
    assert page.operations == ["trigger", "resolve", "trigger", "trigger"]


def test_repeat_after_the_window_pages_again(monkeypatch: pytest.MonkeyPatch) -> None:
    began = dt.datetime(2026, 11, 18, 3, tzinfo=dt.UTC)
    page = Page()
    host = host_of(page)
    handle_all(host, firing(started_at=began), resolved(started_at=began))
    later = time.monotonic() + planning.REPEAT_WINDOW
    monkeypatch.setattr(time, "monotonic", lambda: later)

    handle_all(host, firing(started_at=began))

    assert page.operations == ["trigger", "resolve", "trigger"]


def test_preview_knows_ended_episodes() -> None:
    began = dt.datetime(2026, 11, 18, 3, tzinfo=dt.UTC)
    host = host_of(Page())
    for alert in (firing(started_at=began), resolved(started_at=began)):
        host.assume(host.plan(alert))

    repeat = host.plan(firing(started_at=began))
    host.assume(repeat)

    assert repeat.refs == ()
    assert host.plan(firing(started_at=began)) == repeat
