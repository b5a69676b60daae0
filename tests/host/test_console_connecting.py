"""Connecting accounts in the console: at the provider in the browser, and by an API token."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
import requests  # noqa: TID253 -- the browser of these tests, at PagerDuty's page
from browsing import Browser
from forms import Form
from serving import TOKEN, ask
from workspace import Workspace

from alerthost.cli.server import Server
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.testing import App

CONNECT = "/console/accounts/connect?provider=pagerduty"
CALLBACK = "/console/accounts/installed"


def serve(workspace: Workspace, http: str = "") -> Server:
    workspace.configure_bare(f'\n[http]\nlisten = "127.0.0.1:0"\n{http}\n')
    return Server(workspace.folder / "alerthost.toml", works=False)


@pytest.fixture
def running(workspace: Workspace) -> Iterator[Server]:
    server = serve(workspace)
    yield server
    server.stop()


def begin(browser: Browser, workspace: Workspace) -> str:
    """Begin an install flow; return the address of PagerDuty's page."""
    url = workspace.fake.url
    browser.open(CONNECT)
    page = browser.send(
        "Connect",
        **{"settings.app_id": "PAPP", "settings.install_url": url, "settings.base_url": url},
    )
    assert page.status == 200, page.text
    link = page.html.find("a", string="Continue at PagerDuty")
    assert link
    return str(link["href"])


def pick(workspace: Workspace, address: str, *services: str) -> str:
    """Pick services on PagerDuty's page; return the path of the callback."""
    redirect = dict(parse_qsl(urlsplit(address).query))["redirect_url"]
    home = redirect.partition("?")[0]
    app = App(app_id="PAPP", redirect_urls=(home,), others=(("team_rule_set", "Ops"),))
    workspace.fake.register_app(app)
    with requests.Session() as session:
        session.trust_env = False
        page = session.get(address, timeout=60)
        form = Form.of(page.text)
        fields = [*form.fields, *(("service", service) for service in services)]
        sent = session.post(
            urljoin(page.url, form.action), data=fields, timeout=60, allow_redirects=False
        )
    parts = urlsplit(sent.headers["Location"])
    assert parts.path == CALLBACK
    return f"{parts.path}?{parts.query}"


def test_account_is_connected_at_its_provider(running: Server, workspace: Workspace) -> None:
    browser = Browser(running.url)
    callback = pick(workspace, begin(browser, workspace), "checkout", "platform")
    reply = ask(running.url, "GET", callback)  # the session's cookie does not come along
    assert reply.status == 303
    assert "set-cookie" not in reply.headers
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert "?" not in reply.headers["location"] or "state" not in reply.headers["location"]
    page = browser.open(reply.headers["location"])
    assert "The account is connected. Some services were skipped" in page.text
    assert [row[0] for row in page.rows()] == ["checkout", "platform"]
    entry = browser.open("/console/activity").rows()[0]
    assert entry[1].startswith("Connected account ")
    assert "skipped Ops (team_rule_set)" in entry[3]
    assert entry[4].startswith("install flow, 127.0.0.1")
    assert len(running._app.backend.configuration.installations) == 1

    again = ask(running.url, "GET", callback)
    assert again.headers["location"] == "/console/activity"
    assert "the callback was used before; begin again" in browser.open("/console/activity").text

    callback = pick(workspace, begin(browser, workspace), "checkout")
    browser.open(ask(running.url, "GET", callback).headers["location"])
    assert browser.open("/console/activity").rows()[0][1].startswith("Connected again account ")


def test_callback_reaches_any_process_on_the_store(running: Server, workspace: Workspace) -> None:
    other = Server(workspace.folder / "alerthost.toml", works=False)
    try:
        callback = pick(workspace, begin(Browser(running.url), workspace), "checkout")
        reply = ask(other.url, "GET", callback)
        assert Browser(other.url).open(reply.headers["location"]).status == 200
    finally:
        other.stop()


def test_callback_of_no_flow_connects_and_records_nothing(running: Server) -> None:
    browser = Browser(running.url)
    page = browser.open(f"{CALLBACK}?state=forged&config=s3cret")
    assert (page.status, page.path) == (404, CALLBACK)
    assert "The callback belongs to no install flow that was started here" in page.text
    for path in ("/console/accounts", "/console/activity"):
        assert browser.open(path).rows() == []
    assert ask(running.url, "GET", CALLBACK, headers={"Host": "evil.example"}).status == 403


def test_flow_whose_provider_has_none_any_more_connects_nothing(
    running: Server, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(running.url)
    callback = pick(workspace, begin(browser, workspace), "checkout")
    monkeypatch.setattr(PagerDuty, "install_flow", lambda _: None)
    assert browser.open(callback).path == "/console/activity"
    assert browser.page.rows()[0][3] == "the provider pagerduty has no install flow"
    assert browser.open("/console/accounts").rows() == []


def test_callback_needs_an_address_that_is_encrypted_or_local(workspace: Workspace) -> None:
    server = serve(workspace, 'public_url = "http://alerts.example"')
    try:
        browser = Browser(server.url)
        browser.open(CONNECT)
        page = browser.send("Connect", **{"settings.app_id": "PAPP"})
        assert page.status == 422
        assert "use https, or a loopback address: set http.public_url" in page.text
        browser.open(CONNECT)
        page = browser.send("Connect", **{"settings.app_id": ""})
        assert page.html.select("[id='settings.app_id-help'] .fault")
    finally:
        server.stop()


def test_callback_is_served_with_a_token_without_a_session(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTHOST_TOKEN", TOKEN)
    server = serve(workspace, 'token = "env:ALERTHOST_TOKEN"')
    try:
        browser = Browser(server.url)
        browser.sign_in(TOKEN)
        callback = pick(workspace, begin(browser, workspace), "checkout")
        location = ask(server.url, "GET", callback).headers["location"]
        cross_site = {"Sec-Fetch-Site": "cross-site"}
        reply = ask(server.url, "GET", location, headers=cross_site)
        assert reply.status == 200
        assert "set-cookie" not in reply.headers
        assert f'content="0; url={location}"'.encode() in reply.body
        assert "The account is connected" in browser.open(location).text
    finally:
        server.stop()


def test_chosen_services_are_connected_by_an_api_token(
    running: Server, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = workspace.fake
    token = fake.add_api_token()
    fake.create_service("search")
    fake.create_service("old", status="disabled")
    browser = Browser(running.url)
    form = {
        "settings.token": token,
        "settings.api_url": fake.url,
        "settings.base_url": fake.url,
    }
    browser.open(f"{CONNECT}&way=token")
    page = browser.send("Find services", **form)
    assert page.status == 200, page.text
    assert token not in page.reply.body.decode()
    assert [row[:2] for row in page.rows()] == [
        ["checkout", "ready"],
        ["old", "unusable"],
        ["platform", "ready"],
        ["search", "missing"],
    ]
    assert "it is created at PagerDuty if you choose the service" in page.text
    boxes = {str(each["name"]): each for each in page.html.select("tbody input")}
    checkout, old, platform, search = boxes
    assert [name for name, each in boxes.items() if each.has_attr("checked")] == [
        checkout,
        platform,
    ]
    assert boxes[old].has_attr("disabled")
    path, fields = page.form("Connect the chosen services")
    hidden = {name: text for name, text in fields.items() if name not in boxes}
    page = browser.post(path, hidden)
    assert (page.status, page.title) == (422, "Choose the services")
    assert "Choose a service." in page.text
    page = browser.post(path, {**hidden, platform: "yes", search: "yes"})
    assert page.status == 200, page.text
    assert [row[0] for row in page.rows()] == ["platform", "search"]

    page = browser.post(path, {**hidden, "sealed": "x", search: "yes"})
    assert page.status == 422
    assert "the list of services is too old; enter the token again" in page.text
    other = Browser(running.url)
    _, own = other.open(f"{CONNECT}&way=token").form("Find services")
    page = other.post(path, {**hidden, "csrf": own["csrf"], search: "yes"})
    assert "the list of services is too old" in page.text
    page = browser.post(path, {**hidden, "service.gone": "yes"})
    assert page.status == 422
    monkeypatch.setattr(PagerDuty, "discovery", lambda _: None)
    assert browser.post(path, hidden).status == 409
    assert token not in browser.open("/console/activity").text
    assert token.encode() not in (workspace.folder / "alerthost.db").read_bytes()


def test_wrong_api_token_is_shown_above_the_form(running: Server, workspace: Workspace) -> None:
    browser = Browser(running.url)
    browser.open(f"{CONNECT}&way=token")
    wrong = "w" * 20
    page = browser.send(
        "Find services", **{"settings.token": wrong, "settings.api_url": workspace.fake.url}
    )
    assert page.status == 422
    assert page.html.select(".note.bad")
    assert wrong not in page.text


def test_account_without_a_service_cannot_be_connected(
    running: Server, workspace: Workspace
) -> None:
    browser = Browser(running.url)
    token = workspace.fake.add_api_token()
    browser.open(f"{CONNECT}&way=token")
    page = browser.send(
        "Find services",
        **{
            "settings.token": token,
            "settings.api_url": workspace.fake.url,
            "settings.query": "nothing",
        },
    )
    assert "The token finds no service" in page.text
    assert not page.buttons()
