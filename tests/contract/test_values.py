"""Values of the contract survive a round trip through JSON."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostspec import (
    Alert,
    Capabilities,
    Delivery,
    Destination,
    Identity,
    Image,
    Incident,
    IncidentRef,
    IncidentState,
    Installation,
    Json,
    Limit,
    Link,
    Operation,
    Outcome,
    OutcomeKind,
    Preview,
    Receipt,
    Repair,
    Secret,
    SendContext,
    Severity,
    Status,
    from_json,
    setting,
    structure,
    to_json,
)
from hostspec.normalisation import DEEPEST, MOST_VALUES, FrozenDict, normalise
from hostspec.secret import LiteralSecretError

_texts = st.text(max_size=8)
_given = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_objects = st.dictionaries(_texts, _given, max_size=3)
_frozen = _objects.map(lambda given: normalise(given, "")[0])
_moments = st.datetimes(timezones=st.just(dt.UTC))
_repairs = st.builds(Repair, _texts, _texts)
_links = st.builds(Link, st.text("ab", min_size=1), _texts)
_images = st.builds(Image, st.text("ab", min_size=1), _texts, _texts)
_identities = st.builds(Identity, _texts, _texts)
_places = st.builds(IncidentRef, _texts, _texts, _texts, _texts)


def _tuples(entries: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(entries, max_size=2).map(tuple)


_alerts = st.builds(
    Alert,
    _texts.map("k{}".format),
    st.text(st.characters(), max_size=8),
    status=st.sampled_from(Status),
    severity=st.sampled_from([*Severity, "loud", None]),
    scope=_texts,
    source=_texts,
    component=_texts,
    group=_texts,
    class_=_texts,
    started_at=st.none() | _moments | st.just("yesterday") | st.just(1795403640),
    updated_at=st.none() | _moments,
    labels=_objects,
    details=_objects,
    url=_texts,
    links=_tuples(_links),
    images=_tuples(_images),
    repairs=_tuples(_repairs),
)
_deliveries = st.builds(
    Delivery,
    st.sampled_from(Operation),
    _places,
    _identities,
    st.sampled_from(Severity),
    _frozen,
    _tuples(_texts),
    _tuples(_repairs),
    _tuples(_texts),
)
_handles = st.none() | _frozen
_outcomes = st.builds(
    Outcome,
    st.sampled_from(OutcomeKind),
    _texts,
    _handles,
    st.none() | st.floats(0, allow_infinity=False),
)
_contexts = st.builds(
    SendContext,
    _handles,
    st.integers(1),
    st.none() | _moments,
    st.none() | _moments,
    st.integers(0),
)
_incidents = st.builds(
    Incident,
    _places,
    st.sampled_from(IncidentState),
    st.sampled_from(Severity),
    _handles,
    _tuples(_identities),
    _tuples(_texts),
)
_receipts = st.builds(Receipt, _texts, _deliveries, st.none() | _outcomes, st.integers(0), _texts)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "alert": _alerts,
    "delivery": _deliveries,
    "incident": _incidents,
    "ref": _places,
    "identity": _identities,
    "outcome": _outcomes,
    "context": _contexts,
    "receipt": _receipts,
    "link": _links,
    "image": _images,
    "repair": _repairs,
    "preview": st.builds(Preview, _texts, _given.map(lambda given: normalise(given, "")[0])),
    "limit": st.builds(Limit, _texts, st.integers(1), st.floats(1, 100)),
    "capabilities": st.builds(Capabilities, st.booleans(), coalesce=st.booleans()),
    "destination": st.builds(Destination, _texts, _texts),
}


def through_json(value: Any) -> Any:
    stored = json.loads(json.dumps(to_json(value), allow_nan=False))
    return from_json(type(value), stored)


def types_of(value: Any) -> Any:
    """Return the types of a value and of its parts."""
    if attrs.has(type(value)):
        inner = [types_of(getattr(value, field.name)) for field in attrs.fields(type(value))]
        return (type(value), inner)
    if isinstance(value, tuple):
        return (type(value), [types_of(item) for item in value])
    if isinstance(value, dict):
        return (type(value), {name: types_of(item) for name, item in value.items()})
    if isinstance(value, dt.datetime):
        return (type(value), value.tzinfo)
    return type(value)


@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data())
def test_every_value_survives_json(kind: str, data: st.DataObject) -> None:
    value = data.draw(VALUES[kind])
    back = through_json(value)
    assert back == value
    assert types_of(back) == types_of(value)
    hash(back)


def test_json_of_an_alert_is_readable_as_an_alert() -> None:
    alert = Alert("k", "s", severity="info", class_="disk", details={"a": [1]})
    stored = to_json(alert)
    assert stored["class"] == "disk"
    assert "class_" not in stored
    del stored["repairs"]
    assert Alert.read(stored) == alert


def test_repairs_are_not_reported_again() -> None:
    alert = Alert("k", started_at="yesterday", details={"a": float("nan")}, links=["h"])
    assert through_json(alert).repairs == alert.repairs
    assert len(set(alert.repairs)) == len(alert.repairs)


def test_lists_survive_json() -> None:
    """A plugin need not freeze the message of its delivery."""
    message: dict[str, Json] = {"services": [{"id": 1}, {"ids": [2, 3]}]}
    delivery = Delivery(
        Operation.TRIGGER,
        IncidentRef("a", "i", "d", "k"),
        Identity("", "k"),
        Severity.ERROR,
        message,
    )
    message["services"] = None
    assert delivery.message == {"services": ({"id": 1}, {"ids": (2, 3)})}
    back = through_json(delivery)
    assert back == delivery
    assert types_of(back) == types_of(delivery)


def test_long_details_survive_json() -> None:
    deep: object = "bottom"
    for _ in range(DEEPEST):
        deep = [deep]
    alert = Alert("k", "s", labels=deep, started_at=deep, details=deep)  # type: ignore[arg-type]
    assert set(alert.details) == {"details", "labels", "started_at"}
    assert through_json(alert) == alert


def test_long_message_survives_json() -> None:
    """It may be deeper and larger than the details of an alert."""
    deep: Json = "bottom"
    for _ in range(2 * DEEPEST):
        deep = [deep]
    delivery = Delivery(
        Operation.TRIGGER,
        IncidentRef("a", "i", "d", "k"),
        Identity("", "k"),
        Severity.ERROR,
        {"deep": deep, "many": [0] * MOST_VALUES},
    )
    assert through_json(delivery) == delivery


def test_json_has_no_python_types() -> None:
    """A host may use any encoder; Python's accepts tuples, too."""

    def plain(value: Any) -> bool:
        if type(value) is dict:
            return all(type(name) is str and plain(item) for name, item in value.items())
        if type(value) is list:
            return all(map(plain, value))
        return value is None or type(value) in (bool, int, float, str)

    ref = IncidentRef("a", "i", "d", "k")
    handle = FrozenDict(ids=(1, FrozenDict(a=(2,))))
    delivery = Delivery(
        Operation.TRIGGER,
        ref,
        Identity("", "k"),
        Severity.ERROR,
        {"a": [1, {"b": ()}]},
        ("rule",),
        (Repair("a", "b"),),
    )
    for value in (
        Alert("k", details={"a": [1, {"b": [2]}]}, started_at=0, links=["h"]),
        delivery,
        Incident(ref, IncidentState.TRIGGERED, Severity.ERROR, handle, (Identity("", "k"),)),
        Receipt("1", delivery, Outcome(OutcomeKind.DELIVERED, handle=handle)),
        SendContext(handle, now=dt.datetime.now(dt.UTC)),
        Preview("POST", handle),
        handle,
    ):
        assert plain(to_json(value)), to_json(value)


def test_missing_members_get_their_defaults() -> None:
    stored = {"kind": "delivered", "of a newer version": 1}
    assert from_json(Outcome, stored) == Outcome(OutcomeKind.DELIVERED)


@pytest.mark.parametrize("message", [[1], "text", 5])
def test_other_values_in_place_of_objects_are_refused(message: object) -> None:
    stored = {
        "operation": "trigger",
        "ref": {"action": "", "installation": "", "destination": "", "correlation_key": ""},
        "alert": {"scope": "", "key": ""},
        "severity": "error",
        "message": message,
    }
    with pytest.raises(ExceptionGroup) as raised:
        from_json(Delivery, stored)
    assert raised.group_contains(TypeError, match="must be an object")


@attrs.frozen(kw_only=True)
class Service:
    name: str = setting("Name")
    key: Secret = setting("Key")


@attrs.frozen(kw_only=True)
class Account:
    services: tuple[Service, ...] = setting("Services")


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": _texts,
                "key": st.builds("{}:{}".format, st.sampled_from(["env", "file"]), st.text("ab/")),
            }
        )
    )
)
def test_installation_survives_json(services: list[dict[str, str]]) -> None:
    account = structure(Account, {"services": services})
    stored = json.loads(json.dumps(to_json(Installation("p", "acme", account))))
    assert stored == {"provider": "p", "name": "acme", "settings": {"services": services}}
    back = structure(Account, stored["settings"])
    assert back == account
    assert types_of(back) == types_of(account)


@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: Installation("p", "acme", it)])
def test_literal_secret_is_refused(wrap: Any) -> None:
    account = Account(services=(Service(name="a", key=Secret("hunter2")),))
    with pytest.raises(LiteralSecretError):
        to_json(wrap(account))
