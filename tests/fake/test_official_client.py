"""The official ``pagerduty`` client, to which the fake must look like PagerDuty."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from pagerduty_plugin.testing import FakePagerDuty, throttling

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pagerduty
else:
    pagerduty = pytest.importorskip("pagerduty", reason="the official client is not installed")

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def https_fake() -> Iterator[tuple[FakePagerDuty, ssl.SSLContext]]:
    """Return a fake over TLS, which the client insists on, and a context that trusts it."""
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with FakePagerDuty(services={"checkout": KEY}, ssl_context=serving) as fake:
        yield fake, trusting


@pytest.fixture
def client(
    https_fake: tuple[FakePagerDuty, ssl.SSLContext],
) -> Iterator[pagerduty.EventsApiV2Client]:
    """Return the official client, pointed at the fake."""
    fake, trusting = https_fake
    with pagerduty.EventsApiV2Client(
        KEY, base_url=fake.url, verify=trusting, trust_env=False
    ) as client:
        yield client


@pytest.fixture
def fake(https_fake: tuple[FakePagerDuty, ssl.SSLContext]) -> FakePagerDuty:
    """Return the fake alone."""
    return https_fake[0]


def test_the_official_client_triggers_acknowledges_and_resolves(
    fake: FakePagerDuty, client: pagerduty.EventsApiV2Client
) -> None:
    """Uses every argument of its methods, over one connection."""
    dedup_key = client.trigger(
        "Disk full",
        "db-1",
        severity="error",
        payload={"component": "postgres", "group": "storage", "class": "disk"},
        custom_details={"used": 0.98},
        images=[{"src": "https://graphs.example/1.png", "alt": "Graph"}],
        links=[{"href": "https://wiki.example/disk", "text": "Runbook"}],
    )
    states = [fake.incidents[0].state]
    assert client.acknowledge(dedup_key) == dedup_key
    states.append(fake.incidents[0].state)
    assert client.resolve(dedup_key) == dedup_key
    states.append(fake.incidents[0].state)

    assert states == ["triggered", "acknowledged", "resolved"]
    (incident,) = fake.incidents
    assert (
        incident.service,
        incident.summary,
        incident.severity,
        incident.dedup_key,
        incident.events,
    ) == ("checkout", "Disk full", "error", dedup_key, 3)
    assert {request.connection for request in fake.requests} == {1}


def test_the_official_client_submits_change_events(
    fake: FakePagerDuty, client: pagerduty.EventsApiV2Client
) -> None:
    """Release 7.2.0 cannot make their timestamp itself."""
    client.submit(
        "Deployed 1.2",
        source="ci",
        timestamp="2026-11-23T03:14:00.123456Z",
        custom_details={"build": 7},
        links=[{"href": "https://ci.example/7", "text": "Build"}],
    )

    assert [change.summary for change in fake.changes] == ["Deployed 1.2"]
    assert fake.incidents == ()


def test_the_official_client_reports_a_rejection(
    fake: FakePagerDuty, client: pagerduty.EventsApiV2Client
) -> None:
    """It treats the fake's response like PagerDuty's."""
    with pytest.raises(pagerduty.HttpError, match="400") as caught:
        client.trigger("Disk full", "db-1", severity="fatal")

    assert caught.value.response is not None
    (fault,) = caught.value.response.json()["errors"]
    assert fault == (
        "'payload.severity' is invalid (must be one of the following: "
        "'critical', 'warning', 'error' or 'info')"
    )
    assert fake.incidents == ()


def test_the_official_client_retries_when_throttled(
    fake: FakePagerDuty, client: pagerduty.EventsApiV2Client
) -> None:
    """It recognizes the fake's 429."""
    fake.misbehave(throttling(), times=1)
    client.sleep_timer = 0

    client.trigger("Disk full", "db-1")

    assert [request.status for request in fake.requests] == [429, 202]


@pytest.mark.parametrize(("kind", "token"), [("token", None), ("bearer", "pdus+_" + "x" * 30)])
def test_the_official_rest_client_lists_and_creates(
    https_fake: tuple[FakePagerDuty, ssl.SSLContext], kind: str, token: str | None
) -> None:
    """Reads several pages, with an account's token and with an OAuth token."""
    fake, trusting = https_fake
    for number in range(110):
        fake.create_service(f"s{number:03}")
    with pagerduty.RestApiV2Client(
        fake.add_api_token(token),
        auth_type=kind,
        base_url=fake.url,
        verify=trusting,
        trust_env=False,
    ) as client:
        services = list(client.iter_all("services", params={"include[]": ["integrations"]}))
        made = client.rpost(
            f"/services/{services[-1]['id']}/integrations",
            json={"type": "events_api_v2_inbound_integration", "name": "Alerts"},
        )

    assert [service["name"] for service in services][-2:] == ["s108", "s109"]
    assert services[0]["integrations"][0]["integration_key"] == KEY
    assert fake.services[-1].integrations[0].key == made["integration_key"]
