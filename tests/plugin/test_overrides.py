"""Additions of plugins: within PagerDuty's limits, and replacing nothing of the alert."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostspec import Alert, Image, Link, Severity
from pagerduty_plugin import Enrich, Suppress, event
from pagerduty_plugin.overrides import Addition, enrich
from pagerduty_plugin.testing.rules import alert_faults
from pagerduty_plugin.truncate import encode, size

names = st.text(max_size=4) | st.sampled_from(["labels", "_delivery", "_truncated", "a.b"])
texts = st.builds(lambda text, times: text * times, st.text(max_size=3), st.integers(0, 120_000))
details = st.dictionaries(names, texts | st.integers() | st.none(), max_size=4)
links = st.lists(st.builds(Link, texts, st.text(max_size=3)), max_size=3)
images = st.lists(st.builds(Image, texts.map("https://a/{}".format) | texts), max_size=3)
additions = st.lists(
    st.builds(
        Addition,
        st.sampled_from(["a", "b"]),
        st.builds(Enrich, details=details, links=links, images=images),
    ),
    max_size=3,
)


@given(details, links, additions)
def test_enrichment_keeps_the_alert_and_the_limit(
    own: Any, own_links: Any, additions: list[Addition]
) -> None:
    alert = Alert("k", details=own, links=own_links, labels={"a": "b"})
    built = event.build(alert, severity=Severity.ERROR, key="k")
    room = event.room_for_message("k")

    message: Any = enrich(built.message, additions, room).message

    whole = {"routing_key": "k" * 32, "event_action": "trigger", "dedup_key": "k", **message}
    assert alert_faults(json.loads(encode(whole))) == ()
    before: Any = built.message
    assert size(message) <= room
    for name in ("links", "images"):
        mine = before.get(name, [])
        assert message.get(name, [])[: len(mine)] == mine
    mine = before["payload"]["custom_details"]
    theirs = message["payload"]["custom_details"]
    assert {name: theirs[name] for name in mine} == mine
    without: Any = {"custom_details": None, "links": None, "images": None}
    assert {**message["payload"], **without} == {**before["payload"], **without}


@pytest.mark.parametrize("value", [Suppress("why"), Enrich(details={"a": [1]})])
def test_answers_are_immutable(value: Any) -> None:
    for field in attrs.fields(type(value)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, None)


def test_the_content_of_an_enrich_is_immutable() -> None:
    given = {"hosts": ["a"]}
    value: Any = Enrich(details=given)
    given["hosts"].append("b")

    assert value.details == {"hosts": ("a",)}
    with pytest.raises(TypeError):
        value.details["more"] = 1


def test_a_reason_of_any_type_becomes_text() -> None:
    assert Suppress(7).reason == "7"  # type: ignore[arg-type]
    assert Suppress("a\ud800").reason == "a\ufffd"
