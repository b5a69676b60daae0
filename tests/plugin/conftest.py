"""Fixtures for the plugin's tests: a fake PagerDuty of two services, and senders to it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import trustme

from hostspec import Alert, Delivery, Installation, Outcome, SendContext, SettingsError, structure
from hostspec.inprocess import Host
from hostspec.plugins import Rule, load
from pagerduty_plugin.change import Change
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallationSettings, NetworkSettings, TriggerSettings
from pagerduty_plugin.testing import FakePagerDuty
from pagerduty_plugin.trigger import Trigger

from .wire import KEYS, Proxy, Responder


@attrs.define
class Encoded:
    """Counts the characters that `json.dumps` writes."""

    characters: int = 0


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Encoded:
    counted = Encoded()
    dumps = json.dumps

    def counting(value: object, **options: Any) -> str:
        text = dumps(value, **options)
        counted.characters += len(text)
        return text

    monkeypatch.setattr(json, "dumps", counting)
    return counted


@attrs.frozen
class Sender:
    """An action, and an installation of the two services at a fake."""

    fake: FakePagerDuty
    action: Trigger | Change
    installation: Installation[InstallationSettings]

    def at(self, **changes: Any) -> Sender:
        """Return the sender with other settings of its installation."""
        settings = attrs.evolve(self.installation.settings, **changes)
        return attrs.evolve(self, installation=attrs.evolve(self.installation, settings=settings))

    def over(self, **network: Any) -> Sender:
        """Return the sender with other network settings."""
        return self.at(network=NetworkSettings(**network))

    def plan(self, alert: Alert, *services: str, **settings: Any) -> list[Any]:
        """Plan for services, by default checkout, with the other settings of a rule."""
        given = {"services": services or ("checkout",), **settings}
        structured = structure(TriggerSettings, given)
        return list(self.action.plan(alert, structured, self.installation, rule="Pages"))

    def deliver(self, delivery: Delivery, **context: Any) -> Outcome:
        """Send one delivery."""
        return self.action.send(delivery, self.installation, SendContext(**context))

    def notify(self, alert: Alert, **settings: Any) -> Delivery:
        """Plan for one service by a rule's settings, and send."""
        (delivery,) = self.plan(alert, **settings)
        assert self.deliver(delivery).delivered
        return delivery

    def send(self, alert: Alert, *services: str, **context: Any) -> Outcome:
        """Plan for one service and send."""
        (delivery,) = self.plan(alert, *services)
        return self.deliver(delivery, **context)

    @property
    def body(self) -> bytes:
        """The bytes of the last request."""
        return self.fake.requests[-1].body

    @property
    def event(self) -> Any:
        """The last request's JSON."""
        return self.fake.requests[-1].json()

    @property
    def payload(self) -> Any:
        """The last request's payload."""
        return self.event["payload"]


def connect(url: str, **keys: str) -> Installation[InstallationSettings]:
    """Return an installation at a base URL, with a key for each service."""
    services = [
        {"name": name, "integration_key": key} for name, key in (keys or dict(KEYS)).items()
    ]
    return PagerDuty().installation("acme", {"base_url": url, "services": services})


def host_of(fake: FakePagerDuty, *services: str, use: str = "trigger", **settings: Any) -> Host:
    """Return a host with one rule, which sends to services of the fake."""
    plugins = load(["pagerduty"])
    account = plugins.installation("pagerduty", "acme", connect(fake.url).settings)
    given = {"services": list(services or ("checkout",)), **settings}
    action = plugins.rule_action(f"pagerduty.{use}", account, given)
    return Host(plugins, [Rule("Pages", [action])])


def restarted_host(host: Host) -> Host:
    """Return a host as after a restart, whose rules send the resolves of unknown alerts."""
    return Host(host.plugins, [attrs.evolve(rule, resolve_unknown=True) for rule in host.rules])


def faults_of(schema: type[Any], **given: Any) -> list[str]:
    """Return the faults of settings."""
    try:
        structure(schema, given)
    except SettingsError as error:
        return [str(fault) for fault in error.faults]
    return []


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    """Return a fake that knows the two services and has no rate limit."""
    with FakePagerDuty(services=KEYS, rate_limit=0) as fake:
        yield fake


@pytest.fixture
def sender(fake: FakePagerDuty) -> Sender:
    """Return the action with an installation at the fake."""
    return Sender(fake, Trigger(Client({})), connect(fake.url))


@pytest.fixture
def respond() -> Iterator[Callable[..., Responder]]:
    """Return a function that starts a responder: for each connection, the answers."""
    with contextlib.ExitStack() as stack:

        def respond(*connections: tuple[bytes, ...]) -> Responder:
            responder = Responder(*connections)
            stack.callback(responder.close)
            return responder

        yield respond


@pytest.fixture
def unused_url() -> Iterator[str]:
    """Yield the address of a port that is taken, so that no other process listens there."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which the authority is trusted."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return {"REQUESTS_CA_BUNDLE": str(path)}


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """Return the context of a TLS server on loopback."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def https_fake(server_context: ssl.SSLContext) -> Iterator[FakePagerDuty]:
    """Return a fake over TLS."""
    with FakePagerDuty(services=KEYS, ssl_context=server_context) as fake:
        yield fake


@pytest.fixture
def proxy_for() -> Iterator[Callable[..., Proxy]]:
    with contextlib.ExitStack() as stack:

        def make(port: int, answer: bytes = b"", tls: ssl.SSLContext | None = None) -> Proxy:
            proxy = Proxy(("127.0.0.1", port), answer, tls)
            stack.callback(proxy.close)
            return proxy

        yield make


@pytest.fixture
def named_fake(authority: trustme.CA) -> Iterator[FakePagerDuty]:
    """Return a fake whose certificate is of a host that only a proxy reaches."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("events.invalid").configure_cert(context)
    with FakePagerDuty(services=KEYS, ssl_context=context) as fake:
        yield fake


@pytest.fixture
def full_url() -> Iterator[str]:
    """Return the address of a listener whose queue is full, which accepts no connection."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        host, port = listening.getsockname()
        for _ in range(8):  # more than any queue of length 0 holds
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003 -- the name of the method says it
            with contextlib.suppress(BlockingIOError):
                filler.connect((host, port))
        yield f"http://{host}:{port}"
