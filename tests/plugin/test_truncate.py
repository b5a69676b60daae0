"""Any alert is sent, within all limits of PagerDuty."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostspec import Alert, Identity, SendContext, SettingsError, Severity, structure
from hostspec.text import is_blank
from pagerduty_plugin.dedup_keys import dedup_key
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.settings import TriggerSettings
from pagerduty_plugin.testing import FakePagerDuty
from pagerduty_plugin.trigger import Trigger
from pagerduty_plugin.truncate import size, truncate_event

from .conftest import Encoded, Sender, connect
from .wire import KEYS

LARGEST = 512_000
LATE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
EVERY_MARK = {
    "attempt": 10**9,
    "coalesced": 10**9,
    "accepted_at": LATE,
    "now": LATE + dt.timedelta(days=10_000),
}


def sent(sender: Sender, **alert: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Send an alert with every mark; return its event and its repairs."""
    fields = {"key": "k", "summary": "Down", "severity": "info", "source": "s", **alert}
    (delivery,) = sender.plan(Alert(**fields))
    outcome = sender.deliver(delivery, **EVERY_MARK)
    assert outcome.delivered, outcome
    assert len(sender.body) <= LARGEST
    repairs = {repair.field: repair.reason for repair in delivery.repairs}
    assert all(len(field) < 300 for field in repairs)
    return sender.event, repairs


def details_of(message: Mapping[str, Any]) -> dict[str, Any]:
    details = dict(message["payload"]["custom_details"])
    assert details.pop("_delivery")["attempts"] == 10**9
    return details


def test_an_event_that_fits_is_unchanged(sender: Sender) -> None:
    """Holds up to the limit minus the bytes reserved for key and delivery report."""
    room = LARGEST - 512 - len('{"event_action":"trigger","dedup_key":"k"}')
    around = (
        '{"payload":{"summary":"Down","source":"s","severity":"info","custom_details":{"log":""}}}'
    )
    text = "x" * (room - len(around))
    message, repairs = sent(sender, details={"log": text})
    assert details_of(message) == {"log": text}
    assert repairs == {}
    message, repairs = sent(sender, details={"log": text + "x"})
    assert details_of(message)["log"] == text[: len(details_of(message)["log"]) - 1] + "…"
    assert list(repairs) == ["details.log"]


def test_the_largest_texts_are_cut_to_one_length(sender: Sender) -> None:
    details = {
        "log": "x" * 500_000,
        "deep": [{"trace": "ü" * 300_000}, 0.5, None],
        "small": "y" * 1000,
        "number": 7,
    }
    message, repairs = sent(sender, details=details, labels={"team": "data"})
    cut = details_of(message)
    assert cut["small"] == "y" * 1000
    assert cut["number"] == 7
    assert cut["deep"][1:] == [0.5, None]
    assert cut["labels"] == {"team": "data"}
    log, trace = cut["log"], cut["deep"][0]["trace"]
    assert log == "x" * (len(log) - 1) + "…"
    assert trace == "ü" * (len(trace) - 1) + "…"
    assert 0 <= size(log) - size(trace) <= 1
    assert cut["_truncated"] == {"log": 500_002, "deep[0].trace": 600_002}
    length = size(log)
    assert repairs == {
        "details.log": f"500,002 bytes; cut to {length:,} to fit PagerDuty's limit",
        "details.deep[0].trace": f"600,002 bytes; cut to {length:,} to fit PagerDuty's limit",
    }
    assert len(sender.body) > LARGEST - 1000


def test_many_cuts_are_counted_and_the_largest_listed(sender: Sender) -> None:
    details = {f"line {n}": "x" * (20_000 + n) for n in range(50)}
    message, repairs = sent(sender, details=details)
    mark = details_of(message)["_truncated"]
    assert mark.pop("(others)") == 30
    assert list(mark) == [f"line {n}" for n in range(49, 29, -1)]
    assert repairs["details"].startswith("30 others; cut to ")
    assert len(repairs) == 21


def test_escapes_are_counted_as_sent(sender: Sender) -> None:
    message, _ = sent(sender, details={"log": "\x01" * 600_000, "emoji": "🔥" * 600_000})
    cut = details_of(message)
    assert set(cut["log"]) == {"\x01", "…"}
    assert set(cut["emoji"]) == {"🔥", "…"}
    assert len(sender.body) > LARGEST - 1000


def test_the_largest_members_become_notes(sender: Sender) -> None:
    details = {
        "numbers": list(range(100_000)),
        "few": list(range(10)),
        "texts": ["x" * 200] * 3,
        "reading": 0.5,
    }
    message, repairs = sent(sender, details=details)
    cut = details_of(message)
    assert cut["numbers"] == "(cut: 588,891 bytes)"
    assert cut["few"] == list(range(10))
    assert cut["texts"] == ["x" * 123 + "…"] * 3
    assert cut["_truncated"] == {"texts[0]": 202, "texts[1]": 202, "texts[2]": 202}
    assert repairs["details.numbers"] == "588,891 bytes; cut to fit PagerDuty's limit"


def test_many_notes_are_counted(sender: Sender) -> None:
    details = {f"m{n}": [n] * 1000 for n in range(500)}
    message, repairs = sent(sender, details=details)
    cut = details_of(message)
    notes = [name for name, value in cut.items() if isinstance(value, str)]
    assert 20 < len(notes) < 500
    assert repairs["details"] == f"{len(notes) - 20} others; cut to fit PagerDuty's limit"


def test_countless_small_details_are_dropped(sender: Sender) -> None:
    message, repairs = sent(sender, details={f"name {n}": n for n in range(60_000)})
    (mark,) = details_of(message).items()
    assert mark[0] == "_truncated"
    assert mark[1]["(all details)"] > LARGEST
    assert repairs["details"].endswith("bytes in small pieces; dropped")


def test_long_names_of_details_are_dropped(sender: Sender) -> None:
    name = "n" * 600_000
    message, repairs = sent(sender, details={name: {name: "x" * 1000}})
    assert list(details_of(message)) == ["_truncated"]
    assert all(len(field) <= 210 for field in repairs)


def test_a_detail_named_like_the_mark_is_kept(sender: Sender) -> None:
    message, _ = sent(sender, details={"_truncated": "mine", "numbers": list(range(100_000))})
    assert details_of(message)["details._truncated"] == "mine"


def test_links_and_details_stay_if_only_other_fields_are_too_large(sender: Sender) -> None:
    message, repairs = sent(
        sender,
        details={"a": 1},
        links=["https://x.example"],
        source="x" + "\x01" * 65_535,
        component="x" + "\x01" * 65_535,
        group="g" * 2046,
        class_="t" * 3000,
        url="https://x.example/" + "u" * 3000,
    )
    assert details_of(message) == {"a": 1}
    assert message["links"] == [{"href": "https://x.example"}]
    payload = message["payload"]
    assert payload["source"] == "x" + "\x01" * 340 + "…"
    assert payload["component"] == "x" + "\x01" * 340 + "…"
    assert payload["group"] == "g" * 2046
    assert payload["class"] == "t" * 2043 + "…"
    assert "client_url" not in message
    assert repairs["source"] == "393,213 bytes; cut to 2,048"
    assert repairs["url"] == "3,020 bytes; dropped"


def test_images_are_dropped_before_links(sender: Sender) -> None:
    images = [
        {"src": f"https://x.example/{n}", "alt": "x" + "\x01" * n} for n in (50_000, 5, 50_001)
    ]
    message, repairs = sent(sender, images=images, links=["https://x.example"])
    assert message["images"] == [
        {"src": "https://x.example/50000", "alt": "x" + "\x01" * 50_000},
        {"src": "https://x.example/5", "alt": "x" + "\x01" * 5},
    ]
    assert len(message["links"]) == 1
    assert repairs["images"] == "the 1 largest of 3 dropped to fit PagerDuty's limit"


def test_links_are_dropped_until_the_event_fits(sender: Sender) -> None:
    links = [{"href": f"https://x.example/{n}/" + "x" * 6000} for n in range(100)]
    message, repairs = sent(
        sender, links=links, images=[{"src": "https://i.example", "alt": "x" + "\x01" * 65_535}]
    )
    assert "images" not in message
    assert 80 < len(message["links"]) < 90
    assert repairs["links"].startswith("the 1")


def test_the_worst_event_is_still_sent(sender: Sender) -> None:
    worst = "\x01" * 600_000
    message, _ = sent(
        sender,
        key=worst, summary=worst, severity="critical", scope=worst, source=worst,
        component=worst, group=worst, class_=worst, url="https://x.example/" + worst,
        labels={worst: worst, **{f"label {n}": "x" for n in range(20_000)}},
        details={worst: worst},
        links=[worst + "x"] * 3, images=["https://x.example/" + worst] * 3,
    )  # fmt: skip
    assert message["payload"]["severity"] == "critical"
    assert message["payload"]["summary"] == "\x01" * 1023 + "…"


def test_truncation_is_idempotent() -> None:
    message = {
        "payload": {"summary": "Down", "custom_details": {"log": "x" * 50_000, "n": [1] * 30_000}}
    }
    fitted, cuts = truncate_event(message, 32_000)
    assert cuts
    assert size(fitted) <= 32_000
    assert truncate_event(fitted, 32_000) == (fitted, ())


def test_an_event_without_details_gets_none() -> None:
    fitted, _ = truncate_event({"payload": {"summary": "Down", "source": "s" * 50_000}}, 32_000)
    assert "custom_details" not in fitted["payload"]


def test_the_mark_always_has_room() -> None:
    message: dict[str, Any] = {"payload": {"summary": "Down", "source": "s" * 40_000}}
    for spare in range(0, 200, 4):
        limit = size(message) + spare
        details = {f"n{n}": "n" * 58 for n in range(700)}  # each too small to be cut
        payload = {**message["payload"], "custom_details": details}
        fitted, _ = truncate_event({"payload": payload}, limit)
        assert size(fitted) <= limit
        assert list(fitted["payload"]["custom_details"]) == ["_truncated"]


def test_the_mark_itself_is_never_cut(sender: Sender) -> None:
    """Holds even if it is larger than members that are cut."""
    texts = {f"{n} " + "n" * 180: "x" * 500 for n in range(20)}
    message, _ = sent(sender, details={**texts, **{f"m{n}": [n] * 700 for n in range(400)}})
    assert len(details_of(message)["_truncated"]) == 20


def nested(depth: int) -> object:
    value: object = "x" * 1000
    for n in range(depth):
        value = [value] if n % 2 else {"n" * 500: value}
    return value


def test_twenty_megabytes_are_cut_with_little_work(sender: Sender, encoded: Encoded) -> None:
    """Measured in encoded bytes: a few times the input at most."""
    for details in (
        {"log": "x" * 20_000_000},
        {"log": "ü" * 10_000_000},
        {"lines": ["x" * 150] * 130_000},
        {"deep": [nested(60) for _ in range(300)]},
    ):
        encoded.characters = 0
        sender.plan(Alert("k", "Down", details=details))
        assert encoded.characters < 200_000_000


@pytest.fixture(scope="module")
def shared() -> Iterator[Sender]:
    """Return one fake for all examples."""
    with FakePagerDuty(services=KEYS, rate_limit=0) as fake:
        yield Sender(fake, Trigger(Client({})), connect(fake.url))


# texts that are long when encoded
texts = st.builds(
    lambda text, times: text * times,
    st.text(min_size=1, max_size=8),
    st.sampled_from([0, 1, 1, 1, 40, 300, 3000, 80_000]),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary(max_size=40)
    | st.datetimes()
    | st.sets(st.integers(), max_size=4)
)
values = st.recursive(
    scalars,
    lambda children: (
        st.lists(children, max_size=5)
        | st.dictionaries(texts | st.integers(), children, max_size=5)
        | st.builds(
            lambda value, times: [value] * times, children, st.sampled_from([10, 1000, 30_000])
        )
    ),
    max_leaves=8,
)
names = st.sampled_from(["labels", "_delivery", "_truncated", "details.labels"]) | texts
entries = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            name: texts | st.just("https://x.example/")
            for name in ("href", "src", "alt", "text", "odd")
        },
    ),
    max_size=4,
)
several = st.builds(lambda listed, times: listed * times, entries, st.sampled_from([1, 1, 1, 2000]))
alerts = st.fixed_dictionaries(
    {"key": texts.filter(lambda text: not is_blank(text))},
    optional={
        **dict.fromkeys(("summary", "scope", "source", "component", "group", "class_"), texts),
        "url": texts,
        "severity": st.sampled_from([*Severity, "page", "odd", ""]),
        "started_at": st.datetimes() | st.datetimes(timezones=st.timezones()) | st.text(),
        "details": st.dictionaries(names, values, max_size=6) | values,
        "labels": st.dictionaries(names, texts, max_size=4),
        "links": several,
        "images": several,
    },
)


def size_of(value: object) -> int:
    """Return roughly the size of a generated value."""
    if isinstance(value, Mapping):
        return sum(size_of(name) + size_of(item) for name, item in value.items())
    if isinstance(value, list):
        return len(value) * max(map(size_of, value[:5]), default=1)
    return len(value) if isinstance(value, (str, bytes)) else 1


@settings(
    max_examples=25,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
@given(alerts.filter(lambda fields: size_of(fields) < 1_500_000))
def test_any_alert_is_accepted_and_keeps_its_essentials(
    shared: Sender, fields: dict[str, Any]
) -> None:
    alert = Alert(**fields)
    (delivery,) = shared.plan(alert)
    assert shared.plan(alert) == [delivery]
    outcome = shared.deliver(delivery, **EVERY_MARK)
    assert outcome.delivered, outcome
    assert len(shared.body) <= LARGEST
    sent_event = shared.event
    assert sent_event["dedup_key"] == delivery.ref.correlation_key
    assert sent_event["dedup_key"] == dedup_key(Identity(alert.scope, alert.key))[0]
    payload = sent_event["payload"]
    assert payload["severity"] == alert.severity.replace("debug", "info")
    summary = payload["summary"]
    cut = len(alert.summary) > 1024 and summary[-1] == "…"
    assert alert.summary.startswith(summary[:-1]) if cut else summary == alert.summary
    assert set(payload["custom_details"]["_delivery"]) == {"delayed_by", "attempts", "coalesced"}
    preview = shared.action.preview(delivery, shared.installation, SendContext(**EVERY_MARK))
    assert json.loads(json.dumps(preview.body)) == {**sent_event, "routing_key": "********"}


templates = st.sampled_from(
    [
        "{{ summary }}",
        "{{ details }} {{ labels }}",
        "{{ details.log|default(key) }}",
        "{% for name in labels %}{{ labels[name] }}{% endfor %}",
        "{{ labels.missing }}",
        "{{ 1 / 0 }}",
        "{{ '\ud800' }}{{ source }}",
        "{{ [url, source, group]|join('\n') }}",
    ]
)
words = templates | texts | st.just("https://x.example/")
needed = words.filter(lambda text: not is_blank(text))
steady = st.sampled_from(
    ["{{ labels.missing }}", "{{ source }}/{{ key }}", "{{ key ~ labels }}", "{{ 1 / 0 }}"]
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "severity": st.sampled_from(["default", "critical", "error", "warning", "info"]),
        "dedup_key": st.sampled_from(["alert", "rule and alert"]) | steady,
        **dict.fromkeys(("summary", "component", "group", "class", "client", "client_url"), words),
        "details": st.dictionaries(names.filter(str.strip), words, max_size=4),
        "links": st.lists(st.fixed_dictionaries({"href": needed, "text": words}), max_size=3),
        "images": st.lists(
            st.fixed_dictionaries({"src": needed, "href": words, "alt": words}), max_size=3
        ),
    },
)


def loadable(rule: dict[str, Any]) -> bool:
    """Check whether a generated rule is valid: its texts may look like templates."""
    try:
        structure(TriggerSettings, {"services": ["checkout"], **rule})
    except SettingsError:
        return False
    return True


@settings(
    max_examples=25,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
@given(alerts.filter(lambda fields: size_of(fields) < 1_000_000), rules.filter(loadable))
def test_any_rule_sends_an_accepted_event(
    shared: Sender, fields: dict[str, Any], rule: dict[str, Any]
) -> None:
    alert = Alert(**fields)
    (delivery,) = shared.plan(alert, **rule)
    assert shared.plan(alert, **rule) == [delivery]
    outcome = shared.deliver(delivery, **EVERY_MARK)
    assert outcome.delivered, outcome
    assert len(shared.body) <= LARGEST
    key = shared.event["dedup_key"]
    assert key == delivery.ref.correlation_key
    severity = rule.get("severity", "default")
    wanted = alert.severity.replace("debug", "info") if severity == "default" else severity
    assert shared.payload["severity"] == wanted
    (resolve,) = shared.plan(Alert(**{**fields, "status": "resolved"}), **rule)
    assert resolve.ref == delivery.ref
    assert shared.deliver(resolve).delivered
    assert shared.event["dedup_key"] == key
    states = {incident.dedup_key: incident.state for incident in shared.fake.incidents}
    assert states[key] == "resolved"
