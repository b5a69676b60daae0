"""The size of an alert is bounded, and so is the number of its repairs."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostspec import Alert, FaultyAlertError, Image
from hostspec.alert.reader import LONGEST_KEY, LONGEST_LINE, MOST_ENTRIES, MOST_LABELS
from hostspec.normalisation import LONGEST_TEXT, MOST_CHARACTERS, MOST_REPAIRS, normalise
from hostspec.values import from_json, to_json

MOST_OF_ALL = 20 * (MOST_REPAIRS + 2)
"""Repairs of an alert: it has 16 fields, beside the unknown ones."""


def read(**fields: object) -> Alert:
    return Alert.read({"key": "k", "summary": "s", "severity": "error"} | fields)


def repairs_of(alert: Alert) -> list[tuple[str, str]]:
    return [(repair.field, repair.reason) for repair in alert.repairs]


def test_images_are_bounded_and_the_rest_is_counted() -> None:
    alert = read(images=["x"] * 5_000)
    assert alert.images == (Image("x"),) * MOST_ENTRIES
    assert repairs_of(alert) == [
        ("images", "4,900 more entries were dropped; an alert has 100 at most"),
        *(
            (f"images[{number}]", "text where an object belongs; taken as its src")
            for number in range(MOST_REPAIRS)
        ),
        ("images", f"{MOST_ENTRIES - MOST_REPAIRS} further repairs like these"),
    ]
    assert len(json.dumps(to_json(alert))) < 5_000


@pytest.mark.parametrize(
    ("fields", "last"),
    [
        ({"links": [{"href": "h", "odd": 1}] * 5_000}, ("links", "90 further repairs like these")),
        (
            {"links": [{"href": "h", **{f"f{n}": 1 for n in range(5_000)}}]},
            ("links", "4,990 further repairs like these"),
        ),
        (
            {"labels": {f"l{n}": n for n in range(5_000)}},
            ("labels", "990 further repairs like these"),
        ),
        (
            {"details": {"numbers": [float("nan")] * 5_000}},
            ("details", "4,990 further repairs like these"),
        ),
        (
            {f"f{n}": n for n in range(5_000)},
            ("details", "4,990 more fields that an alert does not have moved here"),
        ),
    ],
    ids=["links", "members", "labels", "details", "unknown fields"],
)
def test_many_repairs_are_counted(fields: dict[str, Any], last: tuple[str, str]) -> None:
    alert = read(**fields)
    assert repairs_of(alert)[-1] == last
    assert len(alert.repairs) <= MOST_REPAIRS + 2


def test_many_repairs_of_one_field_hide_no_other_field() -> None:
    alert = read(images=["x"] * 50, updated_at="never", severity="loud")
    assert {"severity", "updated_at"} <= {field for field, _ in repairs_of(alert)}


def test_labels_are_bounded() -> None:
    alert = read(labels={f"l{n}": "x" for n in range(MOST_LABELS + 7)})
    assert list(alert.labels) == [f"l{n}" for n in range(MOST_LABELS)]
    assert repairs_of(alert) == [
        ("labels", "7 more entries were dropped; an alert has 1,000 at most")
    ]


def test_long_keys_stay_different() -> None:
    """The end becomes a hash of the whole key, so that a resolve still finds its incident."""
    whole = "k" * 1_000_000
    for field in ("key", "scope"):
        one, same, other = (read(**{field: text}) for text in (whole, whole, f"{whole}2"))
        assert one.identity == same.identity != other.identity
        assert len(getattr(one, field)) == LONGEST_KEY
        reason = "1,000,000 characters; beyond 1,024 its end became a hash of the whole"
        assert repairs_of(one) == [(field, reason)]
        assert attrs.evolve(one) == one
    assert read(key="k" * LONGEST_KEY).key == "k" * LONGEST_KEY


def test_long_text_is_cut() -> None:
    for field in ("summary", "source", "component", "group"):
        alert = read(**{field: "x" * (LONGEST_LINE + 1)})
        assert getattr(alert, field) == "x" * (LONGEST_LINE - 1) + "…"
        assert repairs_of(alert) == [(field, "65,537 characters; cut to 65,536")]
        assert read(**{field: "x" * LONGEST_LINE}).repairs == ()
    alert = read(labels={"a": "x" * (LONGEST_LINE + 1)})
    assert len(alert.labels["a"]) == LONGEST_LINE


def test_long_address_is_moved_and_never_cut() -> None:
    long = "https://h.example/" + "x" * LONGEST_LINE
    alert = read(url=long, images=[{"src": "s", "href": long}, {"src": long}])
    assert (alert.url, alert.details) == ("", {"url": long})
    assert alert.images == (Image("s"),)
    too_long = "65,554 characters, and an address has 65,536 at most"
    assert repairs_of(alert)[:3] == [
        ("url", f"{too_long}; kept in the details"),
        ("images[0].href", f"{too_long}; dropped"),
        ("images[1].src", f"{too_long}; dropped"),
    ]


def test_details_are_bounded() -> None:
    alert = read(details={"a": "x" * (LONGEST_TEXT + 1), "b": ["y" * LONGEST_TEXT] * 9, "c": 1})
    assert len(str(alert.details["a"])) <= LONGEST_TEXT
    assert len(alert.details["b"]) == 3  # type: ignore[arg-type]
    assert "c" not in alert.details
    assert repairs_of(alert) == [
        ("details.a", "512,001 characters; cut to 512,000"),
        ("details.b", f"what follows the first {MOST_CHARACTERS:,} characters was cut"),
    ]
    assert attrs.evolve(alert) == alert


@pytest.mark.parametrize(
    "value",
    [
        {"n" * (LONGEST_TEXT + 1) + str(number): 1 for number in range(9)},
        dict.fromkeys(range(20), "x" * (MOST_CHARACTERS // 8)),
        [[[["x" * 1000]]]] * 5000,
    ],
    ids=["long names", "numbers as names", "nested"],
)
def test_second_reading_cuts_nothing(value: object) -> None:
    once, repairs = normalise(value, "it")
    assert repairs
    assert normalise(once, "it") == (once, ())


def test_long_names_are_quoted_in_part() -> None:
    name = "n" * 1_000_000
    alert = read(**{name: 1}, labels={name: 1}, links=[{"href": "h", name: 1}], details={name: {1}})
    assert 5 <= len(alert.repairs) < 10
    assert all(len(repair.field) + len(repair.reason) < 400 for repair in alert.repairs)


def test_faults_quote_long_values_in_part() -> None:
    with pytest.raises(FaultyAlertError) as raised:
        read(key="", status="s" * 1_000_000)
    assert len(str(raised.value)) < 300


def test_bounded_alert_survives_json() -> None:
    alert = read(
        **{f"f{n}": n for n in range(50)},
        key="k" * 5_000,
        images=["x"] * 500,
        labels={f"l{n}": n for n in range(2_000)},
        details={"numbers": [float("nan")] * 50},
    )
    assert from_json(Alert, json.loads(json.dumps(to_json(alert)))) == alert


def test_unreadable_list_costs_no_other_field() -> None:
    class Broken(list[str]):
        def __len__(self) -> int:
            raise OSError

    alert = read(links=Broken(["x"]))
    assert alert.links == ()
    ((field, reason),) = map(attrs.astuple, alert.repairs)
    assert field == "links"
    assert reason.startswith("could not be read: it failed at tests/contract/test_bounds.py:")
    assert reason.endswith("; dropped")


def test_unreadable_mappings_cost_no_other_field() -> None:
    class Broken(dict[str, str]):
        def items(self) -> Any:
            raise OSError

    alert = read(details=Broken(a=1), labels=Broken(a="b"))
    assert alert.labels == {}
    assert alert.details == {"details": "(could not be read)", "labels": "(could not be read)"}


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["href", "src", "key", "a", ""]), inner, max_size=3)
        | st.builds(lambda value, times: [value] * times, inner, st.sampled_from([1, 150]))
        | st.builds(lambda text, times: text * times, st.text(max_size=2), st.just(70_000))
    ),
    max_leaves=4,
)
_NAMES = [field.name.rstrip("_") for field in attrs.fields(Alert)]


def test_moved_values_share_the_bounds_of_the_details() -> None:
    long: Any = ["x" * 70_000] * 150
    alert = Alert("k", "s", started_at=long, updated_at=long)
    assert len(str(alert.details)) < MOST_CHARACTERS + 100_000
    assert attrs.evolve(alert) == alert


@given(st.dictionaries(st.sampled_from([*_NAMES, "odd", "alert.odd"]), _json) | _json)
def test_any_json_is_accepted_within_bounds_or_rejected(document: object) -> None:
    try:
        alert = Alert.read(document)
    except FaultyAlertError as error:
        faults = error.faults
        alert = Alert("k", "s")
    else:
        faults = ()
    assert all(len(str(fault)) < 300 for fault in faults)
    assert len(alert.repairs) <= MOST_OF_ALL
    assert all(len(repair.field) <= 201 and len(repair.reason) < 400 for repair in alert.repairs)
    assert max(len(alert.links), len(alert.images)) <= MOST_ENTRIES
    assert max(len(alert.key), len(alert.scope)) <= LONGEST_KEY
    assert attrs.evolve(alert) == alert
