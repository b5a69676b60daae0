"""The raw responses of the fake's REST API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pagerduty_plugin.testing import FakePagerDuty, failing, reset_unread

from .conftest import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCEPT = "application/vnd.pagerduty+json;version=2"
TOKEN = "y_NbAkKc66ryYTWUXYEu"
BEARER = "pdus+_0XBPWQQ_canary0123456789"
V1 = "generic_events_api_inbound_integration"
V2 = "events_api_v2_inbound_integration"
E_MAIL = "generic_email_inbound_integration"


@attrs.frozen
class Caller:
    """Calls the REST API with a token."""

    sender: Any

    def get(self, path: str, **headers: str) -> Any:
        """Send a GET."""
        return self.sender.request("GET", path, None, self._headers(headers))

    def post(self, path: str, body: object, **headers: str) -> Any:
        """Send a POST; bytes are sent unchanged."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.sender.request(
            "POST", path, content, self._headers({"Content-Type": "application/json"} | headers)
        )

    def names(self, query: str = "") -> list[str]:
        """List names of services."""
        return [each["name"] for each in self.get(f"/services{query}").json()["services"]]

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        given = {"Accept": ACCEPT, "Authorization": f"Token token={TOKEN}"} | headers
        return {name.replace("_", "-"): value for name, value in given.items() if value}


@pytest.fixture
def clock() -> Clock:
    """Return the fake's clock."""
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> Iterator[FakePagerDuty]:
    """Return a fake with a token."""
    with FakePagerDuty(clock=clock) as fake:
        fake.add_api_token(TOKEN)
        yield fake


@pytest.fixture
def caller(fake: FakePagerDuty, connect: Callable[[FakePagerDuty], Any]) -> Caller:
    """Return a caller with that token."""
    return Caller(connect(fake))


def wanted(service_id: str, **changes: object) -> dict[str, Any]:
    """Build the body that creates an integration."""
    reference = {"id": service_id, "type": "service_reference"}
    return {"integration": {"type": V2, "name": "Alerts", "service": reference} | changes}


def problem(response: Any) -> tuple[int, int, str]:
    """Return status, code and texts of an error."""
    error = response.json()["error"]
    assert sorted(error) == ["code", "errors", "message"]
    return response.status, error["code"], "; ".join((error["message"], *error["errors"]))


def test_a_service_is_shown_with_references_or_with_its_integrations(
    fake: FakePagerDuty, caller: Caller
) -> None:
    key = fake.add_service("checkout")
    (service,) = fake.services
    (integration,) = service.integrations
    bare = caller.get(f"/services/{service.id}").json()["service"]
    assert bare == {
        "id": service.id,
        "type": "service",
        "summary": "checkout",
        "self": f"https://api.pagerduty.com/services/{service.id}",
        "html_url": f"https://acme.pagerduty.com/service-directory/{service.id}",
        "name": "checkout",
        "description": None,
        "status": "active",
        "integrations": [
            {
                "id": integration.id,
                "type": f"{V2}_reference",
                "summary": "Events API V2",
                "self": f"https://api.pagerduty.com/services/{service.id}/integrations/{integration.id}",
                "html_url": (
                    f"https://acme.pagerduty.com/service-directory/{service.id}/integrations/"
                    f"{integration.id}"
                ),
            }
        ],
    }
    full = caller.get(f"/services/{service.id}?include[]=integrations").json()["service"]
    (shown,) = full["integrations"]
    assert (shown["type"], shown["name"], shown["integration_key"]) == (V2, "Events API V2", key)
    assert (shown["service"]["id"], shown["vendor"]) == (service.id, None)
    assert service.id.startswith("P")
    assert service.id.isalnum()
    assert key not in repr(fake.services)


def test_a_service_may_have_integrations_of_every_type(
    fake: FakePagerDuty, caller: Caller, trigger: Callable[..., dict[str, Any]]
) -> None:
    """Only the key of an Events API v2 integration takes events."""
    made = [
        fake.add_integration("mixed", V1),
        fake.add_integration("mixed", E_MAIL),
        fake.add_integration("mixed", vendor="PAM4FGS", name="Datadog"),
        fake.add_integration("mixed", key="a" * 32, key_shown="alone"),
        fake.add_integration("mixed", key_shown="nowhere"),
    ]
    (service,) = fake.services
    assert service.integrations == tuple(made)
    path = f"/services/{service.id}"
    listed = caller.get("/services?include[]=integrations").json()["services"][0]["integrations"]
    alone = [caller.get(f"{path}/integrations/{each.id}").json()["integration"] for each in made]
    assert [each["type"] for each in listed] == [V1, E_MAIL, V2, V2, V2]
    assert ["integration_key" in each for each in listed] == [True, False, True, False, False]
    assert ["integration_key" in each for each in alone] == [True, False, True, True, False]
    assert [each["vendor"] and each["vendor"]["id"] for each in alone].count("PAM4FGS") == 1
    assert listed[1]["integration_email"].endswith("@acme.pagerduty.com")
    statuses = [
        caller.sender.send(trigger(routing_key=each.key)).status for each in made if each.key
    ]
    assert statuses == [400, 202, 202, 202]


def test_a_created_integration_has_a_key_that_works(
    fake: FakePagerDuty, caller: Caller, trigger: Callable[..., dict[str, Any]]
) -> None:
    service_id = fake.create_service("platform")
    assert caller.sender.send(trigger()).status == 400  # no key is taken unseen any more
    made = caller.post(f"/services/{service_id}/integrations", wanted(service_id))
    assert made.status == 201
    integration = made.json()["integration"]
    assert (integration["name"], integration["type"]) == ("Alerts", V2)
    assert caller.sender.send(trigger(routing_key=integration["integration_key"])).status == 202
    assert [incident.service for incident in fake.incidents] == ["platform"]
    shown = caller.get(f"/services/{service_id}/integrations/{integration['id']}")
    assert shown.json()["integration"] == integration


def test_services_come_in_pages_sorted_by_name(fake: FakePagerDuty, caller: Caller) -> None:
    for number in range(30, 0, -1):
        fake.create_service(f"s{number:02}")
    first = caller.get("/services").json()
    assert (first["limit"], first["offset"], first["more"], first["total"]) == (25, 0, True, None)
    assert len(first["services"]) == 25
    last = caller.get("/services?limit=20&offset=20&total=true").json()
    assert [each["name"] for each in last["services"]] == [f"s{n}" for n in range(21, 31)]
    assert (last["more"], last["total"]) == (False, 30)
    assert caller.names("?query=S1&limit=100") == [f"s1{n}" for n in range(10)]
    assert caller.names("?name=s07") == ["s07"]
    assert caller.get("/services?limit=100&offset=9900").status == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("?limit=101", "'limit' must be from 1 to 100"),
        ("?limit=0", "'limit' must be from 1 to 100"),
        ("?limit=x", "'limit' must be a whole number"),
        ("?offset=-1", "'offset' must be a whole number"),
        ("?limit=100&offset=9901", "'offset' and 'limit' reach beyond 10000"),
        ("?total=True", "'total' must be true or false"),
        ("?sort=name", "'sort' is not a known parameter"),
        ("?include[]=teams", "'include[]' must be integrations, the only one known here"),
        ("?limit", "the query cannot be read"),
        ("?query=%FF", "the query cannot be read"),
        ("/{id}?limit=1", "'limit' is not a known parameter"),
        ("/{id}?include[]=x", "'include[]' must be integrations, the only one known here"),
        ("/{id}/integrations/{id}?total=true", "'total' is not a known parameter"),
    ],
)
def test_a_wrong_query_is_refused(
    fake: FakePagerDuty, caller: Caller, path: str, words: str
) -> None:
    service_id = fake.create_service("a")
    response = caller.get("/services" + path.replace("{id}", service_id))
    assert problem(response) == (400, 2001, f"Invalid Input Provided; {words}")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": ""}, 401, 2006),
        ({"Authorization": TOKEN}, 401, 2006),
        ({"Authorization": f"Bearer {TOKEN}"}, 401, 2006),
        ({"Authorization": "Token token=z_NbAkKc66ryYTWUXYEu"}, 401, 2006),
        ({"Authorization": f"Token token={BEARER}"}, 401, 2006),
        ({"Authorization": f"Bearer {BEARER}"}, 200, 0),
        ({"Accept": ""}, 400, 2001),
        ({"Accept": "application/json"}, 400, 2001),
        ({"Accept": "application/vnd.pagerduty+json; version=2"}, 200, 0),
    ],
)
def test_the_headers_are_checked(
    fake: FakePagerDuty, caller: Caller, headers: dict[str, str], status: int, code: int
) -> None:
    fake.add_api_token(BEARER)
    response = caller.get("/services", **headers)
    assert response.status == status
    assert not code or problem(response)[1] == code


def test_a_token_of_one_region_is_unknown_in_the_other(
    connect: Callable[[FakePagerDuty], Any],
) -> None:
    with FakePagerDuty(region="eu", subdomain="labs") as fake:
        caller = Caller(connect(fake))
        assert caller.get("/services").status == 401
        fake.add_api_token(TOKEN)
        fake.create_service("a")
        (service,) = caller.get("/services").json()["services"]
    assert service["self"].startswith("https://api.eu.pagerduty.com/services/P")
    assert service["html_url"].startswith("https://labs.eu.pagerduty.com/service-directory/P")


def test_a_token_is_limited_to_its_scopes(fake: FakePagerDuty, caller: Caller) -> None:
    path = f"/services/{(service_id := fake.create_service('a'))}/integrations"
    fake.add_api_token(TOKEN, scopes=["services.read"])
    assert caller.get("/services").status == 200
    refused = caller.post(path, wanted(service_id))
    assert problem(refused) == (403, 2010, "Access Denied; needs the scope services.write")
    fake.add_api_token(TOKEN, scopes=["services.write"])
    assert caller.post(path, wanted(service_id)).status == 201
    assert problem(caller.get("/services"))[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/services/PNONE",
        "/services/PNONE/integrations/PNONE",
        "/services/{id}/integrations/PNONE",
        "/services/{id}/integrations",
        "/services/{id}/other",
        "/services/",
        "/servicesx/PNONE/more/of/it",
    ],
)
def test_unknown_paths_are_not_found(fake: FakePagerDuty, caller: Caller, path: str) -> None:
    service_id = fake.create_service("a")
    fake.add_integration("a")
    assert problem(caller.get(path.replace("{id}", service_id))) == (404, 2100, "Not Found")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "the body must be one JSON object"),
        ({}, "'integration' must be the only member, and an object"),
        ({"integration": "x"}, "'integration' must be the only member, and an object"),
        (wanted("P") | {"more": 1}, "'integration' must be the only member, and an object"),
        (wanted("PX"), "'integration.service' must be a reference to the service in the path"),
        ({"integration": {"type": V2, "name": " "}}, "'integration.name' is missing or blank"),
        ({"integration": {"type": V2, "name": "a", "x": 1}}, "'integration.x' is not known here"),
        ({"integration": {"type": E_MAIL, "name": "a"}}, "'integration.type' must be one of aws"),
    ],
)
def test_a_wrong_integration_is_refused(
    fake: FakePagerDuty, caller: Caller, body: object, words: str
) -> None:
    service_id = fake.create_service("a")
    status, code, message = problem(caller.post(f"/services/{service_id}/integrations", body))
    assert (status, code) == (400, 2001)
    assert message.startswith(f"Invalid Input Provided; {words}")
    assert not fake.services[0].integrations


def test_an_integration_needs_json_and_a_service(fake: FakePagerDuty, caller: Caller) -> None:
    service_id = fake.create_service("a")
    path = f"/services/{service_id}/integrations"
    bare = {"integration": {"type": V1, "name": "a"}}
    assert caller.post(path, bare, Content_Type="text/plain").status == 400
    assert caller.post(f"{path}?x=1", bare).status == 400
    assert problem(caller.post("/services/PX/integrations", bare))[0] == 404
    assert caller.post(path, bare).status == 201


def test_calls_beyond_the_rate_limit_are_throttled(
    clock: Clock, connect: Callable[[FakePagerDuty], Any]
) -> None:
    with FakePagerDuty(clock=clock, rest_rate_limit=2) as fake:
        fake.add_api_token(TOKEN)
        fake.add_api_token(BEARER)
        caller = Caller(connect(fake))

        def left() -> tuple[int, str, str, str]:
            response = caller.get("/services")
            headers = {name.lower(): value for name, value in response.headers.items()}
            counts = (headers[f"ratelimit-{each}"] for each in ("limit", "remaining", "reset"))
            return (response.status, *counts)

        assert left() == (200, "2", "1", "60")
        clock.advance(20.5)
        assert left() == (200, "2", "0", "40")
        assert left() == (429, "2", "0", "40")
        assert problem(caller.get("/services")) == (429, 2020, "Rate Limit Exceeded")
        assert caller.get("/services", Authorization=f"Bearer {BEARER}").status == 200
        clock.advance(40)
        assert left() == (200, "2", "0", "20")


def test_without_a_rate_limit_there_are_no_headers(connect: Callable[[FakePagerDuty], Any]) -> None:
    with FakePagerDuty(rest_rate_limit=0) as fake:
        fake.add_api_token(TOKEN)
        response = Caller(connect(fake)).get("/services")
    assert response.status == 200
    assert not [name for name in response.headers if name.lower().startswith("ratelimit")]


def test_misbehaviour_may_be_for_some_paths_only(fake: FakePagerDuty, caller: Caller) -> None:
    fake.misbehave(failing(503), path="offset=25")
    assert [caller.get(f"/services?offset={n}").status for n in (0, 25, 25)] == [200, 503, 503]
    fake.behave()
    fake.misbehave(reset_unread(), path="offset=25", times=1)
    assert caller.get("/services").status == 200
    with pytest.raises(ConnectionError):
        caller.get("/services?offset=25")
    assert [request.misbehaviour for request in fake.requests][3:] == [None, "reset unread"]


def test_calls_are_logged_without_their_token(fake: FakePagerDuty, caller: Caller) -> None:
    caller.get("/services?limit=3")
    (request,) = fake.requests
    assert (request.method, request.path, request.status) == ("GET", "/services?limit=3", 200)
    assert request.header("authorization") == f"Token token={TOKEN}"
    log = caller.sender.request("GET", "/requests").body.decode()
    assert '"\\u2026XYEu"' in log
    assert TOKEN not in log + repr(request) + repr(fake)


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 21, "a" * 32, f"{'a' * 19} ", "pdap+_" + "x" * 30]
)
def test_a_token_has_one_of_two_forms(fake: FakePagerDuty, token: str) -> None:
    with pytest.raises(ValueError, match=r"20 letters, digits, \+, _ and -") as caught:
        fake.add_api_token(token)
    assert not token or token not in str(caught.value)


def test_unknown_scopes_statuses_and_types_are_rejected(fake: FakePagerDuty) -> None:
    with pytest.raises(ValueError, match=r"unknown scope .users\.read."):
        fake.add_api_token(scopes=["users.read"])
    with pytest.raises(ValueError, match="unknown status 'gone'"):
        fake.create_service("a", status="gone")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown type 'other'"):
        fake.add_integration("a", "other")
    with pytest.raises(ValueError, match="unknown key_shown 'never'"):
        fake.add_integration("a", key_shown="never")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unprintable character"):
        fake.create_service("a\x1b[2J")
    assert fake.services == ()
    assert len({fake.add_api_token(), fake.add_api_token()}) == 2


def test_a_service_keeps_its_status(fake: FakePagerDuty, caller: Caller) -> None:
    assert fake.create_service("a", status="disabled") == fake.services[0].id
    fake.add_service("a")
    shown = caller.get("/services").json()["services"][0]
    assert (shown["status"], len(shown["integrations"])) == ("disabled", 1)
    fake.create_service("a")
    assert [(each.status, len(each.integrations)) for each in fake.services] == [("active", 1)]
