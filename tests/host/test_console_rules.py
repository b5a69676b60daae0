"""The pages of rules: made by a form, seen before they are saved, and in force at once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import attrs
import pytest
from browsing import Browser, Page
from hostspec_tickets import OpenTicket, Tickets
from serving import Start, post, serving_provider
from workspace import CHECKOUT, Workspace, line

from alerthost.cli import server as server_module
from alerthost.cli.server import Server
from alerthost.store.database import Database
from alerthost.store.rules import Rules
from hostspec import Destination, Secret, setting

HOSTILE = """<script>alert(1)</script>"'&{{ 7*7 }}</td>"""
ACTION = "actions[0]"
TRIGGER = '["pagerduty.trigger", "acme"]'
CHANGE = '["pagerduty.change", "acme"]'
GONE = {"use": "pagerduty.trigger", "installation": "gone", "services": ["checkout"]}


@attrs.frozen(kw_only=True)
class WithQueues:
    queues: tuple[str, ...] = setting("Queues", destinations=True)


@attrs.frozen(kw_only=True)
class WithToken:
    queue: str = setting("Queue", default="operations")
    token: Secret = setting("Token")


@pytest.fixture
def running(start: Start, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Run with a rule of the file, which notices changes of others by hand only."""
    monkeypatch.setattr(server_module, "LOOK_EVERY", 3600.0)
    return start()


@pytest.fixture
def browser(running: Server) -> Browser:
    return Browser(running.url)


@pytest.fixture
def rules(workspace: Workspace) -> Iterator[Rules]:
    with Database("sqlite:///alerthost.db", workspace.folder) as database:
        yield Rules(database)


def make(browser: Browser, name: str = "Disks", button: str = "Save", **more: str) -> Page:
    """Fill in the form of a new rule for one service, and press a button."""
    browser.open("/console/rules/new")
    fields = {"name": name, f"{ACTION}.services[0]": "checkout", **more}
    return browser.send(button, **fields)


def open_rule(browser: Browser, name: str) -> Page:
    link = browser.open("/console/rules").html.find("a", string=name)
    assert link
    return browser.open(str(link["href"]))


def listed(page: Page) -> list[tuple[str, str]]:
    """Return name and state of the rules on the page."""
    return [(row[0], row[1]) for row in page.rows()]


def faults_of(page: Page, field: str) -> list[str]:
    explained = page.html.find(id=f"{field}-help")
    assert explained
    return [each.get_text() for each in explained.select(".fault")]


def activity(browser: Browser) -> list[list[str]]:
    return [row[1:4] for row in browser.open("/console/activity").rows()]


def compared(page: Page) -> list[str]:
    return [" ".join(each.get_text(" ").split()) for each in page.html.select(".compared li")]


def message(page: Page) -> dict[str, object]:
    (shown,) = page.html.select("#preview pre")
    found: dict[str, object] = json.loads(shown.get_text())
    return found


def test_rule_is_made_by_a_form_and_in_force_at_once(
    running: Server, browser: Browser, workspace: Workspace
) -> None:
    assert "No rule is edited here yet" in browser.open("/console/rules").text
    page = make(browser, match='team="web"', **{f"{ACTION}.summary": "{{ summary | upper }}"})
    assert "The rule is saved, and in force." in page.text
    assert listed(page) == [("Pages", "in force"), ("Disks", "in force")]
    assert page.rows()[1][2:4] == [
        'team="web"',
        "Send a notification to PagerDuty account acme and services checkout with default severity",
    ]
    assert activity(browser)[0] == [
        "Created rule Disks",
        "\N{EN DASH}",
        '{"match": ["team=\\"web\\""], "actions": [{"use": "pagerduty.trigger", "installation": '
        '"acme", "services": ["checkout"], "summary": "{{ summary | upper }}"}]}',
    ]
    post(running.url, json.loads(line(labels={"team": "web"})))
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 1, 30)
    assert workspace.bodies()[0]["payload"]["summary"] == "DISK FULL ON DB-1"


def test_rule_is_edited_and_only_its_changes_are_recorded(browser: Browser) -> None:
    make(browser, match='team="web"', **{f"{ACTION}.details": "runbook = {{ url }}\r\ndeep = [1]"})
    page = open_rule(browser, "Disks")
    details = page.html.find(id=f"{ACTION}.details")
    assert details
    assert details.get_text() == "runbook = {{ url }}\ndeep = [1]"
    page = browser.send("Save", name="Web", match="")
    assert listed(page)[1] == ("Web", "in force")
    assert page.rows()[1][2] == "every alert"
    assert activity(browser)[0] == [
        "Changed rule Web",
        '{"name": "Disks", "match": ["team=\\"web\\""]}',
        '{"name": "Web"}',
    ]
    changes = {"severity": "critical", "event_actions[2]": "trigger", "links[0].href": "https://x"}
    open_rule(browser, "Web")
    browser.send("Save", **{f"{ACTION}.{name}": value for name, value in changes.items()})
    page = open_rule(browser, "Web")
    assert page.html.select(f'[name="{ACTION}.links[1].href"]')


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"name": " "}, "name", "missing; it is required"),
        ({"name": "Pages"}, "name", "is the name of another rule, in the file; choose another"),
        ({"name": "Taken"}, "name", "is the name of another rule, in the store; choose another"),
        ({"match": 'team="a"\r\nseverity>error'}, "match", "line 2: > is not an operator"),
        ({f"{ACTION}.services[0]": "gone"}, f"{ACTION}.services", "gone"),
        ({f"{ACTION}.summary": "{{ oops"}, f"{ACTION}.summary", "unexpected end of template"),
        ({f"{ACTION}.details": "a = {{ oops"}, f"{ACTION}.details", "a: unexpected end"),
        ({f"{ACTION}.links[0].text": "here"}, f"{ACTION}.links[0].href", "missing"),
        ({f"{ACTION}.installation": "gone"}, f"{ACTION}.installation", "'gone' is unknown"),
        ({f"{ACTION}.installation": ""}, f"{ACTION}.installation", "missing"),
    ],
)
def test_fault_is_beside_its_field_and_nothing_is_saved(
    browser: Browser, rules: Rules, changes: dict[str, str], field: str, reason: str
) -> None:
    rules.add("Taken", {"actions": [GONE]})
    page = make(browser, **{"match": 'team="web"', **changes})
    assert page.status == 422
    (fault,) = faults_of(page, field)
    assert reason in fault
    assert [each.name for each in rules.all()] == ["Taken"]
    control = page.html.find(id="match")
    assert control
    assert control.get_text() == changes.get("match", 'team="web"').replace("\r", "")


def test_recent_alerts_are_compared_with_the_matchers(
    running: Server, browser: Browser, workspace: Workspace
) -> None:
    page = browser.open("/console/rules/new")
    assert "No alert was accepted yet. This is a sample." in page.text
    for number, team in enumerate(("web", "web", "data")):
        post(
            running.url,
            json.loads(line(f"db-{number}", summary=f"DB {number}", labels={"team": team})),
        )
    post(
        running.url,
        json.loads(line("db-0", summary="DB 0", status="resolved", labels={"team": "web"})),
    )
    page = make(browser, "", "Preview", match='team="web"')
    assert page.status == 200
    assert "2 of 3 recent alerts match." in page.text
    assert compared(page) == [
        "matches DB 0",
        "matches DB 1",
        'does not match DB 2 team="data": the value is “data”'.replace('="data":', '="web" :'),
    ]
    assert message(page)["payload"] == {
        "summary": "DB 0",
        "source": "db-1",
        "severity": "critical",
        "custom_details": {"labels": {"team": "web"}},
    }
    page = browser.send(
        "Preview", alert='["", "db-2"]', **{f"{ACTION}.summary": "{{ labels.team }}!"}
    )
    assert dict(message(page)["payload"])["summary"] == "data!"  # type: ignore[call-overload]
    chosen = page.html.select_one(".compared [checked]")
    assert chosen
    assert chosen["value"] == '["", "db-2"]'
    page = browser.send("Preview", match="severity>error")
    assert "The alerts are compared when the matchers have no fault." in page.text
    assert compared(page) == ["DB 0", "DB 2", "DB 1"] or len(compared(page)) == 3
    assert faults_of(page, "match")
    page = browser.send("Preview", match="", **{f"{ACTION}.summary": "{{ oops"})
    assert "The messages are shown here when an action has no fault." in page.text


def test_actions_are_added_and_removed_before_anything_is_saved(
    browser: Browser, rules: Rules
) -> None:
    page = make(browser, button="Add", match="a=b", more=CHANGE)
    titles = [each.get_text() for each in page.html.select(".action > legend")]
    assert titles == ["Send a notification to PagerDuty", "Record a change at PagerDuty"]
    assert page.html.select(f'[name="{ACTION}.services[0]"][checked]')
    path, fields = page.form("Save")
    page = browser.post(path, {**fields, "do": "remove 0"})
    titles = [each.get_text() for each in page.html.select(".action > legend")]
    assert titles == ["Record a change at PagerDuty"]
    path, fields = page.form("Save")
    page = browser.post(path, {**fields, "do": "remove 0"})
    assert "The rule has no action yet." in page.text
    page = browser.send("Save")
    assert page.status == 422
    assert "actions: has 0 entries; needs at least 1" in page.text
    page = browser.send("Add", more="unknown")
    assert "The rule has no action yet." in page.text
    assert rules.all() == ()


def test_rules_are_ordered_switched_off_and_deleted(browser: Browser) -> None:
    for name in ("One", "Two"):
        make(browser, name)
    page = browser.open("/console/rules")

    def press(spoken: str) -> Page:
        (form,) = (
            form
            for form in browser.page.html.find_all("form")
            if form.find("button", attrs={"aria-label": spoken})
        )
        fields = {str(each["name"]): str(each["value"]) for each in form.select("[name]")}
        return browser.post(str(form["action"]), fields)

    page = press("Move Two up")
    assert "The order is changed." in page.text
    assert [name for name, _ in listed(page)] == ["Pages", "Two", "One"]
    assert [name for name, _ in listed(press("Move Two down"))] == ["Pages", "One", "Two"]
    page = press("Switch off One")
    assert "The rule is switched off." in page.text
    assert listed(page)[1] == ("One", "off")
    assert listed(press("Switch on One"))[1] == ("One", "in force")
    open_rule(browser, "Two")
    page = browser.send("Delete Two")
    assert "The rule is deleted." in page.text
    assert [name for name, _ in listed(page)] == ["Pages", "One"]
    entries = activity(browser)
    assert entries[:5] == [
        [
            "Deleted rule Two",
            '{"actions": [{"use": "pagerduty.trigger", "installation": "acme", "services": '
            '["checkout"]}]}',
            "\N{EN DASH}",
        ],
        ["Switched on rule One", "off", "on"],
        ["Switched off rule One", "on", "off"],
        ["Moved rule Two", "position 1", "position 2"],
        ["Moved rule Two", "position 2", "position 1"],
    ]


def test_second_of_two_browsers_overwrites_nothing(running: Server, browser: Browser) -> None:
    make(browser, match="a=b")
    other = Browser(running.url)
    open_rule(browser, "Disks")
    open_rule(other, "Disks")
    browser.send("Save", match="a=c")
    page = other.send("Save", match="a=d")
    assert page.status == 409
    assert "rule 'Disks' was changed or removed meanwhile" in page.text
    control = page.html.find(id="match")
    assert control
    assert control.get_text() == "a=d"
    page = other.send("Delete Disks")
    assert (page.status, page.title) == (409, "That was not possible")
    assert browser.open("/console/rules").rows()[1][2] == "a=c"
    open_rule(browser, "Disks")
    open_rule(other, "Disks")
    browser.send("Delete Disks")
    assert other.send("Save").status == 404
    assert browser.open("/console/rules/99").status == 404


def test_faulty_rules_and_refused_changes_are_shown(
    running: Server, browser: Browser, rules: Rules, workspace: Workspace
) -> None:
    half = {"use": "pagerduty.trigger", "installation": "acme", "services": ["checkout"]}
    rules.add("Gone", {"actions": [GONE]})
    rules.add("Half", {"actions": [GONE, half]})
    rules.add("Odd", {"actions": [{"use": "pager.unknown", "installation": "acme"}]})
    rules.add("Broken", {"match": ["severity>error"], "actions": 5})
    running.refresh()
    page = browser.open("/console/rules")
    assert listed(page)[1:] == [
        ("Gone actions[0].installation: 'gone' is unknown; known are acme", "not in force"),
        ("Half actions[0].installation: 'gone' is unknown; known are acme", "in part"),
        (page.rows()[3][0], "not in force"),
        ("Broken actions: must be a list, not the number 5", "not in force"),
    ]
    assert page.rows()[4][2] == "severity>error"
    assert "Odd actions[0].use: 'pager.unknown' is unknown" in page.rows()[3][0]
    text = browser.open("/console/").text
    assert "Rule Gone: the rule is not in force" in text
    assert "Rule Half: only the other actions of the rule are in force" in text
    page = open_rule(browser, "Odd")
    assert "pager.unknown" in page.text
    page = browser.send("Save")
    assert page.status == 422
    assert "actions[0].use: 'pager.unknown' is unknown" in page.text

    file = workspace.folder / "alerthost.toml"
    file.write_text(file.read_text(encoding="utf-8") + "odd = 1\n", encoding="utf-8")
    page = make(browser)
    assert "It is not in force yet, as the configuration has a fault." in page.text
    assert ("Disks", "not in force yet") in listed(page)
    assert "the previous one stays active: " in page.text
    text = browser.open("/console/").text
    assert "The configuration cannot be reloaded; the previous one stays active" in text
    assert "http.odd: unknown" in text


@contextlib.contextmanager
def serving_tickets(workspace: Workspace) -> Iterator[Browser]:
    """Run with an account of the ticket system."""
    file = workspace.folder / "alerthost.toml"
    with serving_provider(workspace, "tickets") as running:
        account = '\n[[installations]]\nprovider = "tickets"\nname = "desk"\n'
        file.write_text(file.read_text(encoding="utf-8") + account, encoding="utf-8")
        assert running.reload()
        yield Browser(running.url)


def test_ticket_system_has_a_rule_form_of_its_own(workspace: Workspace) -> None:
    with serving_tickets(workspace) as browser:
        page = browser.open("/console/rules/new")
        (title,) = page.html.select(".action > legend")
        assert title.get_text() == "Open a ticket"
        page = browser.send("Preview", name="Tickets", **{f"{ACTION}.queue": "storage"})
        assert message(page) == {"text": "critical: Disk full on db-1"}
        assert "Trigger at desk/storage" in page.text
        page = browser.send("Save")
        assert page.rows()[0][:4] == ["Tickets", "in force", "every alert", "Open a ticket"]


def test_destinations_that_cannot_be_listed_are_entered_as_text(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_tickets(workspace) as browser:
        monkeypatch.setattr(OpenTicket, "settings", WithQueues)
        monkeypatch.setattr(Tickets, "destinations", lambda *_: [Destination("1", "storage")])
        page = browser.open("/console/rules/new")
        assert page.html.select(f'[type=checkbox][name="{ACTION}.queues[0]"][value="1"]')
        monkeypatch.setattr(Tickets, "destinations", None)
        page = browser.open("/console/rules/new")
        assert page.html.select(f'textarea[name="{ACTION}.queues"]')


def test_form_of_a_host_without_an_account_says_how_to_connect_one(
    workspace: Workspace,
) -> None:
    with serving_provider(workspace, "tickets") as running:
        page = Browser(running.url).open("/console/rules/new")
    assert "Connect an account first." in page.text


def test_hostile_names_are_text(running: Server, browser: Browser) -> None:
    post(running.url, json.loads(line(HOSTILE, summary=HOSTILE, labels={"team": HOSTILE})))
    pages = [
        make(browser, HOSTILE, "Preview", match=f"team={json.dumps(HOSTILE)}"),
        browser.send("Save"),
        open_rule(browser, HOSTILE),
        browser.send("Save", **{f"{ACTION}.summary": "{{" + HOSTILE, "match": HOSTILE}),
        browser.open("/console/activity"),
    ]
    for page in pages:
        assert HOSTILE in page.html.get_text() or HOSTILE in str(page.html.select("[value]"))
        assert {str(each.get("src")).partition("?")[0] for each in page.html("script")} <= {
            "/console/static/console.js",
            "/console/static/rule.js",
        }


def test_literal_secret_is_not_stored_in_a_rule(
    workspace: Workspace, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenTicket, "settings", WithToken)
    with serving_tickets(workspace) as browser:
        browser.open("/console/rules/new")
        page = browser.send("Save", name="Tickets", **{f"{ACTION}.token": CHECKOUT})
        (fault,) = faults_of(page, f"{ACTION}.token")
        assert "must not be stored in a rule; use a reference: env:NAME" in fault
        assert CHECKOUT not in str(page.html)
        assert rules.all() == ()
        page = browser.send("Save", **{f"{ACTION}.token": "env:TOKEN"})
        assert page.rows()[0][0] == "Tickets"
