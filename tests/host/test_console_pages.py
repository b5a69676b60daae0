"""The pages of the console: overview, incidents, deliveries, alerts and activity."""

from __future__ import annotations

import json
import re
import threading
from typing import Any
from urllib.parse import urlencode

import pytest
from browsing import Browser, Page
from serving import Start, post
from waiting import wait_until
from workspace import CHECKOUT, Workspace

from alerthost.cli.server import Server
from alerthost.console import alerts, deliveries, overview
from alerthost.outbox.admin import Admin
from alerthost.store.errors import StoreError
from hostspec import Outcome, OutcomeKind
from pagerduty_plugin.testing import refusing
from pagerduty_plugin.testing.misbehaviour import failing
from pagerduty_plugin.trigger import Trigger

ALERT = {
    "key": "db-1/disk",
    "summary": "Disk full on db-1",
    "severity": "critical",
    "labels": {"team": "data"},
}
ONE_SERVICE = ('["checkout", "platform"]', '["checkout"]')
NO_RESOLVE = ('severity = "default"', 'severity = "default"\nevent_actions = ["trigger"]')
HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(1)>"'&{{ 7*7 }}</pre></td>"""


def browse(running: Server) -> Browser:
    return Browser(running.url)


def send(running: Server, *others: dict[str, Any], **fields: Any) -> None:
    """Post an alert, and wait until it is planned and no delivery of it is in flight or due."""
    assert post(running.url, [{**ALERT, **fields}, *others]).status == 202
    engine = running._app.backend.engine
    assert engine.wait_idle(30)


def until(browser: Browser, path: str, text: str) -> Page:
    """Open a page until it has a text."""
    wait_until(lambda: text in browser.open(path).text, f"{text} on {path}")
    return browser.page


class TestOverview:
    def test_says_what_to_do_where_nothing_is_there_yet(
        self, workspace: Workspace, start: Start
    ) -> None:
        workspace.configure_bare('\n[http]\nlisten = "127.0.0.1:0"\n')
        running = Server(workspace.folder / "alerthost.toml", works=False)
        try:
            page = browse(running).open("/console/")
        finally:
            running.stop()
        assert "No rule is in force, so no alert pages anyone." in page.text
        assert "Connect one , or declare [[installations]]" in page.text
        assert "No incident is open" in page.text

    def test_shows_healthy_services_with_their_messages(self, start: Start) -> None:
        running = start()
        send(running)
        page = browse(running).open("/console/")
        assert "All well: nothing is blocked, given up or orphaned." in page.text
        cards = [" ".join(each.get_text(" ").split()) for each in page.html.select("article")]
        assert cards == [
            f"acme/{name} healthy Queued 0 Oldest \N{EN DASH} Sent in the last hour 1 "
            "At most 1 of 120 allowed in a minute"
            for name in ("checkout", "platform")
        ]
        assert len(page.html.select("article rect")) == 2
        assert sorted(row[1:4] for row in page.rows()) == [
            ["Disk full on db-1 db-1/disk", "triggered", f"acme/{name}"]
            for name in ("checkout", "platform")
        ]

    def test_shows_a_blocked_service_first_with_the_words_of_its_provider(
        self, start: Start, workspace: Workspace
    ) -> None:
        running = start(ONE_SERVICE)
        workspace.fake.misbehave(refusing(), times=1000)
        send(running)
        browser = browse(running)
        page = until(browser, "/console/", "acme/checkout is blocked, with 1 delivery queued")
        assert "400: Invalid routing key" in page.text
        assert page.html.select_one("article .pill.blocked")
        (problem,) = page.html.select(".problem")
        assert "blocked 1" in browser.open(str(problem["href"])).text.casefold()
        assert browser.page.rows()[0][1].startswith("db-1/disk 400: Invalid routing key next")

    def test_shows_a_failing_service(self, start: Start, workspace: Workspace) -> None:
        running = start(ONE_SERVICE)
        workspace.fake.misbehave(failing(), times=1000)
        send(running)
        page = until(browse(running), "/console/", "acme/checkout failing")
        assert "500" in page.text

    def test_shows_a_throttled_service_and_its_limit(self, start: Start) -> None:
        running = start(ONE_SERVICE, ('base_url = "', 'rate_limit = 2\nbase_url = "'))
        send(running, *({**ALERT, "key": f"web-{number}"} for number in range(5)))
        page = until(browse(running), "/console/", "acme/checkout throttled")
        assert "Its rate limit is used up; it goes on in" in page.text
        assert page.html.select_one("article line.limit")

    def test_shows_that_no_process_delivers_and_the_service_is_slow(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(overview, "SLOW", -1.0)
        running = start(ONE_SERVICE, works=False)
        post(running.url, ALERT)
        engine = running._app.backend.engine
        engine._dispatcher.plan_ahead()
        page = browse(running).open("/console/")
        assert "No process delivers the queued alerts" in page.text
        assert page.html.select_one("article .pill.slow")

    def test_shows_what_was_given_up_could_not_be_planned_or_is_orphaned(
        self, start: Start, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running = start(ONE_SERVICE)
        send(running)
        monkeypatch.setenv("PD_CHECKOUT", "c" * 32)
        workspace.fake.add_service("other", "c" * 32)
        send(running, status="resolved")
        page = until(browse(running), "/console/", "Incidents are orphaned")
        titles = [each.get_text() for each in page.html.select(".problem strong")]
        assert titles == ["Incidents are orphaned", "1 delivery orphaned"]
        browser = browse(running)
        for each in page.html.select(".problem"):
            assert browser.open(str(each["href"])).rows()
        assert browser.open("/console/incidents/1").text.count("orphaned") >= 2

    def test_shows_alerts_that_could_not_be_planned(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def plan(*_: object, **_options: object) -> None:
            raise RuntimeError

        monkeypatch.setattr(Trigger, "plan", plan)
        running = start()
        send(running)
        browser = browse(running)
        (problem,) = browser.open("/console/").html.select(".problem")
        assert "Alerts could not be planned (failed)" in problem.get_text()
        assert "the action pagerduty.trigger could not plan: it failed" in problem.get_text()
        browser.open(str(problem["href"]))
        assert browser.page.rows()[0][3] == "failed Discard"
        page = browser.send("Discard")
        assert "It is discarded." in page.text
        assert page.rows()[0][3] == "discarded"
        assert browser.open("/console/activity").rows()[0][2:4] == ["failed", "discarded"]

    def test_shows_that_the_store_fails(self, start: Start) -> None:
        running = start()
        running._app.backend.engine._health.note_failure(StoreError("the disk is full"))
        page = browse(running).open("/console/")
        assert page.html.select_one(".problem")
        assert "The store fails" in page.text

    def test_links_to_all_open_incidents(self, start: Start) -> None:
        running = start()
        send(running, *({**ALERT, "key": f"web-{number}"} for number in range(6)))
        browser = browse(running)
        link = browser.open("/console/").html.find("a", string="All 14")
        assert link
        assert len(browser.page.rows()) == overview.OPEN_SHOWN
        assert len(browser.open(str(link["href"])).rows()) == 14

    def test_forgets_services_that_are_gone_and_empty(
        self, start: Start, workspace: Workspace
    ) -> None:
        running = start(works=False)
        post(running.url, ALERT)
        running._app.backend.engine._dispatcher.plan_ahead()
        workspace.configure_http(('"platform"]', '"checkout"]'), ("  {{ name".format(), "  { name"))
        text = (workspace.folder / "alerthost.toml").read_text(encoding="utf-8")
        kept = [line for line in text.splitlines() if "pd_platform" not in line]
        (workspace.folder / "alerthost.toml").write_text("\n".join(kept), encoding="utf-8")
        assert running.reload()
        page = browse(running).open("/console/")
        names = [each.get_text() for each in page.html.select("article h3")]
        assert len(names) == 2
        assert names[0] == "acme/checkout"


class TestIncidents:
    def test_are_filtered_by_state_severity_service_and_text(self, start: Start) -> None:
        running = start()
        send(
            running,
            {**ALERT, "key": "api/5xx", "summary": "Errors of 100 %", "severity": "error"},
        )
        send(running, key="api/5xx", status="resolved")
        browser = browse(running)
        wait_until(lambda: len(browser.open("/console/incidents?state=ended").rows()) == 2)
        assert {row[2] for row in browser.page.rows()} == {"resolved"}
        for query, count in (
            ("", 2),
            ("severity=critical", 2),
            ("severity=error", 0),
            ("severity=nonsense", 2),
            ("state=ended&severity=error", 2),
            ("state=nonsense", 2),
            ("state=orphaned", 0),
            ("service=nonsense", 2),
            ("service=gone/x", 0),
            ("text=DISK+full", 2),
            ("text=DB-1/", 2),
            ("text=%25", 0),
            ("state=ended&text=%25", 2),
        ):
            assert len(browser.open(f"/console/incidents?{query}").rows()) == count, query
        value = browser.page.html.select("select[name=service] option")[1]["value"]
        assert len(browser.open(f"/console/incidents?service={value}").rows()) == 1

    @pytest.mark.parametrize(
        ("query", "advice"),
        [
            ("", "A firing alert that matches a rule opens one."),
            ("state=orphaned", "when the key that opened it is not configured any more"),
            ("state=ended", "Ended incidents are kept for store.keep_days"),
            ("text=x", "Clear the filter to see all that are open."),
        ],
    )
    def test_empty_list_says_what_to_do(self, start: Start, query: str, advice: str) -> None:
        assert advice in browse(start()).open(f"/console/incidents?{query}").text

    def test_are_listed_page_by_page(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("alerthost.console.incidents.MOST", 4)
        running = start(ONE_SERVICE)
        send(running, *({**ALERT, "key": f"web-{number}"} for number in range(9)))
        browser = browse(running)
        page = browser.open("/console/incidents?severity=critical")
        seen = [row[1] for row in page.rows()]
        while older := browser.page.html.find("a", string="Older"):
            assert len(browser.page.rows()) == 4
            seen += [row[1] for row in browser.open(str(older["href"])).rows()]
        assert len(seen) == len(set(seen)) == 10
        assert browser.open("/console/incidents?after=999").rows()
        assert browser.open(f"/console/incidents?after={2**70}").rows()

    def test_show_their_timeline_with_the_exact_message(
        self, start: Start, workspace: Workspace
    ) -> None:
        running = start(ONE_SERVICE)
        send(running)
        send(running, status="resolved")
        browser = browse(running)
        page = until(browser, "/console/incidents/1", "resolved")
        items = [each.get_text() for each in page.html.select(".timeline strong")]
        assert items == ["Resolve", "Trigger"]
        bodies = [json.loads(each.get_text()) for each in page.html.select(".timeline pre")]
        sent = workspace.bodies()
        for shown, arrived in zip(bodies, reversed(sent), strict=True):
            assert shown.pop("routing_key") != arrived.pop("routing_key")
            assert shown == arrived
        assert f"POST {workspace.fake.url}/v2/enqueue" in page.text
        assert not page.buttons()
        assert CHECKOUT not in page.text

    def test_timeline_is_shown_page_by_page(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("alerthost.console.incidents._TIMELINE", 1)
        running = start(ONE_SERVICE)
        send(running)
        send(running, status="resolved")
        browser = browse(running)
        older = until(browser, "/console/incidents/1", "Resolve").html.find("a", string="Older")
        assert older
        assert browser.open(str(older["href"])).html.select(".timeline strong")[0].get_text() == (
            "Trigger"
        )
        assert (
            "No delivery of it is kept any more."
            in browser.open("/console/incidents/1?after=1").text
        )

    def test_is_acknowledged_and_resolved_by_hand(self, start: Start, workspace: Workspace) -> None:
        running = start(ONE_SERVICE)
        send(running)
        browser = browse(running)
        assert browser.open("/console/incidents/1").buttons() == ["Acknowledge", "Resolve"]
        assert "The acknowledge is queued." in browser.send("Acknowledge").text
        workspace.fake.wait_for(lambda fake: fake.incidents[0].state == "acknowledged", 30)
        until(browser, "/console/incidents/1", "acknowledged")
        assert browser.page.buttons() == ["Resolve"]
        assert "The resolve is queued." in browser.send("Resolve").text
        workspace.fake.wait_for(lambda fake: fake.incidents[0].state == "resolved", 30)
        until(browser, "/console/incidents/1", "State resolved")
        entries = [row[1:] for row in browser.open("/console/activity").rows()]
        assert entries == [
            ["Resolved incident 1", "acknowledged", "resolve queued", "operator, 127.0.0.1"],
            ["Acknowledged incident 1", "triggered", "acknowledge queued", "operator, 127.0.0.1"],
        ]

    def test_without_a_resolve_at_its_provider_is_ended_here(self, start: Start) -> None:
        running = start(ONE_SERVICE, NO_RESOLVE)
        send(running)
        browser = browse(running)
        assert browser.open("/console/incidents/1").buttons() == ["End here"]
        _, fields = browser.page.form("End here")
        page = browser.post("/console/incidents/1/acknowledge", fields)
        assert (page.status, page.title) == (409, "That was not possible")
        assert "The incident 1 cannot be acknowledged." in page.text
        browser.open("/console/incidents/1")
        page = browser.send("End here")
        assert "its provider has no resolve" in page.text
        assert "State ended here" in page.text
        assert browser.post("/console/incidents/1/resolve", fields).status == 409

    def test_of_a_removed_account_cannot_be_changed_and_shows_the_plan(
        self, start: Start, workspace: Workspace
    ) -> None:
        running = start(ONE_SERVICE)
        send(running)
        workspace.configure_http(
            ONE_SERVICE,
            ('name = "acme"', 'name = "new"'),
            ('installation = "acme"', 'installation = "new"'),
        )
        text = (workspace.folder / "alerthost.toml").read_text(encoding="utf-8")
        assert "acme" not in text
        assert running.reload()
        page = browse(running).open("/console/incidents/1")
        assert "It cannot be changed from here: the account acme is missing." in page.text
        assert "the account acme is not configured any more. This is the plan of it." in page.text
        assert "State cut off" in page.text
        assert not page.buttons()


class TestDeliveries:
    def test_are_replayed_once_the_cause_is_gone(self, start: Start, workspace: Workspace) -> None:
        running = start(ONE_SERVICE)
        workspace.fake.misbehave(failing(status=413), times=1)
        send(running)
        browser = browse(running)
        page = until(browser, "/console/deliveries?state=rejected", "Rejected 1")
        assert page.rows()[0][2:4] == ["rejected", "acme/checkout"]
        assert "413" in browser.open("/console/deliveries/1").text
        assert browser.page.buttons() == ["Replay", "Discard"]
        assert "It is planned again" in browser.send("Replay").text
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 1, 30)
        assert not browser.open("/console/deliveries/1").buttons()
        assert browser.open("/console/activity").rows()[0][1] == "Replayed delivery 1"
        _, fields = browser.open("/console/alerts/try").form("Explain")
        assert browser.post("/console/deliveries/1/replay", fields).status == 409

    def test_whose_problem_is_over_are_not_sent_again(
        self, start: Start, workspace: Workspace
    ) -> None:
        running = start(ONE_SERVICE)
        send(running)
        workspace.fake.misbehave(failing(status=413), times=1)
        send(running, status="acknowledged")
        send(running, status="resolved")
        browser = browse(running)
        until(browser, "/console/deliveries?state=rejected", "Rejected 1")
        number = browser.page.rows()[0][0].split()[0]
        browser.open(f"/console/deliveries/{number}")
        assert "Nothing is sent again: its problem is over." in browser.send("Replay").text

    def test_blocked_one_is_discarded(self, start: Start, workspace: Workspace) -> None:
        running = start(ONE_SERVICE)
        workspace.fake.misbehave(refusing(), times=1000)
        send(running)
        browser = browse(running)
        until(browser, "/console/deliveries/1", "State blocked")
        assert browser.page.buttons() == ["Discard"]
        assert "It is discarded, and never sent." in browser.send("Discard").text
        assert browser.open("/console/deliveries?state=discarded").rows()[0][2] == "discarded"
        assert browser.open("/console/activity").rows()[0][1:4] == [
            "Discarded delivery 1",
            "queued",
            "discarded",
        ]

    def test_all_that_match_are_replayed_after_their_number_was_named(
        self, start: Start, workspace: Workspace
    ) -> None:
        running = start(ONE_SERVICE)
        workspace.fake.misbehave(failing(status=413), times=3)
        send(running, *({**ALERT, "key": f"web-{number}"} for number in range(2)))
        browser = browse(running)
        until(browser, "/console/deliveries?state=rejected&service=acme/x", "Rejected 3")
        assert not browser.page.rows()
        service = browser.page.html.select("select[name=service] option")[1]["value"]
        browser.open(f"/console/deliveries?state=rejected&service={service}")
        link = browser.page.html.find("a", string="Replay all …")
        assert link
        page = browser.open(str(link["href"]))
        assert page.title == "Replay 3 rejected deliveries of acme/checkout?"
        page = browser.send("Replay 3")
        assert page.title == "Replaying 3 rejected deliveries of acme/checkout"
        page = until(browser, page.path, "Finished: 3 done.")
        assert "3 of 3" in page.text
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 3, 30)
        entries = [row[1] for row in browser.open("/console/activity").rows()]
        assert [each.split(" batch ")[0] for each in entries] == [
            "Ended to replay",
            "Began to replay",
        ]
        assert entries[1].endswith("3 rejected deliveries of acme/checkout")
        assert "No delivery matches any more." in browser.open(str(link["href"])).text

    def test_all_that_match_are_discarded_but_for_those_that_are_refused(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deliveries, "_AT_ONCE", 1)
        running = start(ONE_SERVICE, works=False)
        post(running.url, [ALERT, {**ALERT, "key": "web"}])
        engine = running._app.backend.engine
        engine._dispatcher.plan_ahead()
        assert engine._dispatcher.next("gone", workers=1)
        browser = browse(running)
        browser.open("/console/deliveries/all?operation=discard&state=queued")
        assert browser.page.title == "Discard 2 queued deliveries?"
        browser.send("Discard 2")
        page = until(browser, browser.page.path, "Finished:")
        assert "1 done, 1 refused: the delivery 1 is being sent now; try again." in page.text
        assert "1 of 2" in page.text

    def test_progress_is_shown_while_it_goes_on(
        self, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        running = start(ONE_SERVICE, works=False)
        post(running.url, ALERT)
        running._app.backend.engine._dispatcher.plan_ahead()
        goes_on = threading.Event()

        def discard(*_: object) -> None:
            goes_on.wait(30)
            raise StoreError("gone")

        monkeypatch.setattr(Admin, "discard_delivery", discard)
        browser = browse(running)
        browser.open("/console/deliveries/all?operation=discard&state=queued")
        page = browser.send("Discard 1")
        assert "0 of 1" in page.text
        assert "This goes on without this page." in page.text
        goes_on.set()
        wait_until(lambda: "stopped after 0: the store fails: gone" in caplog.text)

    @pytest.mark.parametrize(
        "query", ["", "operation=replay&state=delivered", "operation=resolve&state=dead"]
    )
    def test_other_changes_of_many_are_rejected(self, start: Start, query: str) -> None:
        page = browse(start()).open(f"/console/deliveries/all?{query}")
        assert page.status == 400
        assert "Choose a state, and replay or discard." in page.text

    def test_uncertain_ones_may_arrive_twice(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unanswered = Outcome(OutcomeKind.UNCERTAIN, "no answer")
        monkeypatch.setattr(Trigger, "send", lambda *_: unanswered)
        running = start(ONE_SERVICE)
        browser = browse(running)
        assert "No delivery matches" in browser.open("/console/deliveries?state=uncertain").text
        send(running)
        until(browser, "/console/deliveries?state=uncertain", "Uncertain 1")
        page = browser.open("/console/deliveries/1")
        assert "It may have arrived. Sent again, it may arrive twice." in page.text
        page = browser.open("/console/deliveries/all?operation=replay&state=uncertain")
        assert "Sent again, they may arrive twice." in page.text

    def test_are_listed_page_by_page(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deliveries, "MOST", 2)
        running = start()
        send(running, *({**ALERT, "key": f"web-{number}"} for number in range(4)))
        browser = browse(running)
        for query, count in (("", 10), ("state=delivered", 10), ("state=queued", 0)):
            page = browser.open(f"/console/deliveries?{query}")
            seen = [row[0] for row in page.rows()]
            while older := browser.page.html.find("a", string="Older"):
                seen += [row[0] for row in browser.open(str(older["href"])).rows()]
            assert len(seen) == len(set(seen)) == count


class TestAlerts:
    def test_list_says_what_became_of_each(self, start: Start) -> None:
        running = start(ONE_SERVICE)
        send(
            running,
            {**ALERT, "key": "cron", "labels": {}},
            {**ALERT, "key": "x", "status": "resolved"},
        )
        browser = browse(running)
        rows = {row[1]: row[2:5] for row in browser.open("/console/alerts").rows()}
        assert rows == {
            "Disk full on db-1 db-1/disk": ["firing", "planned", "acme/checkout"],
            "Disk full on db-1 cron no rule matches, nothing is sent": ["firing", "unmatched", ""],
            "Disk full on db-1 x no open incident, and the alert is not known here": [
                "resolved",
                "no incident",
                "",
            ],
        }
        for outcome in ("unmatched", "no+incident"):
            assert len(browser.open(f"/console/alerts?outcome={outcome}").rows()) == 1
        page = browser.open("/console/alerts?outcome=suppressed")
        assert "No alert has the result suppressed" in page.text

    def test_pending_and_replayed_ones_are_shown(self, start: Start) -> None:
        running = start(works=False)
        assert "No alert was accepted yet" in browse(running).open("/console/alerts").text
        post(running.url, ALERT)
        assert browse(running).open("/console/alerts").rows()[0][3] == "pending"

    def test_are_listed_page_by_page(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(alerts, "MOST", 2)
        running = start(works=False)
        post(running.url, [{**ALERT, "key": f"web-{number}"} for number in range(5)])
        browser = browse(running)
        seen = [row[1] for row in browser.open("/console/alerts").rows()]
        while older := browser.page.html.find("a", string="Older"):
            seen += [row[1] for row in browser.open(str(older["href"])).rows()]
        assert len(seen) == len(set(seen)) == 5

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            (json.dumps(ALERT), ["Pages", "Trigger at acme/checkout", '"dedup_key": "db-1/disk"']),
            (
                json.dumps({**ALERT, "severity": "info"}),
                ["does not match Pages", "(the value is “info”)", "Nothing would be sent"],
            ),
            (
                json.dumps(
                    {
                        "alerts": [
                            {
                                "status": "firing",
                                "fingerprint": "f",
                                "labels": {
                                    "alertname": "Down",
                                    "team": "data",
                                    "severity": "error",
                                },
                            }
                        ]
                    }
                ),
                ["alerts[0]: Down", "Trigger at acme/checkout"],
            ),
            (f"{json.dumps(ALERT)}\n{json.dumps({**ALERT, 'status': 'resolved'})}", ["Resolve at"]),
            (json.dumps({**ALERT, "severity": "bad"}), ["Repaired severity"]),
        ],
    )
    def test_tried_one_shows_what_would_be_sent(
        self, start: Start, workspace: Workspace, text: str, shown: list[str]
    ) -> None:
        browser = browse(start())
        browser.open("/console/alerts/try")
        page = browser.send("Explain", alert=text)
        assert page.status == 200
        for each in shown:
            assert each in page.text
        assert CHECKOUT not in page.text
        assert not browser.open("/console/alerts").rows()
        assert not workspace.fake.requests

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("{", "not JSON: Expecting property name enclosed in double quotes at character 2"),
            (" ", "the body has no alert"),
            ('{"key": "a", "status": "on"}', 'status: "on" is unknown'),
            ('{"alerts": 7}', "not a list"),
            (json.dumps({"alerts": [{}] * 1001}), "more than 1,000 alerts"),
        ],
    )
    def test_faulty_one_shows_every_fault_beside_the_text(
        self, start: Start, text: str, reason: str
    ) -> None:
        browser = browse(start())
        browser.open("/console/alerts/try")
        page = browser.send("Explain", alert=text)
        assert page.status == 422
        faults = page.html.select_one("#faults")
        assert faults
        assert reason in faults.get_text()
        area = page.html.textarea
        assert area
        assert area.get_text() == text

    def test_only_some_are_explained_at_once(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(alerts, "MOST_EXPLAINED", 1)
        browser = browse(start())
        browser.open("/console/alerts/try")
        assert (
            "2 more alerts not explained."
            in browser.send("Explain", alert=json.dumps([ALERT] * 3)).text
        )

    def test_failed_one_is_discarded(self, start: Start) -> None:
        browser = browse(start())
        _, fields = browser.open("/console/alerts/try").form("Explain")
        page = browser.post("/console/alerts/discard", {**fields, "submission": "x"})
        assert page.status == 409
        assert "There is no submission x." in page.text


def test_hostile_text_is_text_on_every_page(start: Start, workspace: Workspace) -> None:
    running = start()
    details = {"details": {HOSTILE: HOSTILE}, "labels": {"team": "data", "x": HOSTILE}}
    names = ("key", "summary", "source", "component", "group", "class")
    hostile = {**ALERT, **dict.fromkeys(names, HOSTILE), **details}
    workspace.fake.misbehave(failing(status=413, body=HOSTILE.encode()), times=1)
    assert post(running.url, [hostile, {**hostile, "labels": {}}]).status == 202
    browser = browse(running)
    until(browser, "/console/deliveries", "rejected")
    opened = [
        browser.open(path)
        for path in (
            "/console/incidents",
            "/console/incidents/1",
            "/console/incidents/2",
            "/console/deliveries",
            "/console/deliveries/1",
            "/console/alerts",
            f"/console/incidents?{urlencode({'text': HOSTILE})}",
            "/console/",
        )
    ]
    browser.open("/console/alerts/try")
    opened.append(browser.send("Explain", alert=json.dumps(hostile)))
    opened.append(browser.send("Explain", alert=HOSTILE))
    for page in opened:
        scripts = page.html.find_all("script")
        assert [each.get_text() for each in scripts] == [""]
        assert str(scripts[0]["src"]).startswith("/console/static/console.js?")
        assert {str(each["src"]).split("?")[0] for each in page.html.find_all("img")} == {
            "/console/static/icon.svg"
        }
        assert not page.html.select("[style], [onerror], iframe, object")
        assert not re.search(
            rb" on[a-z]+=[^&]*?>", page.reply.body.replace(b"onerror=alert(1)", b"")
        )
    for page in opened[:5]:
        assert HOSTILE in page.html.get_text()


def test_message_is_shown_as_planned_if_its_action_fails(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def preview(*_: object) -> None:
        raise RuntimeError(CHECKOUT)

    running = start(ONE_SERVICE)
    send(running)
    monkeypatch.setattr(Trigger, "preview", preview)
    page = browse(running).open("/console/deliveries/1")
    assert "The exact message cannot be shown: the action pagerduty.trigger failed" in page.text
    assert "Disk full on db-1" in page.text
    assert CHECKOUT not in page.text


def test_message_of_a_disabled_plugin_is_shown_as_planned(
    start: Start, workspace: Workspace
) -> None:
    running = start(ONE_SERVICE)
    send(running)
    text = '[plugins]\nenabled = []\n[http]\nlisten = "127.0.0.1:0"\n'
    running.stop()
    (workspace.folder / "alerthost.toml").write_text(text, encoding="utf-8")
    again = Server(workspace.folder / "alerthost.toml", works=False)
    try:
        page = browse(again).open("/console/deliveries/1")
    finally:
        again.stop()
    assert "the action pagerduty.trigger is not configured any more" in page.text


def test_store_that_cannot_be_read_is_reported(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = start()

    def fail(*_: object) -> None:
        raise StoreError("no such disk /secret/path")

    monkeypatch.setattr(Admin, "unsettled", fail)
    page = browse(running).open("/console/deliveries")
    assert (page.status, page.title) == (503, "Not available now")
    assert "secret" not in page.text
    wait_until(lambda: "the store fails: no such disk /secret/path" in caplog.text)


def test_empty_activity_says_what_is_listed(start: Start) -> None:
    assert "No change yet" in browse(start()).open("/console/activity").text


def test_activity_is_listed_page_by_page(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerthost.console.activity.MOST", 1)
    running = start(ONE_SERVICE)
    send(running)
    browser = browse(running)
    browser.open("/console/incidents/1")
    browser.send("Acknowledge")
    until(browser, "/console/incidents/1", "acknowledged")
    browser.send("Resolve")
    page = browser.open("/console/activity")
    older = page.html.find("a", string="Older")
    assert older
    assert page.rows()[0][1] == "Resolved incident 1"
    assert browser.open(str(older["href"])).rows()[0][1] == "Acknowledged incident 1"
    assert not browser.page.html.find("a", string="Older")
