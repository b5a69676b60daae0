"""Time limits of the host: no caller waits without need, and none for ever."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import recorder
from recorder import (
    DELIVERED,
    IDEMPOTENT,
    UPDATING,
    Page,
    firing,
    host_of,
    plugins_of,
    resolved,
    rule_of,
)

from hostspec import (
    Alert,
    Capabilities,
    Delivery,
    Operation,
    Outcome,
    OutcomeKind,
    Receipt,
    hookimpl,
)
from hostspec.inprocess import Host, Report
from hostspec.plugins import Rule


class Hanging(recorder.Hanging):
    """A provider that hangs for some deliveries until it is released."""

    seen = 0

    def wait(self, futures: Sequence[Future[None]], timeout: float | None, _: str) -> Any:
        """Wait in place of `concurrent.futures.wait`: a short time is up when all else is done.

        Finished calls are over, and hanging ones have begun, however busy the machine is.
        """
        if timeout is None or timeout > 1:
            return concurrent.futures.wait(futures, timeout)
        before, self.seen = self.seen, self.entered

        def all_else_is_done() -> bool:
            self.seen = self.entered
            return sum(each.done() for each in futures) + self.seen - before >= len(futures)

        wait_until(all_else_is_done)
        return {each for each in futures if each.done()}, set()


class Observer:
    """Collects its receipts."""

    def __init__(self) -> None:
        self.reported: list[Receipt] = []
        self.any = threading.Event()

    @hookimpl(specname="hostspec_delivered")
    def delivered(self, receipt: Receipt) -> None:
        self.reported.append(receipt)
        self.any.set()

    @hookimpl(specname="hostspec_undelivered")
    def undelivered(self, receipt: Receipt) -> None:
        self.reported.append(receipt)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hanging], None]:
    """A host with a short limit gives up only when all other calls are over."""
    return lambda hanging: monkeypatch.setattr("hostspec.inprocess.host.wait", hanging.wait)


def words(report: Report) -> list[str]:
    return str(report).splitlines()


class TestDestinations:
    def test_hanging_destination_does_not_block_others(self) -> None:
        page = Page()
        hanging = Hanging(page, lambda delivery: delivery.ref.destination == "slow")
        observer = Observer()
        plugins = plugins_of(page, observer=observer)
        host = Host(plugins, [rule_of(plugins, teams=["slow", "quick"])])

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(host.handle, firing())
            assert observer.any.wait(60)
            assert [receipt.delivery.ref.destination for receipt in observer.reported] == ["quick"]
            hanging.go_on.set()
            report = first.result(60)

        assert report.delivered
        assert words(report) == ["trigger acme/slow: delivered", "trigger acme/quick: delivered"]

    def test_resolve_does_not_wait_for_another_destination(
        self, impatient: Callable[[Hanging], None]
    ) -> None:
        page = Page()
        hanging = Hanging(page, lambda delivery: delivery.ref.destination == "slow")
        impatient(hanging)
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, teams=["slow", "quick"])], timeout=0.05)
        first = host.handle(firing())

        second = host.handle(resolved())
        hanging.go_on.set()
        last = host.handle(resolved(), timeout=60)

        assert words(first) == [
            "trigger acme/slow: in flight: no answer within 0.05 s; the attempt goes on",
            "trigger acme/quick: delivered",
        ]
        assert sorted(words(second)) == [
            "destination 'slow': not sent within 0.05 s: earlier messages about the same incident"
            " or destination are still being sent",
            "resolve acme/quick: delivered",
        ]
        assert "resolve acme/slow: delivered" in words(last)

    def test_incidents_of_one_destination_do_not_wait(self) -> None:
        page = Page()
        hanging = Hanging(page)
        host = host_of(page)

        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(host.handle, firing(key)) for key in "abc"]
            wait_until(lambda: hanging.entered == 3)
            hanging.go_on.set()
            assert all(call.result(60).delivered for call in calls)


class TestTimeout:
    def test_late_attempt_continues_and_is_reported(
        self, impatient: Callable[[Hanging], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        page, observer = Page(), Observer()
        hanging = Hanging(page)
        impatient(hanging)
        host = host_of(page, observer=observer)

        report = host.handle(firing(), timeout=0.01)
        (receipt,) = report.receipts

        assert (receipt.outcome, receipt.attempts, report.delivered) == (None, 1, False)
        line = "trigger acme/all: in flight: no answer within 0.01 s; the attempt goes on"
        assert words(report) == [line]
        assert caplog.messages == [f"alert disk: {line}"]
        assert observer.reported == []
        hanging.go_on.set()
        assert observer.any.wait(60)
        assert [(reported.id, reported.outcome) for reported in observer.reported] == [
            (receipt.id, DELIVERED)
        ]
        assert host.handle(resolved(), timeout=60).delivered
        assert page.operations == ["trigger", "resolve"]

    def test_late_failure_is_logged(
        self, impatient: Callable[[Hanging], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        page = Page()
        hanging = Hanging(page, outcome=Outcome(OutcomeKind.REJECTED, "no such key"))
        impatient(hanging)
        host = host_of(page)
        host.handle(firing(), timeout=0.01)
        caplog.clear()

        hanging.go_on.set()
        host.handle(resolved(), timeout=60)

        assert caplog.messages[0] == "alert disk: trigger acme/all: rejected: no such key"

    def test_queued_attempt_is_cancelled(self, impatient: Callable[[Hanging], None]) -> None:
        page, observer = Page(), Observer()
        hanging = Hanging(page)
        impatient(hanging)
        host = host_of(page, observer=observer)
        host.timeout = 0.01
        host.handle(firing())

        report = host.handle(firing(severity="critical"))
        hanging.go_on.set()
        assert observer.any.wait(60)

        (receipt,) = report.receipts
        assert (receipt.outcome, receipt.attempts) == (None, 0)
        assert "not sent within 0.01 s" in receipt.reason
        assert receipt in observer.reported
        assert page.operations == ["trigger"]

    def test_resolve_that_cannot_be_planned_in_time_fails(
        self, impatient: Callable[[Hanging], None]
    ) -> None:
        """No rule matches it, and the incident that it would close is not open yet."""
        page = Page()
        hanging = Hanging(page)
        impatient(hanging)
        plugins = plugins_of(page)
        rule = rule_of(plugins, matches=lambda alert: alert.status == "firing")
        host = Host(plugins, [rule], timeout=0.01)
        host.handle(firing())

        early = host.handle(resolved())
        hanging.go_on.set()
        late = host.handle(resolved(), timeout=60)

        assert early.failed
        assert [str(fault) for fault in early.plan.failures] == [
            "destination 'all': not sent within 0.01 s: earlier messages about the same incident"
            " or destination are still being sent"
        ]
        assert words(late) == ["resolve acme/all: delivered"]

    def test_repeat_without_a_delivery_does_not_fail(
        self, impatient: Callable[[Hanging], None]
    ) -> None:
        page = Page()
        hanging = Hanging(page)
        impatient(hanging)
        plugins = plugins_of(page)
        matching = True
        host = Host(plugins, [rule_of(plugins, matches=lambda _: matching)], timeout=0.01)
        host.handle(firing())
        matching = False

        report = host.handle(firing())
        hanging.go_on.set()

        assert (report.unmatched, report.failed) == (True, False)

    def test_abandoned_attempts_are_bounded(
        self, impatient: Callable[[Hanging], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hostspec.inprocess.host.MOST_IN_FLIGHT", 2)
        page = Page()
        hanging = Hanging(page, lambda delivery: delivery.ref.destination == "slow")
        impatient(hanging)
        plugins = plugins_of(page)
        rules = [
            rule_of(plugins, team, lambda alert, team=team: alert.scope == team, teams=[team])
            for team in ("slow", "quick")
        ]
        host = Host(plugins, rules, timeout=0.01)

        reports = [host.handle(firing(key, scope="slow")) for key in "abc"]
        other = host.handle(firing("d", scope="quick"), timeout=60)
        hanging.go_on.set()

        assert [report.receipts[0].attempts for report in reports] == [1, 1, 0]
        assert other.delivered

    def test_alert_is_sent_without_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        page = Page()
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, teams=["a", "b"])])

        def none_left(_: threading.Thread) -> None:
            raise RuntimeError

        monkeypatch.setattr(threading.Thread, "start", none_left)

        assert host.handle(firing()).delivered

    def test_keyboard_interrupt_releases_every_ticket(self) -> None:
        page = Page()
        plugins = plugins_of(page)
        host = Host(plugins, [rule_of(plugins, teams=["a", "b"])], timeout=60)
        page.behaviour["send"] = lambda _: (_ for _ in ()).throw(KeyboardInterrupt)

        with pytest.raises(KeyboardInterrupt):
            host.handle(firing())
        del page.behaviour["send"]

        assert host.handle(firing()).delivered

    def test_keyboard_interrupt_cancels_queued_attempts(self) -> None:
        page = Page()
        hanging = Hanging(page, lambda delivery: delivery.alert.key == "a")
        page.correlate = lambda alert: "shared"
        plugins = plugins_of(page)
        rules = [rule_of(plugins, teams=["slow"]), rule_of(plugins, "B", only_b, teams=["quick"])]
        host = Host(plugins, rules)
        send = page.behaviour["send"]

        def interrupted(delivery: Delivery) -> Outcome:
            if delivery.ref.destination == "quick":
                raise KeyboardInterrupt
            return send(delivery)

        page.behaviour["send"] = interrupted
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(host.handle, firing("a"))
            wait_until(lambda: hanging.entered == 1)
            with pytest.raises(KeyboardInterrupt):
                host.handle(firing("b"))
            hanging.go_on.set()
            assert first.result(60).delivered
        wait_until(lambda: not host._locks._queues)

        assert sorted(sent.destination for sent in page.sent) == ["quick", "slow"]

    def test_cancelled_attempt_is_never_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        page = Page()
        hanging = Hanging(page)
        host = host_of(page)

        def give_up_at_once(futures: Sequence[Future[None]], *_: object) -> Any:
            return set(), futures

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(host.handle, firing())
            wait_until(lambda: hanging.entered == 1)
            monkeypatch.setattr("hostspec.inprocess.host.wait", give_up_at_once)
            (receipt,) = host.handle(firing(), timeout=60).receipts
            hanging.go_on.set()
            assert first.result(60).delivered
        wait_until(lambda: not host._locks._queues)

        assert receipt.attempts == 0
        assert receipt.reason == "its turn did not come in time"
        assert page.operations == ["trigger"]


def only_b(alert: Alert) -> bool:
    return alert.key == "b"


class TestChangesMeanwhile:
    @pytest.mark.parametrize("capabilities", [IDEMPOTENT, UPDATING])
    def test_deliveries_of_a_new_plan_are_sent(self, capabilities: Capabilities) -> None:
        """A trigger is queued behind its resolve, and the rule chooses another team meanwhile."""
        page = Page(capabilities)
        hanging = Hanging(page, lambda delivery: delivery.operation is Operation.RESOLVE)
        teams = ["early"]
        plugins = plugins_of(page)
        rules = [
            rule_of(plugins, team, lambda alert, team=team: team in teams, teams=[team])
            for team in ("early", "late")
        ]
        host = Host(plugins, rules)
        host.handle(firing())

        with ThreadPoolExecutor(2) as pool:
            pool.submit(host.handle, resolved())
            wait_until(lambda: hanging.entered == 1)
            second = pool.submit(host.handle, firing())
            wait_until(lambda: len(next(iter(host._locks._queues.values()), ())) == 2)
            teams[:] = ["early", "late"]
            hanging.go_on.set()
            report = second.result(60)

        assert words(report) == ["trigger acme/early: delivered", "trigger acme/late: delivered"]
        assert host._locks._queues == {}


@contextlib.contextmanager
def handler_of(act: Callable[[logging.LogRecord], object]) -> Iterator[None]:
    """Add a handler to the root logger."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            act(record)

    handler = Handler(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def handle_nested(page: Page) -> tuple[Report, Report]:
    """Handle an alert, and another one during its attempt; return both reports."""
    nested: list[Report] = []
    host = host_of(page)

    def send(delivery: Delivery) -> Outcome:
        if delivery.alert.key == "a":
            nested.append(host.handle(firing("b")))
        return DELIVERED

    page.behaviour["send"] = send
    return host.handle(firing("a")), nested[0]


class TestReentry:
    """Calls of the host from within a call return, and nothing hangs."""

    def test_log_handler_may_send_an_alert(self) -> None:
        page = Page()
        plugins = plugins_of(page)
        rule = rule_of(plugins)
        broken = Rule("Broken", rule.actions, lambda _: bool(1 / 0))
        host = Host(plugins, [broken])
        nested: list[Report] = []

        with handler_of(lambda record: nested.append(host.handle(firing("errors")))):
            report = host.handle(firing("errors"))

        assert [sent.key for sent in page.sent] == ["errors", "errors"]
        assert len(nested) == 1
        assert "taken as a match" in str(report)

    @pytest.mark.parametrize("where", ["plan", "send"])
    def test_log_handler_within_the_host_cannot_wait(self, where: str) -> None:
        page = Page()
        nested: list[Report] = []

        def log(_: object) -> Any:
            logging.getLogger("elsewhere").warning("slow")
            return [] if where == "plan" else DELIVERED

        page.behaviour[where] = log
        host = host_of(page)

        with handler_of(lambda record: nested.append(host.handle(firing()))):
            host.handle(firing())

        assert "the caller itself is handling" in str(nested[0])
        assert nested[0].failed
        with pytest.raises(Exception, match="call it afterwards, or on another thread"):
            nested[0].raise_for_undelivered()

    def test_nested_alert_in_the_same_incident_cannot_wait(self) -> None:
        report, nested = handle_nested(Page(correlate=lambda _: "everything"))

        assert report.delivered
        assert "the caller itself is handling" in nested.receipts[0].reason

    def test_nested_alert_in_another_incident_is_handled(self) -> None:
        report, nested = handle_nested(Page())

        assert report.delivered
        assert nested.delivered

    def test_observer_may_send_the_same_alert(self) -> None:
        page = Page()
        page.outcomes.append(OutcomeKind.REJECTED)
        reports: list[Report] = []

        class Again:
            @hookimpl
            def hostspec_undelivered(self, receipt: Receipt) -> None:
                reports.append(host.handle(firing()))

        host = host_of(page, again=Again())

        assert host.handle(firing()).failed
        assert reports[0].delivered


def wait_until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(60_000):
        if true():
            return
        pause.wait(0.001)
    pytest.fail("it never came true")
