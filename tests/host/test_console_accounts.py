"""The pages of accounts, services and plugins, and the test of a service."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from browsing import Browser
from serving import Start, post, serving_provider
from workspace import CHECKOUT, PLATFORM, STORE_KEY, Workspace

from alerthost.cli.server import Server
from alerthost.console import service_test
from alerthost.store.tables import activity
from hostspec import Suppression
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.testing import refusing
from pagerduty_plugin.testing.misbehaviour import failing
from pagerduty_plugin.trigger import Trigger

NEW = "n" * 32
SERVICE = "settings.services[0]"
RULE = """
[http]
listen = "127.0.0.1:0"

[[rules]]
name = "Pages"
[[rules.actions]]
use = "pagerduty.trigger"
installation = "shop"
services = ["checkout"]
"""


@pytest.fixture
def running(workspace: Workspace) -> Iterator[Server]:
    """Run with a store for accounts, and without a rule."""
    workspace.configure_bare('\n[http]\nlisten = "127.0.0.1:0"\n')
    server = Server(workspace.folder / "alerthost.toml", works=False)
    yield server
    server.stop()


@pytest.fixture
def browser(running: Server, workspace: Workspace) -> Browser:
    """Return a browser of a host with the connected account ``shop``."""
    browser = Browser(running.url)
    browser.open("/console/accounts")
    link = browser.page.html.find("a", string="Connect PagerDuty")
    assert link
    link = browser.open(str(link["href"])).html.find("a", string="By hand")
    assert link
    browser.open(str(link["href"]))
    page = connect(browser, workspace)
    assert (page.status, page.title) == (200, "shop")
    assert "The account is connected. Rules can name it now." in page.text
    return browser


def connect(browser: Browser, workspace: Workspace, **changes: str) -> object:
    fields = {
        "name": "shop",
        f"{SERVICE}.name": "checkout",
        f"{SERVICE}.integration_key": CHECKOUT,
        "settings.base_url": workspace.fake.url,
        **changes,
    }
    return browser.send("Connect", **fields)


def edit(browser: Browser, service: str = "checkout") -> None:
    """Open the form of a service."""
    row = next(
        each
        for each in browser.open("/console/account/shop").html.select("tbody tr")
        if each.get_text().strip().startswith(service)
    )
    link = row.find("a", string="Edit")
    assert link
    browser.open(str(link["href"]))


def test_accounts_of_the_file_are_shown_and_not_changed(start: Start) -> None:
    browser = Browser(start().url)
    (row,) = browser.open("/console/accounts").rows()
    assert row[:4] == ["acme", "pagerduty", "connected", "checkout, platform"]
    assert "alerthost.toml, line 4" in row[4]
    page = browser.open("/console/account/acme")
    assert "where it is changed" in page.text
    assert [each[0] for each in page.rows()] == ["checkout", "platform"]
    assert page.buttons() == ["Send a test", "Send a test"]
    page = browser.open("/console/account/acme/service")
    assert (page.status, page.title) == (409, "That was not possible")
    assert "edit it there" in page.text


def test_empty_list_says_how_to_connect(running: Server) -> None:
    page = Browser(running.url).open("/console/accounts")
    assert "No account is connected" in page.text
    assert "Connect PagerDuty" in page.text


def test_account_is_connected_by_hand_and_used_at_once(
    running: Server, workspace: Workspace, browser: Browser
) -> None:
    (row,) = browser.page.rows()
    assert row[0] == "checkout"
    assert re.fullmatch(r"\*{8} [0-9a-f]{8}", row[1])
    assert running._app.backend.configuration.installations[0].name == "shop"
    entry = browser.open("/console/activity").rows()[0]
    assert entry[1:4] == ["Connected account shop", "\N{EN DASH}", "pagerduty"]
    assert (workspace.folder / "alerthost.key").read_text(encoding="utf-8").strip() == STORE_KEY
    assert CHECKOUT.encode() not in (workspace.folder / "alerthost.db").read_bytes()


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"name": "a/b"}, "name", "has a /"),
        ({"name": ""}, "name", "is blank"),
        (
            {f"{SERVICE}.integration_key": "short"},
            f"{SERVICE}.integration_key",
            "32",
        ),
        ({"settings.rate_limit": "many"}, "settings.rate_limit", "must be"),
        ({"settings.rate_limit": "[" * 100_000}, "settings.rate_limit", "must be"),
        ({f"{SERVICE}.name": ""}, f"{SERVICE}.name", "missing"),
    ],
)
def test_fault_of_a_new_account_is_shown_beside_its_field(
    running: Server, workspace: Workspace, changes: dict[str, str], field: str, reason: str
) -> None:
    browser = Browser(running.url)
    browser.open("/console/accounts/connect?provider=pagerduty&way=hand")
    connect(browser, workspace, **changes)
    page = browser.page
    assert page.status == 422
    explained = page.html.find(id=f"{field}-help")
    assert explained
    assert reason in explained.get_text()
    assert browser.open("/console/accounts").rows() == []
    assert CHECKOUT not in page.reply.body.decode()


def test_fault_of_no_field_is_shown_too(running: Server, workspace: Workspace) -> None:
    browser = Browser(running.url)
    browser.open("/console/accounts/connect?provider=pagerduty&way=hand")
    path, fields = browser.page.form("Connect")
    kept = {name: value for name, value in fields.items() if "services" not in name}
    page = browser.post(path, {**kept, "name": "shop", f"{SERVICE}.name": "x"})
    assert page.status == 422
    assert browser.post("/console/accounts/connect", {**fields, "provider": "nope"}).status == 409


def test_service_is_added_renamed_and_removed(browser: Browser, workspace: Workspace) -> None:
    link = browser.page.html.find("a", string="Add a service")
    assert link
    browser.open(str(link["href"]))
    page = browser.send("Save", name="platform", integration_key="short")
    assert page.status == 422
    assert "Add a service" in page.title
    assert page.html.select("#integration_key-help .fault")
    page = browser.send("Save", name="platform", integration_key=PLATFORM)
    assert "The change is saved, and in use." in page.text
    assert [row[0] for row in page.rows()] == ["checkout", "platform"]

    edit(browser, "platform")
    assert not browser.page.html.select("[name=integration_key]")
    page = browser.send("Save", name="checkout")
    assert page.status == 422
    page = browser.send("Save", name="core")
    assert [row[0] for row in page.rows()] == ["checkout", "core"]
    edit(browser, "core")
    again = browser.page.form("Remove core")
    page = browser.send("Remove core")
    assert [row[0].split()[0] for row in page.rows()] == ["checkout", "core"]
    assert page.rows()[1][2] == "none"
    edit(browser)
    assert "Remove checkout" not in browser.page.buttons()  # the last one
    entries = [row[1] for row in browser.open("/console/activity").rows()]
    assert entries[:3] == [
        "Removed shop/core",
        "Changed shop/core",
        "Added shop/platform",
    ]
    assert PLATFORM not in browser.page.text
    page = browser.post(*again)
    assert (page.status, "There is no service" in page.text) == (409, True)
    page = browser.open("/console/account/shop/service?id=none")
    assert (page.status, "There is no service 'none'." in page.text) == (409, True)


@pytest.mark.parametrize("way", ["console", "command", "not recorded"])
def test_removed_service_is_listed_with_its_open_incidents(
    workspace: Workspace, running: Server, browser: Browser, way: str
) -> None:
    browser.open("/console/account/shop/service")
    browser.send("Save", name="core", integration_key=PLATFORM)
    assert "Removed services" not in browser.page.text
    file = workspace.folder / "alerthost.toml"
    rules = RULE.replace('["checkout"]', '["checkout", "core"]')
    text = file.read_text(encoding="utf-8").partition("\n[http]")[0] + rules
    file.write_text(text, encoding="utf-8")
    assert running.reload()
    assert post(running.url, {"key": "disk"}).status == 202
    running._app.backend.engine.drain()
    edit(browser, "core")
    shown = browser.page.html.find("a", string="Show the open incidents")
    assert shown
    assert len(browser.open(str(shown["href"])).rows()) == 1
    edit(browser, "core")
    if way == "console":
        browser.send("Remove core")
    else:
        workspace.alerthost("services", "shop", "remove", "core", "--yes", "--leave")
        assert running.reload()
    _, change, before, after, by = browser.open("/console/activity").rows()[0]
    assert (change, '"name": "core"' in before, after) == ("Removed shop/core", True, "\N{EN DASH}")
    assert by.startswith("operator, 127.0.0.1" if way == "console" else "command line, ")
    assert PLATFORM not in before
    if way == "not recorded":
        with running._app.backend.engine.database.begin() as connection:
            connection.execute(sa.delete(activity))
    name, since, count = browser.open("/console/account/shop").rows()[-1]
    assert (name.startswith("core"), since.endswith("ago")) == (way != "not recorded",) * 2
    assert (since == "not recorded") == (way == "not recorded")
    assert count == "1 open"
    link = browser.page.html.find("a", string="1 open")
    assert link
    assert len(browser.open(str(link["href"])).rows()) == 1

    assert post(running.url, {"key": "disk", "status": "resolved"}).status == 202
    running._app.backend.engine.drain()
    page = browser.open("/console/account/shop")
    assert page.rows()[-1][2] == "1 orphaned"
    link = page.html.find("a", string="1 orphaned")
    assert link
    assert len(browser.open(str(link["href"])).rows()) == 1


def test_key_is_rotated_in_two_steps(browser: Browser) -> None:
    edit(browser)
    page = browser.send("Rotate", secret="short")
    assert page.status == 422
    assert "integration_key" in page.text
    page = browser.send("Rotate", secret=NEW)
    assert page.rows()[0][1].count("****") > 1
    edit(browser)
    page = browser.send("End the rotation: keep the newest key only")
    assert "The change is saved" in page.text
    edit(browser)
    assert "End the rotation" not in browser.page.text
    entries = [row[1] for row in browser.open("/console/activity").rows()]
    assert entries[:2] == [
        "Ended the rotation of shop/checkout",
        "Rotated the key of shop/checkout",
    ]
    assert NEW not in browser.page.text


def test_consequences_are_shown_before_an_account_is_removed(
    workspace: Workspace, running: Server, browser: Browser
) -> None:
    edit(browser)
    browser.open("/console/account/shop/service")
    browser.send("Save", name="platform", integration_key=PLATFORM)
    file = workspace.folder / "alerthost.toml"
    rules = RULE.replace('["checkout"]', '["checkout", "platform"]')
    text = file.read_text(encoding="utf-8").partition("\n[http]")[0] + rules
    file.write_text(text, encoding="utf-8")
    assert running.reload()
    assert post(running.url, {"key": "disk"}).status == 202
    running._app.backend.engine.drain()
    page = browser.open("/console/account/shop")
    assert "2 open incidents could not be closed from here any more." in page.text
    assert "It breaks a rule:" in page.text
    edit(browser)
    assert "1 open incident could not be closed from here any more." in browser.page.text
    assert "It changes a rule: rule 'Pages':" in browser.page.text
    browser.open("/console/account/shop")
    page = browser.send("Disconnect shop")
    assert "It is not in use yet: the configuration has a fault" in page.text
    assert page.rows() == []
    browser.open("/console/accounts/connect?provider=pagerduty&way=hand")
    page = connect(browser, workspace, name="other")
    assert "It is not in use yet" in browser.page.text


def test_faulty_account_is_listed_with_its_fault(
    workspace: Workspace, running: Server, browser: Browser
) -> None:
    (workspace.folder / "alerthost.key").write_text("A" * 43 + "=", encoding="utf-8")
    page = browser.open("/console/accounts")
    assert page.rows()[0][2] == "failed"
    assert "another key sealed it" in page.text
    page = browser.open("/console/account/shop")
    assert "No service is known" in page.text
    assert page.buttons() == ["Disconnect shop"]
    page = browser.send("Disconnect shop")
    assert "The account is disconnected. Nothing changed at its provider." in page.text


def test_service_is_tested_with_the_answers_of_its_provider(
    browser: Browser, workspace: Workspace
) -> None:
    page = browser.send("Send a test")
    assert page.title == "Test of shop/checkout"
    assert "All well: the provider accepted every message." in page.text
    steps = [each.get_text() for each in page.html.select(".timeline strong")]
    assert steps == ["Trigger", "Acknowledge", "Resolve"]
    (incident,) = workspace.fake.incidents
    assert incident.state == "resolved"
    assert "Success" in page.text or "delivered" in page.text
    entry = browser.open("/console/activity").rows()[0]
    assert entry[1:4] == ["Tested shop/checkout", "\N{EN DASH}", "delivered"]

    workspace.fake.misbehave(refusing(), times=1)
    browser.open("/console/account/shop")
    page = browser.send("Send a test")
    assert "The test failed." in page.text
    assert "400: Invalid routing key" in page.text


def test_open_incident_of_a_failed_test_is_reported(
    browser: Browser, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_test, "PAUSES", (0.0,))
    workspace.fake.misbehave(failing(), times=4)
    page = browser.send("Send a test")
    assert "The incident may still be open: close it at the provider." in page.text


def test_failure_to_plan_a_test_is_shown(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trigger, "plan", lambda *_, **__: 1 / 0)
    page = browser.send("Send a test")
    assert "Nothing was sent." in page.text
    assert "the action pagerduty.trigger could not plan" in page.text
    veto = Suppression("pagerduty.trigger", "shop", "it is night")
    monkeypatch.setattr(Trigger, "plan", lambda *_, **__: [veto])
    browser.open("/console/account/shop")
    assert "Suppressed: it is night" in browser.send("Send a test").text


def test_service_that_cannot_be_tested_is_an_error(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fields = browser.page.form("Send a test")
    page = browser.post(path, {**fields, "id": "none"})
    assert "There is no service 'none'." in page.text
    monkeypatch.setattr(Trigger, "settings_for", lambda *_: None)
    page = browser.post(path, fields)
    assert "PagerDuty cannot be tested: no action is limited to one service." in page.text


def test_plugins_are_listed_with_their_offers(start: Start) -> None:
    page = Browser(start().url).open("/console/plugins")
    assert "PagerDuty" in page.text
    assert "pagerduty.trigger" in page.text
    assert page.text.count("Settings of pagerduty.trigger") == 1
    assert "not enabled" in page.text


def test_provider_that_cannot_list_its_services_is_shown_with_the_reason(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def destinations(*_: object) -> None:
        raise RuntimeError(CHECKOUT)

    browser = Browser(start().url)
    monkeypatch.setattr(PagerDuty, "destinations", destinations)
    reason = "provider pagerduty cannot list its destinations: it failed"
    assert reason in browser.open("/console/accounts").text
    assert browser.open("/console/account/acme").status == 200
    assert CHECKOUT not in browser.page.text


def test_any_provider_has_its_forms_and_pages(workspace: Workspace) -> None:
    """The ticket system of the tests has no services, and no acknowledge."""
    file = workspace.folder / "alerthost.toml"
    with serving_provider(workspace, "tickets") as server:
        browser = Browser(server.url)
        browser.open("/console/accounts/connect?provider=tickets")
        assert "A file that gets a line of each change." in browser.page.text
        journal = str(workspace.folder / "journal")
        page = browser.send("Connect", **{"name": "desk", "settings.journal": journal})
        assert page.title == "desk"
        assert "No service is known" in page.text
        page = browser.open("/console/account/desk/service")
        assert "A tickets account has no services to change." in page.text
        rules = (
            '\n[[rules]]\nname = "T"\nactions = [{ use = "tickets.open", installation = "desk" }]\n'
        )
        file.write_text(file.read_text(encoding="utf-8") + rules, encoding="utf-8")
        assert server.reload()
        assert post(server.url, {"key": "disk", "summary": "Disk full"}).status == 202
        server._app.backend.engine.drain()
        page = browser.open("/console/incidents/1")
        assert page.buttons() == ["Resolve"]
        assert "tickets.open" in page.text
        browser.send("Resolve")
        server._app.backend.engine.drain()
        assert "State resolved" in browser.open("/console/incidents/1").text
        assert "Settings of tickets.open" in browser.open("/console/plugins").text


def test_settings_of_an_account_are_changed(browser: Browser, workspace: Workspace) -> None:
    link = browser.page.html.find("a", string="Settings")
    assert link
    page = browser.open(str(link["href"]))
    assert not page.html.select("[name*=integration_key]")
    page = browser.send("Save", rate_limit="many")
    assert page.status == 422
    assert page.html.select("#rate_limit-help .fault")
    page = browser.send("Save", rate_limit="240")
    assert "The change is saved, and in use." in page.text
    assert [row[0] for row in page.rows()] == ["checkout"]
    entry = browser.open("/console/activity").rows()[0]
    assert entry[1:4] == ["Changed account shop", "rate_limit = 120", "rate_limit = 240"]
    assert CHECKOUT not in browser.page.text


def test_settings_that_cut_off_open_incidents_are_confirmed(
    browser: Browser, running: Server, workspace: Workspace
) -> None:
    file = workspace.folder / "alerthost.toml"
    file.write_text(file.read_text(encoding="utf-8").partition("\n[http]")[0] + RULE, "utf-8")
    assert running.reload()
    assert post(running.url, {"key": "disk"}).status == 202
    running._app.backend.engine.drain()
    browser.open("/console/account/shop/settings")
    page = browser.send("Save", base_url="http://127.0.0.1:1")
    assert "1 open incident could not be closed from here any more." in page.text
    assert page.buttons() == ["Save anyway"]
    assert browser.open("/console/activity").rows()[0][1] == "Connected account shop"
    browser.open("/console/account/shop/settings")
    browser.send("Save", base_url="http://127.0.0.1:1")
    assert "The change is saved, and in use." in browser.send("Save anyway").text


def test_blank_secret_of_an_account_stays_as_it_is(workspace: Workspace) -> None:
    with serving_provider(workspace, "webhook") as server:
        browser = Browser(server.url)
        browser.open("/console/accounts/connect?provider=webhook")
        secret = "https://hooks.example/s3cret"
        browser.send("Connect", **{"name": "hook", "settings.url": secret})
        browser.open("/console/account/hook/settings")
        assert "The change is saved" in browser.send("Save").text
        (installation,) = server._app.backend.configuration.installations
        assert installation.settings.url.reveal() == secret
        assert secret not in browser.open("/console/activity").text
        other = "https://hooks.example/0ther"
        browser.open("/console/account/hook/settings")
        browser.send("Save", url=other)
        (installation,) = server._app.backend.configuration.installations
        assert installation.settings.url.reveal() == other
        assert other not in browser.open("/console/activity").text
