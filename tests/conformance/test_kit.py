"""The conformance kit itself: its fixtures and helpers."""

from __future__ import annotations

import datetime as dt
import gc
import io
import os
import random
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostspec.testing import (
    Answer,
    ConformanceError,
    ExtensionCase,
    ProviderCase,
    network_faults,
    serving,
    support,
)
from hostspec.testing.provider_declarations import check_schemas
from hostspec.testing.provider_secrets import contains_canary
from hostspec.testing.service import answering
from hostspec.testing.support import environment, watched

pytest_plugins = ["pytester"]

TESTS = """
import hostspec_webhook
from hostspec import OutcomeKind
from hostspec.testing import HostCase, ProviderCase

pytest_plugins = ["hostspec.testing"]


class Webhook(ProviderCase):
    plugin = hostspec_webhook
    canary = "whoever-knows-this-may-post"

    def installation_settings(self, url, secret):
        return {"url": secret}

    def secret(self, url):
        return f"{url}/{self.canary}"

    def faults(self):
        return [fault for fault in super().faults() if fault.name != "timeout"]


class Patched(Webhook):
    expected = dict.fromkeys(["captive portal", "another 202"], {OutcomeKind.DELIVERED})


def test_webhook(check_provider):
    check_provider(Webhook())


def test_patched(check_provider):
    check_provider(Patched())


class Crashing(Patched):
    def load(self):
        raise RuntimeError("crashed")


def test_crashing(check_provider):
    check_provider(Crashing())


class Silent(HostCase):
    def run(self, config, alerts):
        pass


def test_host(check_host):
    check_host(Silent())
"""


def test_fixtures_report_every_failure(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cov")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        [
            "E*check_network_faults: *captive portal: the outcome is delivered, right is *",
            "E*check_names: raised RuntimeError: crashed",
            "E*check_discovers: *",
            "E*check_follow_ups_stick: *",
        ]
    )


def _start() -> None:
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))


IMPURE: list[Callable[[], object]] = [
    time.monotonic,
    dt.datetime.now,
    dt.date.today,
    random.random,
    lambda: os.urandom(1),
    lambda: Path(__file__).read_bytes(),
    Path("/").stat,
    lambda: socket.getaddrinfo("127.0.0.1", 80),
    _start,
]


@pytest.mark.parametrize("call", IMPURE)
def test_impure_calls_are_detected(call: Callable[[], object]) -> None:
    assert watched(call)[1]


def test_pure_calls_are_accepted() -> None:
    pure: list[Callable[[], Any]] = [
        lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC).isoformat(),
        lambda: dt.date.fromisoformat("2026-01-01"),
        lambda: sorted([2, 1]),
        lambda: io.StringIO("text").read(),
        lambda: time.strptime("2026", "%Y"),
    ]
    for call in pure:
        call()
        assert watched(call)[1] == ()


def test_garbage_collection_is_not_part_of_the_call() -> None:
    """Other plugins time collections, and a collection may happen in any call."""
    collects = gc.isenabled()

    def collector() -> bool:
        return gc.isenabled()

    assert watched(collector) == (False, ())
    assert gc.isenabled() is collects
    gc.disable()
    try:
        watched(collector)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_profiler_is_restored() -> None:
    before = sys.getprofile()
    watched(int)
    assert sys.getprofile() is before


@pytest.mark.parametrize(
    "text",
    [
        "key=CANARY/0123456789",
        "canary%2F0123456789",
        "Basic dXNlcjpjYW5hcnkvMDEyMzQ1Njc4OQ==",  # user:canary/0123456789
    ],
)
def test_canary_is_found_in_every_form(text: str) -> None:
    assert contains_canary(text, "canary/0123456789")


@pytest.mark.parametrize(("text", "canary"), [("canary", "canary/0123456789"), ("any", "")])
def test_empty_canary_is_never_found(text: str, canary: str) -> None:
    assert not contains_canary(text, canary)


def test_schema_check_works_without_jsonschema(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tickets(ProviderCase):
        plugin = "tickets"

    monkeypatch.setitem(sys.modules, "jsonschema", None)
    check_schemas(Tickets())


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"plugin": "ticket"}, "did you mean 'tickets'"),
        ({"plugin": "tickets", "action": "tickets.close"}, "offers the actions tickets.open;"),
        ({"plugin": "tickets", "action_settings": {"queu": 1}}, "queu: unknown"),
        (
            {
                "plugin": "pagerduty",
                "action": "pagerduty.trigger",
                "action_settings": {"services": ["x"]},
            },
            "services[0]",
        ),
    ],
)
def test_faulty_case_is_reported(members: dict[str, Any], words: str) -> None:
    key = "0123456789abcdefghijABCDEFGHIJ01"
    services = {"services": [{"name": "checkout", "integration_key": key}]}
    settings = services if members["plugin"] == "pagerduty" else {}
    case = type(
        "Case", (ProviderCase,), {**members, "installation_settings": lambda *_: settings}
    )()
    with pytest.raises(ConformanceError) as caught:
        case.connect()
    assert words in str(caught.value)


def test_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com")
    before = dict(os.environ)
    with environment({"HOSTSPEC_TESTING_X": "1"}):
        assert os.environ["NO_PROXY"] == "127.0.0.1"
    assert dict(os.environ) == before


def test_service_records_messages_and_survives_disconnects() -> None:
    with serving(answering(Answer())) as service:
        port = int(service.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert client.recv(1000).endswith(b"ok")
        assert service.received() == ("",)


def test_connection_without_a_request_is_not_recorded() -> None:
    def connect() -> tuple[str, ...]:
        with serving(answering(Answer())) as service:
            address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
            socket.create_connection(address).close()
            with socket.create_connection(address) as second:  # accepted after the first
                second.sendall(b"POST / HTTP/1.1\r\n\r\n")
                second.recv(1)
        return tuple(service.received())

    assert support.within(10, connect) == ("",)


PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")


def test_page_lists_every_fault_with_its_outcomes() -> None:
    listed = {}
    for line in re.findall(
        r"^\| `.*\|$",
        PAGE.partition("The network faults, with")[2].partition("##")[0],
        re.MULTILINE,
    ):
        names, idempotent, otherwise = line.strip("| ").split(" | ")
        for name in re.findall(r"`([^`]+)`", names):
            listed[name] = (set(idempotent.split(", ")), set(otherwise.split(", ")))
    faults = zip(network_faults(idempotent=True), network_faults(idempotent=False), strict=True)
    assert listed == {one.name: (set(one.allowed), set(other.allowed)) for one, other in faults}


@pytest.mark.parametrize(
    ("case", "heading", "internal"),
    [
        (ProviderCase, "## A provider", {"load", "connect", "connected", "send", "probe"}),
        (ExtensionCase, "## An extension", {"load", "survey"}),
    ],
)
def test_page_lists_every_member_of_a_case(case: type, heading: str, internal: set[str]) -> None:
    section = PAGE.partition(heading)[2].partition("\n## ")[0]
    listed = set(
        re.findall(r"^\| `(\w+)", section.partition("The network faults")[0], re.MULTILINE)
    )
    members = {name for name in vars(case) if not name.startswith("_")}
    assert listed - {"prepare"} == members - internal


def test_slow_call_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "SOCKET_CHECK_AFTER", 0.01)

    assert support.within(60, lambda: (time.sleep(0.1), 7)[1]) == 7


def test_call_without_a_socket_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "SOCKET_CHECK_AFTER", 0.01)
    done = threading.Event()

    with pytest.raises(TimeoutError) as raised:
        support.within(0.02, done.wait)
    done.set()

    assert raised.value.args == ()
