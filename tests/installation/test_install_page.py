"""The fake's install page."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import pytest
from forms import Form

from pagerduty_plugin.testing import App, FakePagerDuty

PAGE = "/install/integration"
BACK = "https://host.example/back"
APP = App(app_id="PAPP", redirect_urls=("https://other.example/", BACK))
ASKED = {"app_id": "PAPP", "redirect_url": f"{BACK}?state=a%26b#top", "version": "2"}


@attrs.frozen
class Visitor:
    """A browser that follows no redirect."""

    fake: FakePagerDuty

    def request(self, method: str, path: str, body: str | None = None) -> Any:
        """Send one request, and return status, headers and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.fake.port, timeout=60)
        try:
            kind = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(method, path, body, kind)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()

    def open(self, **changes: str) -> tuple[int, Form]:
        """Open the page."""
        status, headers, text = self.request("GET", f"{PAGE}?{urlencode(ASKED | changes)}")
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        return status, Form.of(text)

    def post(self, *services: str, **changes: str) -> Any:
        """Send the form."""
        fields = [*(ASKED | changes).items(), *(("service", each) for each in services)]
        return self.request("POST", PAGE, urlencode(fields))

    def connect(self, *services: str) -> Any:
        """Send the form, and return the configuration in the redirect."""
        status, headers, text = self.post(*services)
        assert (status, text) == (302, "")
        parts = urlsplit(headers["Location"])
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == BACK
        assert parts.fragment == "top"
        query = parse_qs(parts.query, strict_parsing=True)
        assert query["state"] == ["a&b"]
        assert sorted(query) == ["config", "state"]
        return json.loads(query["config"][0])


@pytest.fixture
def visitor() -> Iterator[Visitor]:
    """Return a visitor of a fake with two services and an app."""
    with FakePagerDuty(services={"checkout": "c" * 32, "<platform>": "p" * 32}) as fake:
        fake.register_app(APP)
        yield Visitor(fake)


def test_the_page_offers_the_services(visitor: Visitor) -> None:
    status, form = visitor.open()
    assert (status, form.title, form.action) == (200, "Install on Acme", PAGE)
    assert form.choices == ["checkout", "<platform>"]
    assert dict(form.fields) == ASKED
    assert visitor.open(redirect_url=f"{BACK}#top")[0] == 200
    assert "platform" not in form.tags


def test_each_selected_service_gets_a_working_key(visitor: Visitor) -> None:
    first = visitor.connect("checkout", "<platform>")
    assert first["account"] == {"subdomain": "acme", "name": "Acme"}
    entries = first["integration_keys"]
    assert [(each["name"], each["type"]) for each in entries] == [
        ("checkout", "service"),
        ("<platform>", "service"),
    ]
    assert all(sorted(each) == ["id", "integration_key", "name", "type"] for each in entries)
    again = visitor.connect("checkout")["integration_keys"]
    assert again[0]["id"] == entries[0]["id"] != entries[1]["id"]
    keys = [each["integration_key"] for each in (*entries, *again)]
    assert len({*keys, "c" * 32, "p" * 32}) == 5
    for key in keys:
        event = {"routing_key": key, "event_action": "resolve", "dedup_key": "k"}
        connection = http.client.HTTPConnection("127.0.0.1", visitor.fake.port, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v2/enqueue", json.dumps(event), headers)
        assert connection.getresponse().status == 202
        connection.close()
    assert [request.path for request in visitor.fake.requests] == ["/v2/enqueue"] * 3
    assert not any(key in visitor.request("GET", "/requests")[2] for key in keys)


def test_an_app_may_keep_keys_spell_the_name_and_grant_others(visitor: Visitor) -> None:
    visitor.fake.register_app(
        attrs.evolve(
            APP,
            renews=False,
            name_member="Name",
            account="Acme Labs",
            subdomain="labs",
            others=(("team_rule_set", "Ops"),),
        )
    )
    config = visitor.connect("checkout")
    assert config["account"] == {"subdomain": "labs", "Name": "Acme Labs"}
    service, other = config["integration_keys"]
    assert service["integration_key"] == "c" * 32
    assert (other["type"], other["name"]) == ("team_rule_set", "Ops")
    assert len(other["integration_key"]) == 32
    assert other["integration_key"].startswith("R")
    assert visitor.open()[1].title == "Install on Acme Labs"


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"app_id": "POTHER"}, 404, "App not found."),
        ({"app_id": ""}, 404, "App not found."),
        *(
            ({"redirect_url": url}, 400, "The supplied redirect URL does not match a redirect URL")
            for url in ("https://evil.example/back", f"{BACK}/more", "", "http://host.example/back")
        ),
        ({"redirect_url": f"{BACK}?a=\x1b"}, 400, "URL has an invalid character."),
        ({"version": "1"}, 400, "This page supports version 2 only."),
    ],
)
def test_an_install_that_cannot_work_is_refused(
    visitor: Visitor, changes: dict[str, str], status: int, reason: str
) -> None:
    answered, page = visitor.open(**changes)
    assert (answered, page.action) == (status, "")
    assert reason in page.text
    answered, headers, text = visitor.post("checkout", **changes)
    assert (answered, headers.get("Location")) == (status, None)
    assert reason in Form.of(text).text


def test_a_page_without_parameters_finds_no_app(visitor: Visitor) -> None:
    status, _, text = visitor.request("GET", PAGE)
    assert (status, "App not found." in text) == (404, True)


@pytest.mark.parametrize("services", [(), ("other",), ("checkout", "other")])
def test_only_services_of_the_account_can_be_selected(
    visitor: Visitor, services: tuple[str, ...]
) -> None:
    status, _, text = visitor.post(*services)
    assert status == 400
    assert "Select at least one of this account's services." in Form.of(text).text


def test_an_account_without_services_says_so() -> None:
    with FakePagerDuty() as fake:
        fake.register_app(APP)
        status, page = Visitor(fake).open()
    assert (status, page.choices) == (200, [])
    assert "This account has no service yet." in page.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
def test_other_methods_are_refused(visitor: Visitor, method: str) -> None:
    status, headers, text = visitor.request(method, PAGE)
    assert (status, headers["Allow"], text) == (405, "GET, POST", "")


def test_a_form_without_length_is_refused(visitor: Visitor) -> None:
    with socket.create_connection(("127.0.0.1", visitor.fake.port), timeout=60) as connection:
        connection.sendall(f"POST {PAGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with connection.makefile("rb") as stream:
            response = stream.read()
    assert response.startswith(b"HTTP/1.1 411 ")


def test_a_service_without_a_key_always_gets_one(visitor: Visitor) -> None:
    visitor.fake.register_app(attrs.evolve(APP, renews=False))
    service_id = visitor.fake.create_service("empty")
    (first,) = visitor.connect("empty")["integration_keys"]
    (again,) = visitor.connect("empty")["integration_keys"]
    assert first == again
    assert (first["id"], len(first["integration_key"])) == (service_id, 32)
