"""PagerDuty's replies, and their outcomes."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
from collections.abc import Callable

import pytest

from hostspec import Alert, OutcomeKind
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.responses import NoReply, Reply, classify, mask
from pagerduty_plugin.testing import (
    Misbehaviour,
    Response,
    accepting_without_json,
    captive_portal,
    failing,
    redirecting,
    refusing,
    throttling,
)

from .conftest import Sender
from .wire import KEYS, Proxy

NOW = dt.datetime(2026, 11, 23, 3, 14, tzinfo=dt.UTC)

DELIVERED = OutcomeKind.DELIVERED
THROTTLED = OutcomeKind.THROTTLED
UNREACHABLE = OutcomeKind.UNREACHABLE
FAULTED = OutcomeKind.FAULTED
MISCONFIGURED = OutcomeKind.MISCONFIGURED
REJECTED = OutcomeKind.REJECTED

SUCCESS = '{"status":"success","message":"Event processed","dedup_key":"k"}'


def invalid(*errors: object) -> str:
    return json.dumps(
        {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
    )


TOO_LONG = "'summary' is too long (maiximum is 1024 characters)"
WRONG_LENGTH = "Length of 'routing_key' is incorrect (should be 32 characters)"
WRONG_LETTERS = "'routing_key' cannot contain non-alphanumeric characters."

TABLE = [
    (202, SUCCESS, DELIVERED),
    (202, "Accepted", DELIVERED),
    (202, "", DELIVERED),
    (202, "[]", DELIVERED),
    (202, '{"status": "succ', DELIVERED),
    (202, '{"queued": true}', UNREACHABLE),
    (202, "<html>Please log in</html>", UNREACHABLE),
    (200, SUCCESS, DELIVERED),
    (201, SUCCESS, DELIVERED),
    (204, "", UNREACHABLE),
    (299, "", UNREACHABLE),
    (200, "<!doctype html><title>Guest network</title>", UNREACHABLE),
    (200, "", UNREACHABLE),
    (200, '"success"', UNREACHABLE),
    (200, '{"status":"ok"}', UNREACHABLE),
    (200, "[" * 100_000, UNREACHABLE),
    (101, SUCCESS, UNREACHABLE),
    (300, "", MISCONFIGURED),
    (301, "", MISCONFIGURED),
    (302, SUCCESS, MISCONFIGURED),
    (304, "", MISCONFIGURED),
    (307, "", MISCONFIGURED),
    (308, "", MISCONFIGURED),
    (400, invalid(TOO_LONG), REJECTED),
    (400, invalid("'payload.severity' is missing or blank"), REJECTED),
    (400, invalid("'payload.source' is missing or blank"), REJECTED),
    (400, invalid("'event_type' is missing or blank", "Service key can't be blank"), REJECTED),
    (400, invalid(WRONG_LENGTH), MISCONFIGURED),
    (400, invalid(WRONG_LETTERS), MISCONFIGURED),
    (400, invalid(WRONG_LENGTH, WRONG_LETTERS), MISCONFIGURED),
    (400, invalid(WRONG_LENGTH, TOO_LONG), REJECTED),
    (400, invalid("Invalid routing key"), MISCONFIGURED),
    (400, invalid(7), REJECTED),
    (400, invalid(), REJECTED),
    (400, '{"status":"invalid event","message":"Invalid routing key"}', MISCONFIGURED),
    (400, '{"status":"invalid event","message":"Invalid routing key","errors":[]}', MISCONFIGURED),
    (400, '{"status":"invalid event","errors":"odd"}', REJECTED),
    (400, '{"status":"Unrecognized object","errors":["JSON parse error"]}', REJECTED),
    (400, "Invalid routing key", MISCONFIGURED),
    (400, "InvalidRoutingKey", MISCONFIGURED),
    (400, "Bad Request", REJECTED),
    (400, 'cannot read {"routing_key":"********"}', REJECTED),
    (400, "", REJECTED),
    (401, "", MISCONFIGURED),
    (402, "", MISCONFIGURED),
    (403, "", MISCONFIGURED),
    (404, "Not found", MISCONFIGURED),
    (405, "", MISCONFIGURED),
    (406, "", REJECTED),
    (407, "", MISCONFIGURED),
    (408, "", UNREACHABLE),
    (410, "", REJECTED),
    (411, "", REJECTED),
    (413, "", REJECTED),
    (415, "", REJECTED),
    (421, "", MISCONFIGURED),
    (422, "", REJECTED),
    (425, "", UNREACHABLE),
    (429, "", THROTTLED),
    (451, "", REJECTED),
    (499, "", REJECTED),
    *((status, "", FAULTED) for status in (*range(500, 512), 520, 530, 599, 600, 999)),
]


@pytest.mark.parametrize(("status", "text", "kind"), TABLE)
def test_each_reply_has_its_outcome(status: int, text: str, kind: OutcomeKind) -> None:
    outcome = classify(Reply(status, text), NOW)
    assert outcome.kind is kind
    assert outcome.handle is None
    assert outcome.retry_after is None


@pytest.mark.parametrize("kind", [UNREACHABLE, MISCONFIGURED])
def test_a_missing_reply_keeps_its_kind(kind: OutcomeKind) -> None:
    outcome = classify(NoReply(kind, "no connection: Connection refused"), NOW)
    assert (outcome.kind, outcome.reason) == (kind, "no connection: Connection refused")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        ("1.5", 1.5),
        (" 7 ", 7),
        ("0", 0),
        ("-5", 0),
        ("300", 300),
        ("301", 300),
        ("1e300", 300),
        ("Mon, 23 Nov 2026 03:14:10 GMT", 10),
        ("Mon, 23 Nov 2026 04:14:10 +0100", 10),
        ("Mon, 23 Nov 2026 03:00:00 GMT", 0),
        ("Mon, 23 Nov 2036 03:00:00 GMT", 300),
        ("Mon, 23 Nov 2026 03:14:10 -0000", None),
        ("Mon, 99999999999999999999 Nov 2026 03:14:10 GMT", None),
        ("Mon, 23 Nov 2026 03:14:10 +99999999", None),
        ("inf", None),
        ("-inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read_and_bounded(status: int, header: str, seconds: float | None) -> None:
    assert classify(Reply(status, "", header), NOW).retry_after == seconds


@pytest.mark.parametrize("status", [202, 400, 408])
def test_retry_after_is_ignored_for_other_statuses(status: int) -> None:
    assert classify(Reply(status, "", "30"), NOW).retry_after is None


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("Invalid routing key", "400: Invalid routing key"),
        ("  two  blanks,\ta tab  ", "400: two blanks, a tab"),
        ("one\ntwo\r\nthree\n\n\nfour\u2028five\n", "400: one two three four five"),
        (invalid(TOO_LONG), f"400: Event object is invalid: {TOO_LONG}"),
        (invalid("one", "two\nlines"), "400: Event object is invalid: one; two lines"),
        ('{"message": "m", "errors": [1, "e"]}', "400: m: e"),
        ('{"message": "m", "errors": "e"}', "400: m"),
        ('{"message": " "}', '400: {"message": " "}'),
        ('{"errors": ["e"]}', '400: {"errors": ["e"]}'),
        ("[" * 60_000, "400: " + "[" * 2000 + "…"),
        ("", "400"),
        (" \r\n", "400"),
        ("x" * 2000, "400: " + "x" * 2000),
        ("x" * 2001, "400: " + "x" * 2000 + "…"),
    ],
)
def test_a_rejection_is_shown_on_one_line(text: str, reported: str) -> None:
    assert classify(Reply(400, text), NOW).reason == reported


WIRE = [
    (accepting_without_json(), DELIVERED, "Accepted"),
    (accepting_without_json(b""), DELIVERED, ""),
    (
        captive_portal(),
        UNREACHABLE,
        "the reply is not PagerDuty's: 200: <!doctype html><title>Guest",
    ),
    (
        redirecting("http://127.0.0.1:1/"),
        MISCONFIGURED,
        "307, a redirect to http://127.0.0.1:1/, which PagerDuty never sends; check region and "
        "base_url",
    ),
    (refusing("Invalid routing key"), MISCONFIGURED, "400: Invalid routing key"),
    (refusing("  Not\r\nthis  one\n"), REJECTED, "400: Not this one"),
    (refusing("x" * 200_000), REJECTED, "400: " + "x" * 2000 + "…"),
    (failing(500), FAULTED, "500: Internal Server Error"),
    (failing(503, b"<h1>\xff\xfe</h1>"), FAULTED, "503: <h1>��</h1>"),
    (failing(408), UNREACHABLE, "408: Internal Server Error"),
    (failing(413), REJECTED, "413: Internal Server Error"),
    (throttling(), THROTTLED, "429: Requests for this service are arriving too quickly. Please"),
]


@pytest.mark.parametrize(("how", "kind", "reason"), WIRE, ids=lambda value: str(value)[:40])
def test_replies_over_http_have_their_outcome(
    sender: Sender, how: Misbehaviour, kind: OutcomeKind, reason: str
) -> None:
    sender.fake.misbehave(how)
    outcome = sender.send(Alert("k", "Down"))
    assert outcome.kind is kind
    assert outcome.reason.startswith(reason)
    assert outcome.reason[len(reason) :] == "" or kind in (UNREACHABLE, THROTTLED)
    assert len(sender.fake.requests) == 1


def test_retry_after_is_read_from_the_wire(sender: Sender) -> None:
    sender.fake.misbehave(throttling(retry_after="17"))
    assert sender.send(Alert("k", "Down")).retry_after == 17
    sender.fake.behave()
    sender.fake.misbehave(throttling(retry_after="Mon, 23 Nov 2026 03:14:10 GMT"))
    assert sender.send(Alert("k", "Down"), now=NOW).retry_after == 10


def test_pagerdutys_message_is_the_reason(sender: Sender) -> None:
    """Sent to the strict fake, as if by another planner."""
    (delivery,) = sender.plan(Alert("k", "Down"))
    message = {"payload": {"summary": "s" * 1025, "source": "s", "severity": "Critical"}}
    object.__setattr__(delivery, "message", message)
    outcome = sender.deliver(delivery)
    assert outcome.kind is REJECTED
    assert outcome.reason == (
        "400: Event object is invalid: 'summary' is too long (maiximum is 1024 characters); "
        "'payload.severity' is invalid (must be one of the following: "
        "'critical', 'warning', 'error' or 'info')"
    )


def test_an_unknown_key_is_misconfigured(sender: Sender) -> None:
    """A key of another region is unknown to the account, too."""
    sender.fake.misbehave(refusing(), times=1, key=KEYS["platform"])
    assert sender.send(Alert("k", "Down"), "platform").kind is MISCONFIGURED
    assert sender.send(Alert("k", "Down"), "checkout").kind is DELIVERED


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://user:pw@sso.example:8443/a/b?token=1#x", " to https://sso.example:8443/a/b"),
        ("/login?next=/v2", " to /login"),
        (f"https://x.example/{'a' * 300}", f" to https://x.example/{'a' * 182}…"),
        ("https://x.example/a\x1b[2Jb", " to https://x.example/a\x1b[2Jb"),
        ("https://[bad", ""),
        ("", ""),
    ],
)
def test_the_target_of_a_redirect_is_shown_without_secrets(location: str, shown: str) -> None:
    reason = classify(Reply(302, "<html>", location=location), NOW).reason
    never = "which PagerDuty never sends; check region and base_url"
    assert reason == f"302, a redirect{shown}, {never}"


@pytest.mark.parametrize(
    "echo",
    [
        lambda key: key,
        lambda key: key.upper(),
        lambda key: f"\n\n{'x' * 1980}{key}",
        lambda key: key[:8],
        lambda key: f"{key[:20]}...",
        lambda key: f"key ending in {key[-9:]}",
        lambda key: key[5:17],
        lambda key: f"{key[:10]}{key[:10]}{key[3:30]}",
    ],
)
@pytest.mark.parametrize("header", ["", "Location"])
def test_a_key_in_a_reply_is_masked(
    sender: Sender, echo: Callable[[str], str], header: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every part of eight characters is masked, before the text is cut."""
    caplog.set_level(logging.DEBUG)
    key = KEYS["checkout"]
    echoed = echo(key)
    answer = Response(400, f"no such key: {echoed}".encode())
    if header:
        target = "".join(echoed.split())
        answer = Response(302, headers=((header, f"https://x.example/{target}"),))
    sender.fake.misbehave(Misbehaviour(name="echo", response=answer))
    outcome = sender.send(Alert("k", "Down"))
    assert "****" in outcome.reason or len(echoed) > 200
    shown = (repr(outcome) + caplog.text).casefold()
    assert not [key[at : at + 8] for at in range(25) if key[at : at + 8] in shown]


def test_the_password_of_a_proxy_is_masked(proxy_for: Callable[..., Proxy]) -> None:
    """Holds for each form in which it is sent."""
    sent = base64.b64encode(b"user:proxy/secret")
    proxy = proxy_for(0, b"HTTP/1.1 407 no proxy/secret " + sent + b" proxy%2Fsecret\r\n\r\n")
    url = f"http://user:proxy%2Fsecret@{proxy.address.partition('@')[2]}"
    reply = Client({"https_proxy": url}).post(
        "https://events.invalid", b"", secrets=[KEYS["checkout"]]
    )
    assert isinstance(reply, NoReply)
    assert reply.reason == "the proxy answered 407 no ******** ******** ********"


def test_a_short_secret_is_masked_as_a_whole() -> None:
    assert mask("abcd abc ABCD", ["abcd", ""]) == "******** abc ********"
