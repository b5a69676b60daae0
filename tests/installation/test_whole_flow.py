"""The whole install flow in a browser, over real HTTP."""

from __future__ import annotations

import contextlib
import http.server
import logging
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import attrs
import pytest
import requests  # noqa: TID253 -- the browser of these tests
from forms import Form

from hostspec import Alert, Installation
from hostspec.connect import (
    CALLBACK_HEADERS,
    Connected,
    InstallError,
    InstallProblem,
    PendingInstalls,
)
from hostspec.inprocess import Host
from hostspec.plugins import Rule, load
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallFlowSettings
from pagerduty_plugin.testing import App, FakePagerDuty


@attrs.define
class WebHost:
    """A host with a callback page and a final page; it stores the result."""

    url: str = ""
    pendings: PendingInstalls = attrs.field(factory=PendingInstalls)
    installations: dict[str, Installation[Any]] = attrs.field(factory=dict)
    connected: list[Connected[Any]] = attrs.field(factory=list)
    problems: list[InstallProblem] = attrs.field(factory=list)

    def begin(self, **settings: Any) -> str:
        """Begin an install, and return the address for the browser."""
        begun = (
            PagerDuty()
            .install_flow()
            .begin(
                f"{self.url}/connect?tenant=a%26b",
                InstallFlowSettings(app_id="PAPP", **settings),
                return_url=f"{self.url}/installations",
            )
        )
        self.pendings.keep(begun.pending)
        return begun.url

    def called_back(self, query: str) -> str:
        """Finish, and return where to redirect the browser, after an error too."""
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        try:
            connected = (
                PagerDuty()
                .install_flow()
                .finish(
                    parameters,
                    self.pendings.take(parameters),
                    installations=self.installations.values(),
                )
            )
        except InstallError as error:
            self.problems.append(error.problem)
            return error.return_url or f"{self.url}/installations"
        self.connected.append(connected)
        self.installations[connected.installation.name] = connected.installation
        return connected.return_url


def handler(host: WebHost) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/connect":
                self.send_response(303)
                self.send_header("Location", host.called_back(parts.query))
                for name, value in CALLBACK_HEADERS.items():
                    self.send_header(name, value)
            else:
                self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def host() -> Iterator[WebHost]:
    """Return a host that listens on loopback."""
    host = WebHost()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(host)) as server:
        host.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield host
        server.shutdown()
        thread.join()


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    """Return a browser."""
    with requests.Session() as browser:
        browser.trust_env = False
        yield browser


@contextlib.contextmanager
def pagerduty(host: WebHost, *services: str, **app: Any) -> Iterator[FakePagerDuty]:
    """Run a PagerDuty account that knows the host's app."""
    with FakePagerDuty() as fake:
        for service in services:
            fake.add_service(service)
        fake.register_app(App(app_id="PAPP", redirect_urls=(f"{host.url}/connect",), **app))
        yield fake


def pick(browser: requests.Session, url: str, *services: str) -> requests.Response:
    """Open PagerDuty's page, select services, and follow every redirect."""
    page = browser.get(url, timeout=60)
    form = Form.of(page.text)
    assert set(services) <= set(form.choices)
    fields = [*form.fields, *(("service", service) for service in services)]
    return browser.post(urljoin(page.url, form.action), data=fields, timeout=60)


def connect(
    host: WebHost, browser: requests.Session, fake: FakePagerDuty, *services: str
) -> Connected[Any]:
    """Connect an account from beginning to end."""
    url = host.begin(install_url=fake.url, base_url=fake.url)
    arrived = pick(browser, url, *services)
    assert (arrived.status_code, arrived.url) == (200, f"{host.url}/installations")
    granted, back = arrived.history
    assert (granted.status_code, back.status_code) == (302, 303)
    assert back.headers["Cache-Control"] == "no-store"
    assert back.headers["Referrer-Policy"] == "no-referrer"
    assert host.problems == []
    return host.connected[-1]


def services(host: WebHost, account: str) -> list[tuple[str, int]]:
    """Return the names of an account's services and how many keys each has."""
    settings = host.installations[account].settings
    return [(service.name, len(service.keys)) for service in settings.services]


def test_two_accounts_are_connected_and_one_again(host: WebHost, browser: requests.Session) -> None:
    with (
        pagerduty(host, "checkout", "platform") as acme,
        pagerduty(
            host,
            "billing",
            subdomain="labs",
            account="Labs",
            name_member="Name",
            others=(("team_rule_set", "Ops"), ("global_event_rules", "All")),
        ) as labs,
    ):
        assert not connect(host, browser, acme, "checkout").again
        second = connect(host, browser, labs, "billing")
        assert [each.kind for each in second.skipped] == ["team_rule_set", "global_event_rules"]
        again = connect(host, browser, acme, "checkout", "platform")

        assert again.again
        assert again.notes == ("The service checkout has a new key; it keeps the old one as well.",)
        assert services(host, "Acme") == [("checkout", 2), ("platform", 1)]
        assert services(host, "Labs") == [("billing", 1)]
        assert list(host.installations) == ["Acme", "Labs"]
        page(host, "Acme", "checkout", "platform")
        page(host, "Labs", "billing")
        for fake, names in ((acme, ["checkout", "platform"]), (labs, ["billing"])):
            states = {(each.service, each.state) for each in fake.incidents}
            assert states == {(name, "resolved") for name in names}


def page(host: WebHost, account: str, *names: str) -> None:
    """Open and resolve an incident with the stored account, by rules that name services."""
    plugins = load(["pagerduty"])
    settings = host.installations[account].settings
    installation = plugins.installation("pagerduty", account, settings)
    action = plugins.rule_action("pagerduty.trigger", installation, {"services": list(names)})
    pager = Host(plugins, [Rule("Pages", [action])])
    for status in ("firing", "resolved"):
        assert pager.handle(Alert("k", "Down", status=status)).delivered


def test_the_same_keys_again_add_nothing(host: WebHost, browser: requests.Session) -> None:
    with pagerduty(host, "checkout", renews=False) as acme:
        first = connect(host, browser, acme, "checkout")
        again = connect(host, browser, acme, "checkout")
    assert again.installation == first.installation
    assert (again.again, again.notes) == (True, ())


def test_a_callback_loaded_again_changes_nothing(host: WebHost, browser: requests.Session) -> None:
    with pagerduty(host, "checkout") as acme:
        url = host.begin(install_url=acme.url, base_url=acme.url)
        arrived = pick(browser, url, "checkout")
        before = dict(host.installations)
        callback = arrived.history[0].headers["Location"]
        assert browser.get(callback, timeout=60).url == f"{host.url}/installations"
        forged = callback.replace("state=", "state=x")
        assert browser.get(forged, timeout=60).url == f"{host.url}/installations"
    assert host.problems == [InstallProblem.REUSED_STATE, InstallProblem.WRONG_STATE]
    assert host.installations == before


def test_an_empty_callback_is_a_cancellation(host: WebHost, browser: requests.Session) -> None:
    url = host.begin(install_url="http://127.0.0.1:1")
    callback = dict(parse_qsl(urlsplit(url).query))["redirect_url"]
    assert browser.get(callback, timeout=60).url == f"{host.url}/installations"
    assert host.problems == [InstallProblem.MISSING_ANSWER]


def test_an_unknown_app_never_comes_back(host: WebHost, browser: requests.Session) -> None:
    with FakePagerDuty(services={"checkout": "c" * 32}) as fake:
        page = browser.get(host.begin(install_url=fake.url), timeout=60)
    assert (page.status_code, "App not found." in page.text) == (404, True)
    assert host.problems == []


def test_no_key_is_logged_or_left_in_the_browser(
    host: WebHost, browser: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="hostspec")
    caplog.set_level(logging.DEBUG, logger="pagerduty_plugin")
    with pagerduty(host, "checkout") as acme:
        url = host.begin(install_url=acme.url, base_url=acme.url)
        arrived = pick(browser, url, "checkout")
        (service,) = host.installations["Acme"].settings.services
        key = service.keys[0].reveal()
        assert key in arrived.history[0].headers["Location"]
        assert key not in arrived.url + str(arrived.headers) + arrived.text
        ours = [r.getMessage() for r in caplog.records if not r.name.startswith("urllib3")]
        assert key not in str(ours) + repr(host.connected)
