"""Discovery against the fake's REST API, over real HTTP."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import re
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import pytest

from hostspec import Installation, Secret, SettingsError, structure
from hostspec.connect import Connected, DiscoveryError, Found, FoundState, Skipped
from pagerduty_plugin.constants import REST_URLS
from pagerduty_plugin.http import rest
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.rest import Integration, RestApi, RestError, Service
from pagerduty_plugin.installation import discovery
from pagerduty_plugin.installation.discovery import ServiceDiscovery
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import DiscoverySettings, InstallationSettings
from pagerduty_plugin.testing import (
    FakePagerDuty,
    Gate,
    Misbehaviour,
    Response,
    captive_portal,
    failing,
    garbage,
    late,
    redirecting,
    reset,
    throttling,
    truncated,
)

from .conftest import Connector, key

TOKEN = "canary+TOKEN_4567890"
BEARER = "pdus+_0XBcanaryBEARER0123456789"
V1 = "generic_events_api_inbound_integration"
V2 = "events_api_v2_inbound_integration"
E_MAIL = "generic_email_inbound_integration"
READY, MISSING, UNUSABLE = FoundState.READY, FoundState.MISSING, FoundState.UNUSABLE


@attrs.define
class Clock:
    """The fake's clock, which moves when discovery sleeps."""

    now: dt.datetime = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    slept: list[float] = attrs.field(factory=list)

    def __call__(self) -> dt.datetime:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the time."""
        self.slept.append(seconds)
        self.now += dt.timedelta(seconds=seconds)


@attrs.define
class Searcher:
    """A host that discovers services of one fake, and stores the accounts."""

    fake: FakePagerDuty
    clock: Clock
    installations: dict[str, Installation[Any]] = attrs.field(factory=dict)
    discovery: ServiceDiscovery = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.discovery = ServiceDiscovery(self.clock.sleep)

    def settings(self, **changes: Any) -> DiscoverySettings:
        """Return settings for the fake."""
        given = {
            "token": TOKEN,
            "region": self.fake.region,
            "api_url": self.fake.url,
            "base_url": self.fake.url,
        }
        return structure(DiscoverySettings, given | changes)

    def find(self, **changes: Any) -> Sequence[Found]:
        """List the services."""
        return self.discovery.find(self.settings(**changes))

    def connect(
        self, *names: str, called: str = "", **changes: Any
    ) -> Connected[InstallationSettings]:
        """Connect services by name, and keep the installation."""
        ids = {service.name: service.id for service in self.fake.services}
        connected = self.discovery.connect(
            [ids.get(name, name) for name in names],
            self.settings(**changes),
            self.installations.values(),
            name=called,
        )
        self.installations[connected.installation.name] = connected.installation
        return connected

    def table(self, name: str = "acme") -> list[tuple[str, tuple[str, ...]]]:
        """Return an installation's services: name, keys in the clear."""
        return [
            (each.name, tuple(held.reveal() for held in each.keys))
            for each in self.installations[name].settings.services
        ]

    def calls(self, method: str = "GET") -> list[str]:
        """Return the paths asked for by a method."""
        return [request.path for request in self.fake.requests if request.method == method]

    def keys(self, name: str) -> list[str]:
        """Return the keys that a service has at PagerDuty."""
        (service,) = (each for each in self.fake.services if each.name == name)
        return [integration.key for integration in service.integrations]


@pytest.fixture
def searcher() -> Iterator[Searcher]:
    """Return a searcher with a token of all scopes."""
    clock = Clock()
    with FakePagerDuty(clock=clock) as fake:
        fake.add_api_token(TOKEN)
        yield Searcher(fake, clock)


def refused(searcher: Searcher, *names: str, **changes: Any) -> str:
    """Return the reason why nothing is connected, and check that nothing was stored."""
    before = dict(searcher.installations)
    with pytest.raises(DiscoveryError) as caught:
        searcher.connect(*names, **changes)
    assert searcher.installations == before
    return str(caught.value)


def test_the_provider_offers_discovery() -> None:
    found = PagerDuty().discovery()
    assert (found.provider, found.settings) == ("pagerduty", DiscoverySettings)


def test_services_are_found_with_their_state(searcher: Searcher) -> None:
    fake = searcher.fake
    fake.add_integration("a", V1)
    fake.add_integration("a", E_MAIL)
    fake.add_integration("b", vendor="PVENDOR", name="Datadog")
    fake.add_integration("b", name="Own")
    fake.create_service("c", status="disabled")
    fake.create_service("d", status="maintenance")
    fake.add_integration("e", key_shown="nowhere", name="Hidden")
    ids = [service.id for service in fake.services]
    none = "it has no Events API v2 integration yet"
    assert searcher.find() == [
        Found(ids[0], "a", MISSING, none),
        Found(ids[1], "b", READY, "integration Own"),
        Found(ids[2], "c", UNUSABLE, "it is disabled at PagerDuty, and would page no one"),
        Found(ids[3], "d", MISSING, none),
        Found(ids[4], "e", READY, "integration Hidden"),
    ]
    (request,) = fake.requests
    headers = {name: request.header(name) for name in ("Accept", "Authorization", "Content-Type")}
    assert headers == {
        "Accept": "application/vnd.pagerduty+json;version=2",
        "Authorization": f"Token token={TOKEN}",
        "Content-Type": None,
    }
    assert "pagerduty-plugin/" in (request.header("User-Agent") or "")


def test_all_pages_of_services_are_listed(searcher: Searcher) -> None:
    names = [f"s{number:03}" for number in range(205)]
    for name in names:
        searcher.fake.add_service(name)
    assert [found.name for found in searcher.find()] == names
    query = "include%5B%5D=integrations&limit=100&offset="
    assert searcher.calls() == [f"/services?{query}{offset}" for offset in (0, 100, 200)]
    assert len({request.connection for request in searcher.fake.requests}) == 1
    assert [found.name for found in searcher.find(query="S20")] == names[200:]


def test_a_listing_waits_for_the_rate_limit_once(searcher: Searcher) -> None:
    clock = searcher.clock
    with FakePagerDuty(clock=clock, rest_rate_limit=2) as fake:
        fake.add_api_token(TOKEN)
        for number in range(350):
            fake.create_service(f"s{number:03}")
        limited = Searcher(fake, clock)
        assert len(limited.find()) == 350
        assert clock.slept == [60]
        statuses = [request.status for request in fake.requests]
        assert statuses == [200, 200, 429, 200, 200]


@pytest.mark.parametrize(
    ("header", "slept"),
    [(None, [10]), ("3", [3]), ("0", [0]), ("-5", [0]), ("61", []), ("nonsense", [10])],
)
def test_the_pause_is_bounded_and_used_once(
    searcher: Searcher, header: str | None, slept: list[float]
) -> None:
    searcher.fake.misbehave(throttling(retry_after=header))
    with pytest.raises(DiscoveryError) as caught:
        searcher.find()
    reason = "PagerDuty's rate limit is used up (429); try again in a few minutes"
    assert str(caught.value) == reason
    assert searcher.clock.slept == slept
    assert len(searcher.fake.requests) == len(slept) + 1


def test_too_many_services_are_reported(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "MOST_SERVICES", 200)
    for number in range(200):
        searcher.fake.create_service(f"s{number:03}")
    assert len(searcher.find()) == 200
    searcher.fake.create_service("one more")
    with pytest.raises(DiscoveryError, match=r"lists at most 200 services, .*use query"):
        searcher.find()
    assert len(searcher.find(query="more")) == 1


def test_an_existing_key_is_used(searcher: Searcher) -> None:
    fake = searcher.fake
    fake.add_integration("checkout", V1)
    fake.add_integration("checkout", vendor="PVENDOR")
    wanted = fake.add_integration("checkout").key
    fake.add_integration("checkout")
    connected = searcher.connect("checkout")
    assert searcher.table() == [("checkout", (wanted,))]
    (service,) = connected.installation.settings.services
    assert (service.id, service.pagerduty_id, service.pagerduty_name) == (
        "service-1",
        fake.services[0].id,
        "checkout",
    )
    settings = connected.installation.settings
    assert (settings.region, settings.subdomain, settings.base_url) == ("us", "acme", fake.url)
    assert (connected.again, connected.notes, connected.skipped) == (False, (), ())
    assert searcher.calls("POST") == []


def test_an_integration_of_a_vendor_is_used_if_it_is_the_only_one(searcher: Searcher) -> None:
    wanted = searcher.fake.add_integration("checkout", vendor="PVENDOR").key
    searcher.connect("checkout")
    assert searcher.table() == [("checkout", (wanted,))]


def test_a_key_missing_in_the_list_is_read_separately(searcher: Searcher) -> None:
    wanted = searcher.fake.add_integration("checkout", key_shown="alone")
    searcher.connect("checkout")
    assert searcher.table() == [("checkout", (wanted.key,))]
    assert searcher.calls()[-1].endswith(f"/integrations/{wanted.id}")


def test_a_missing_integration_is_created_and_pages(searcher: Searcher) -> None:
    fake = searcher.fake
    fake.add_integration("platform", E_MAIL)
    fake.add_service("checkout")
    searcher.connect("platform", "checkout", integration_name="alerthost")
    made = fake.services[0].integrations[-1]
    assert (made.type, made.name) == (V2, "alerthost")
    assert searcher.table() == [
        ("platform", (made.key,)),
        ("checkout", tuple(searcher.keys("checkout"))),
    ]
    (request,) = (each for each in fake.requests if each.method == "POST")
    assert request.header("Content-Type") == "application/json"
    assert request.json() == {
        "integration": {
            "type": V2,
            "name": "alerthost",
            "service": {"id": fake.services[0].id, "type": "service_reference"},
        }
    }
    event = b'{"routing_key":"%s","event_action":"trigger","dedup_key":"k",' % made.key.encode()
    event += b'"payload":{"summary":"Down","source":"s","severity":"error"}}'
    Client({}).post(f"{fake.url}/v2/enqueue", event)
    assert [incident.service for incident in fake.incidents] == ["platform"]


def test_connecting_again_adds_nothing(searcher: Searcher) -> None:
    searcher.fake.create_service("platform")
    searcher.fake.add_service("checkout")
    first = searcher.connect("platform", "checkout", "platform")
    for _ in range(2):
        again = searcher.connect("checkout", "platform", "checkout")
        assert again.installation == first.installation
        assert (again.again, again.notes) == (True, ())
    assert len(searcher.calls("POST")) == 1
    assert list(searcher.installations) == ["acme"]


def test_a_configured_key_is_kept(searcher: Searcher) -> None:
    """Another key would be preferred otherwise; the key identifies the account."""
    for number in (1, 2, 3):
        searcher.fake.add_service("checkout", key(number))
    shop = {"name": "Shop", "integration_key": key(3)}
    raw = {"base_url": searcher.fake.url, "services": [shop]}
    searcher.installations["mine"] = PagerDuty().installation("mine", raw)
    connected = searcher.connect("checkout", called="ignored")
    assert (connected.again, connected.notes) == (True, ())
    assert searcher.table("mine") == [("Shop", (key(3),))]
    (service,) = connected.installation.settings.services
    assert (service.pagerduty_id, service.id) == (searcher.fake.services[0].id, "Shop")
    assert connected.installation.settings.subdomain == "acme"


def test_a_new_key_and_name_are_merged(searcher: Searcher) -> None:
    searcher.fake.add_service("checkout", key(1))
    service_id = searcher.fake.services[0].id
    raw = {
        "subdomain": "acme",
        "base_url": searcher.fake.url,
        "services": [
            {
                "name": "old",
                "integration_key": key(9),
                "pagerduty_id": service_id,
                "pagerduty_name": "old",
            }
        ],
    }
    searcher.installations["a"] = PagerDuty().installation("a", raw)
    connected = searcher.connect("checkout")
    assert searcher.table("a") == [("checkout", (key(1), key(9)))]
    assert connected.notes == (
        "The service old has a new key; it keeps the old one as well.",
        "The service old is now called checkout.",
    )


def test_install_flow_and_discovery_recognise_the_same_services(searcher: Searcher) -> None:
    searcher.fake.add_service("checkout", key(1))
    connector = Connector()
    entry = {"integration_key": key(1), "name": "checkout", "id": "", "type": "service"}
    connector.connect(entry)
    searcher.installations = connector.installations
    assert searcher.connect("checkout").again
    granted = entry | {"id": searcher.fake.services[0].id, "integration_key": key(2)}
    assert connector.connect(granted).again
    assert searcher.table("Acme Inc") == [("checkout", (key(2), key(1)))]


def test_a_new_installation_gets_a_unique_name(searcher: Searcher) -> None:
    searcher.fake.add_service("checkout")
    searcher.connect("checkout", called=" Pager ")
    assert list(searcher.installations) == ["Pager"]
    with FakePagerDuty(subdomain="labs", clock=searcher.clock) as fake:
        fake.add_api_token(TOKEN)
        fake.add_service("checkout")
        labs = Searcher(fake, searcher.clock, searcher.installations)
        assert not labs.connect("checkout", called="Pager").again
    assert list(searcher.installations) == ["Pager", "Pager (labs)"]


def test_each_region_has_its_own_rest_address(searcher: Searcher) -> None:
    with FakePagerDuty(region="eu", clock=searcher.clock, subdomain="labs") as fake:
        fake.add_api_token(BEARER)
        fake.add_service("checkout")
        eu = Searcher(fake, searcher.clock)
        connected = eu.connect("checkout", token=BEARER)
        assert fake.requests[0].header("Authorization") == f"Bearer {BEARER}"
        settings = connected.installation.settings
        assert (settings.region, settings.subdomain, connected.notes) == ("eu", "labs", ())
        again = eu.connect("checkout", token=BEARER, region="us")
        eu.installations.clear()
        mixed_up = eu.connect("checkout", token=BEARER, region="us")
    assert again.notes == (
        "labs keeps its settings (region eu, not us); to change them, remove it and connect it "
        "again.",
    )
    assert mixed_up.notes == (
        "The account's pages are in the region eu, but its events go to the region us; check the "
        "region.",
    )
    eu = DiscoverySettings(token=Secret(TOKEN), region="eu")
    assert (eu.rest_url, REST_URLS["us"]) == (
        "https://api.eu.pagerduty.com",
        "https://api.pagerduty.com",
    )


@pytest.mark.parametrize(
    ("kind", "token", "header"),
    [
        ("auto", TOKEN, f"Token token={TOKEN}"),
        ("auto", BEARER, f"Bearer {BEARER}"),
        ("account", BEARER, f"Token token={BEARER}"),
        ("oauth", "a1" * 16, f"Bearer {'a1' * 16}"),
    ],
)
def test_the_kind_of_a_token_comes_from_its_length_or_the_settings(
    searcher: Searcher, kind: str, token: str, header: str
) -> None:
    searcher.fake.add_api_token(BEARER)
    with_kind = {"token": token, "token_kind": kind}
    with contextlib.suppress(DiscoveryError):  # the fake does not know each of them
        searcher.find(**with_kind)
    assert searcher.fake.requests[0].header("Authorization") == header


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("a1" * 16, "The API token looks like an integration key (32 letters and digits); an"),
        (f"Bearer {BEARER}", "The API token contains a blank or an invalid character"),
        ("äcanary0123456789012", "The API token contains a blank or an invalid character"),
        ("env:PD_CANARY_NOT_SET", "The API token cannot be read: the environment variable"),
    ],
)
def test_an_invalid_token_is_never_sent(searcher: Searcher, token: str, reason: str) -> None:
    with pytest.raises(DiscoveryError, match=re.escape(reason)) as caught:
        searcher.find(token=token)
    assert token.startswith("env:") or token not in str(caught.value)
    assert searcher.fake.requests == ()


def test_a_token_of_the_other_region_is_reported(searcher: Searcher) -> None:
    with pytest.raises(DiscoveryError) as caught:
        searcher.find(token="y_NbAkKc66ryYTWUXYEu")
    assert str(caught.value) == (
        "PagerDuty does not know the API token (401) in the region us, at "
        f"{searcher.fake.url}; if the account belongs to another region, try eu"
    )


def test_a_missing_scope_is_named(searcher: Searcher) -> None:
    searcher.fake.add_api_token(TOKEN, scopes=[])
    for ask in (searcher.find, lambda: searcher.connect("PANY")):
        with pytest.raises(DiscoveryError) as caught:
            ask()
        assert str(caught.value) == (
            "The API token needs the scope services.read (PagerDuty answered "
            "403: Access Denied; needs the scope services.read)"
        )


def test_a_read_only_token_connects_existing_integrations(
    searcher: Searcher,
) -> None:
    searcher.fake.add_api_token(TOKEN, scopes=["services.read"])
    searcher.fake.add_service("checkout")
    searcher.fake.create_service("platform")
    assert refused(searcher, "checkout", "platform") == (
        "The service platform: it has no Events API v2 integration, and the API token may not "
        "create one: it needs the scope services.write, or full access. Nothing was connected"
    )
    assert searcher.keys("platform") == []
    searcher.connect("checkout")
    assert [name for name, _ in searcher.table()] == ["checkout"]


def test_integrations_created_before_a_failure_are_connected(searcher: Searcher) -> None:
    for name in ("a", "b", "c"):
        searcher.fake.create_service(name)
    searcher.fake.add_service("d")
    second = searcher.fake.services[1].id
    searcher.fake.misbehave(failing(503), path=f"/services/{second}/integrations")
    connected = searcher.connect("a", "b", "c", "d")
    assert [name for name, _ in searcher.table()] == ["a", "d"]
    none = "it has no Events API v2 integration, and creating one failed"
    assert connected.skipped == (
        Skipped(
            "service",
            "b",
            f"{none}: PagerDuty answered 503; try again later; perhaps it was created, so list "
            "the services again",
        ),
        Skipped("service", "c", f"{none} for another service"),
    )
    searcher.fake.behave()
    assert searcher.connect("b", "c").skipped == ()
    assert [len(searcher.keys(name)) for name in "abcd"] == [1, 1, 1, 1]


def test_a_created_integration_with_a_lost_reply_is_found_later(searcher: Searcher) -> None:
    searcher.fake.create_service("a")
    searcher.fake.misbehave(reset(processed="at once"), path="/integrations", times=1)
    reason = refused(searcher, "a")
    assert "PagerDuty was not reached: no connection" in reason
    assert "perhaps it was created, so list the services again. Nothing was connected" in reason
    searcher.connect("a")
    assert searcher.table() == [("a", tuple(searcher.keys("a")))]
    assert len(searcher.keys("a")) == 1


def test_a_key_missing_in_the_creation_reply_is_read(searcher: Searcher) -> None:
    service_id = searcher.fake.create_service("a")
    made_id = FakePagerDuty().add_integration("a").id  # ids are made of names
    bare = json.dumps({"integration": {"id": made_id, "type": V2}}).encode()
    how = Misbehaviour(name="bare", processed="at once", response=Response(201, bare))
    path = f"/services/{service_id}/integrations"
    searcher.fake.misbehave(how, path=path, times=1)
    searcher.connect("a")
    assert searcher.table() == [("a", tuple(searcher.keys("a")))]

    # if reading it fails, that is reported, and the next discovery finds it
    other = searcher.fake.create_service("b")
    bare = bare.replace(made_id.encode(), FakePagerDuty().add_integration("b").id.encode())
    how = Misbehaviour(name="bare", processed="at once", response=Response(201, bare))
    searcher.fake.misbehave(how, path=f"/services/{other}/integrations", times=1)
    searcher.fake.misbehave(failing(500), path=f"/services/{other}/integrations/", times=1)
    assert refused(searcher, "b").startswith("No service was connected: b (service): it has no")
    assert searcher.connect("b").skipped == ()
    assert len(searcher.keys("b")) == 1


def test_unusable_services_are_skipped_with_a_reason(searcher: Searcher) -> None:
    fake = searcher.fake
    fake.add_service("checkout")
    fake.create_service("off", status="disabled")
    fake.add_integration("hidden", key_shown="nowhere", name="One")
    fake.add_integration("hidden", key_shown="nowhere", name="Two")
    names = ("checkout", "off", "hidden", "PGONE", "../abilities", "")
    connected = searcher.connect(*names)
    assert [name for name, _ in searcher.table()] == ["checkout"]
    gone = "PagerDuty has no such service"
    assert connected.skipped == (
        Skipped("service", "off", "it is disabled at PagerDuty, and would page no one"),
        Skipped("service", "PGONE", gone),
        Skipped("service", "../abilities", gone),
        Skipped("service", "", gone),
        Skipped(
            "service",
            "hidden",
            "PagerDuty shows no key of its integration One, Two; add it by hand",
        ),
    )
    assert refused(searcher, "off", "PGONE") == (
        "No service was connected: off (service): it is disabled at PagerDuty, and would page "
        "no one; PGONE (service): PagerDuty has no such service"
    )
    assert refused(searcher) == "No service was connected: none was chosen"
    assert searcher.calls("POST") == []


def shape(**members: object) -> Misbehaviour:
    """Return a misbehaviour that replies with some JSON."""
    return Misbehaviour(name="shape", response=Response(200, json.dumps(members).encode()))


def error_reply(error: object, status: int = 400) -> Misbehaviour:
    """Return a misbehaviour that replies with an error."""
    return failing(status, json.dumps({"error": error}).encode())


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (failing(500), "PagerDuty answered 500; try again later"),
        (failing(402, b"[]"), "PagerDuty answered 402 (asked at "),
        (error_reply("a\n b"), "PagerDuty answered 400: a b (asked at "),
        (
            error_reply({"message": "m", "errors": "one"}),
            "PagerDuty answered 400: m; one (asked at ",
        ),
        (error_reply({"message": 1, "errors": ["e", 2]}), "PagerDuty answered 400: e (asked at "),
        (error_reply({}), "PagerDuty answered 400 (asked at "),
        (error_reply("x " * 400), f"PagerDuty answered 400: {'x ' * 150}… (asked at "),
        (
            error_reply(f"no {TOKEN} here {key(1)}."),
            "PagerDuty answered 400: no ******** here …. (asked at ",
        ),
        (captive_portal(), "The reply is not PagerDuty's: 200, without JSON (asked at "),
        (truncated(), "The reply is not PagerDuty's: 200, without JSON (asked at "),
        (
            redirecting("https://evil.example/"),
            "The reply is not PagerDuty's: 307, a redirect to https://evil.example/; check ",
        ),
        (garbage(), "PagerDuty was not reached: the reply is not HTTP (asked at "),
        (reset(), "PagerDuty was not reached: no connection: "),
        (shape(), "PagerDuty's answer has no services of the documented shape (asked at "),
        (shape(services={}), "PagerDuty's answer has no services of the documented shape"),
        (shape(services=[1]), "PagerDuty's answer has no service of the documented shape"),
        (
            shape(services=[{"id": "P1"}] * 101),
            "PagerDuty's answer has no services of the documented shape",
        ),
        (
            Misbehaviour(name="deep", response=Response(200, b'{"services":' + b"[" * 100_000)),
            "The reply is not PagerDuty's: 200, without JSON (asked at ",
        ),
        (shape(services=[{"id": "../x"}]), "PagerDuty's answer has no service of the"),
        (
            shape(services=[{"id": "P1", "integrations": [None]}]),
            "PagerDuty's answer has no integration of the documented shape",
        ),
    ],
)
def test_failures_are_reported_without_secrets(
    searcher: Searcher, how: Misbehaviour, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    searcher.fake.misbehave(how)
    searcher.fake.add_service("checkout", key(1))
    for ask in (searcher.find, lambda: searcher.connect("checkout")):
        with pytest.raises(DiscoveryError) as caught:
            ask()
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert_no_secret(shown + caplog.text + repr(caught.value.__context__))
        if ask == searcher.find:
            assert str(caught.value).startswith(reason), caught.value


def test_an_endless_reply_is_read_in_part(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "LARGEST_PAGE", 100_000)
    blanks = Misbehaviour(
        name="huge", response=Response(200, b'{"services":[' + b" " * 200_000 + b"]}")
    )
    searcher.fake.misbehave(blanks)
    with pytest.raises(DiscoveryError, match="The reply is not PagerDuty's: 200, without JSON"):
        searcher.find()


def test_a_huge_service_is_read_in_part(searcher: Searcher) -> None:
    """Its integrations are read one by one, and its name is kept."""
    integrations = [{"id": f"I{at}", "type": rest.EVENTS_API_V2} for at in range(1000)]
    service = {"id": "P1", "name": "n" * 1000, "integrations": integrations}
    searcher.fake.misbehave(shape(services=[service], service=service), path="/services")
    (found,) = searcher.find()
    assert found.name == "n" * 254 + "…"
    searcher.fake.behave()
    searcher.fake.misbehave(shape(service=service), times=1)
    shown = {"id": "I1", "type": rest.EVENTS_API_V2}
    searcher.fake.misbehave(shape(integration=shown), path="/integrations")
    before = len(searcher.fake.requests)
    with pytest.raises(DiscoveryError, match="PagerDuty shows no key of its integration I1, "):
        searcher.connect("P1")
    assert len(searcher.fake.requests) - before == 1 + rest.MOST_INTEGRATIONS


@pytest.mark.parametrize("token", [TOKEN, BEARER, f"{BEARER}=="])
def test_a_token_in_a_redirect_is_masked(searcher: Searcher, token: str) -> None:
    searcher.fake.misbehave(redirecting(f"https://evil.example/{token}"))
    with pytest.raises(DiscoveryError, match=r"a redirect to https://evil\.example/") as caught:
        searcher.find(token=token)
    assert "canary" not in str(caught.value)


def assert_no_secret(text: str) -> None:
    for secret in (TOKEN, BEARER, key(1)):
        assert secret not in text


def test_an_unreachable_rest_api_is_reported(searcher: Searcher) -> None:
    url = searcher.fake.url
    searcher.fake.stop()
    with pytest.raises(DiscoveryError, match=r"PagerDuty was not reached: no connection: "):
        searcher.find(api_url=url)


def test_nothing_shows_a_key_or_the_token(
    searcher: Searcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    searcher.fake.add_service("checkout", key(1))
    searcher.fake.add_integration("checkout", key_shown="alone")
    found, connected = searcher.find(), searcher.connect("checkout")
    read = list(
        RestApi(searcher.fake.url, f"Token token={TOKEN}", environment={}).services("checkout")
    )
    assert_no_secret(f"{found!r} {connected!r} {searcher.settings()!r} {read!r} {caplog.text}")
    assert searcher.table()[0][1] == (key(1),)


def test_incomplete_replies_are_accepted(searcher: Searcher) -> None:
    reference = {"id": "PI", "type": f"{V2}_reference", "summary": "Sum"}
    services = [
        {"id": "P1"},
        {"id": "P2", "summary": "two", "integrations": [reference], "html_url": "https://[x"},
        {"id": "P2", "name": "two", "html_url": "https://relay.example/services/P2"},
        {"id": "P3", "name": "three", "html_url": "https://labs.eu.pagerduty.com/x"},
    ]
    how = shape(services=services)
    searcher.fake.misbehave(how)
    api = RestApi(searcher.fake.url, "Bearer x", environment={})
    read = list(api.services())
    assert read[1] == Service(
        "P2", "two", "", "", "", (Integration("PI", V2, "Sum", vendor=False, key=None),)
    )
    assert [(each.name, each.subdomain, each.region) for each in read] == [
        ("P1", "", ""),
        ("two", "", ""),
        ("two", "", ""),
        ("three", "labs", "eu"),
    ]
    assert [found.id for found in searcher.find()] == ["P1", "P2", "P3"]
    with pytest.raises(RestError) as caught:
        api.service("a/b")
    assert caught.value.status == 404


def test_an_account_without_pages_is_called_pagerduty(searcher: Searcher) -> None:
    key_shown = {"id": "PI", "type": V2, "integration_key": f" {key(1)} "}
    how = shape(service={"id": "P1", "name": "a", "integrations": [key_shown]})
    searcher.fake.misbehave(how)
    connected = searcher.connect("P1")
    assert (connected.installation.name, connected.notes) == ("PagerDuty", ())
    assert searcher.table("PagerDuty") == [("a", (key(1),))]
    key_shown["integration_key"] = "R_short"
    searcher.fake.behave()
    searcher.fake.misbehave(shape(service={"id": "P2", "integrations": [key_shown]}))
    assert "PagerDuty shows no key of its integration PI" in refused(searcher, "P2")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({}, "token: missing; it is required"),
        ({"token": "x", "region": "ap"}, "region: 'ap' is unknown"),
        ({"token": "x", "token_kind": "user"}, "token_kind: 'user' is unknown"),
        ({"token": "x", "integration_name": " "}, "integration_name: is blank"),
        ({"token": "x", "api_url": "http://a.example"}, "api_url: 'http://a.example' is not enc"),
        ({"token": "x", "base_url": "x"}, "base_url: 'x' is not a base URL"),
        (
            {"token": "x", "api_url": "https://api.eu.pagerduty.com/"},
            "api_url: 'https://api.eu.pagerduty.com/' belongs to the region 'eu'; use region = ",
        ),
        (
            {"token": "x", "base_url": "https://events.eu.pagerduty.com"},
            "base_url: 'https://events.eu.pagerduty.com' belongs to the region 'eu'",
        ),
        (
            {
                "token": "x",
                "api_url": "http://127.0.0.1:1",
                "network": {"proxy": "http://proxy.example:3128"},
            },
            "network.proxy: could read the token: the API URL is not encrypted",
        ),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(fault)):
        structure(DiscoverySettings, settings)


def test_network_settings_apply_to_discovery_and_installation(searcher: Searcher) -> None:
    searcher.fake.add_service("checkout")
    network = {"proxy": "direct", "timeout": 7.0}
    connected = searcher.connect("checkout", network=network, dedup_prefix="watch-1")
    assert connected.installation.settings.network == searcher.settings(network=network).network
    assert connected.installation.settings.dedup_prefix == "watch-1"
    with pytest.raises(DiscoveryError, match=r"network\.proxy: the environment variable PD_NO"):
        searcher.find(network={"proxy": "env:PD_NO_PROXY"}, api_url="", base_url="")


def test_unchanged_network_settings_are_reported(searcher: Searcher) -> None:
    name = "Checkout"
    searcher.fake.create_service(name)
    searcher.connect(name)
    way = {"connect_timeout": 7}
    connected = searcher.connect(name, network=way)
    assert connected.notes == (
        "acme keeps its settings (network); to change them, remove it and connect it again.",
    )
    searcher.installations.clear()
    assert searcher.connect(name, network=way).notes == ()
    assert searcher.connect(name, network=way).notes == ()
    assert searcher.connect(name).notes == ()


def test_a_rest_call_times_out(searcher: Searcher) -> None:
    gate = Gate()
    searcher.fake.misbehave(late(gate))
    with pytest.raises(DiscoveryError, match="PagerDuty was not reached: no reply within 1 s"):
        searcher.find(network={"timeout": 1.0})
    gate.open()


def test_discovery_is_thread_safe(searcher: Searcher) -> None:
    for number in range(101):
        searcher.fake.create_service(f"s{number:03}")
    lengths: list[int] = []
    threads = [
        threading.Thread(target=lambda: lengths.append(len(searcher.find()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [101] * 4


def test_the_limits_are_pagerdutys() -> None:
    assert (rest.PAGE, rest.MOST_SERVICES, rest.LONGEST_WAIT) == (100, 10_000, 60)
    assert discovery.DiscoverySettings(token=Secret("x")).integration_name == "pagerduty-plugin"
