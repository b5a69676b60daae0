"""Forms of all settings: what a form shows, it reads back."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerthost.console import whole_forms
from alerthost.console.forms import FLAG, Field
from hostspec import Destination, Fault, Json, Secret, setting


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen(kw_only=True)
class Link:
    href: str = setting("Address")
    text: str = setting("Text", default="")
    new: bool = setting("New", default=True)


@attrs.frozen(kw_only=True)
class Network:
    timeout: float = setting("Timeout", default=5.0)
    proxy: Secret | None = setting("Proxy", default=None)


@attrs.frozen(kw_only=True)
class Settings:
    services: tuple[str, ...] = setting("Services", destinations=True)
    first: str = setting("First", default="", destinations=True)
    text: str = setting("Text", default="")
    severity: str = setting("Severity", default="default")
    count: int = setting("Count", default=3)
    on: bool = setting("On", default=True)
    off: bool = setting("Off", default=False)
    colour: Colour = setting("Colour", default=Colour.RED)
    colours: tuple[Colour, ...] = setting("Colours", default=(Colour.RED,))
    names: tuple[str, ...] = setting("Names", default=())
    numbers: tuple[int, ...] = setting("Numbers", default=())
    either: str | tuple[str, ...] = setting("Either", default="")
    anything: Json = setting("Anything", default="")
    labels: Mapping[str, str] = setting("Labels", default=attrs.Factory(dict))
    details: Mapping[str, Json] = setting("Details", default=attrs.Factory(dict))
    links: tuple[Link, ...] = setting("Links", default=())
    network: Network = setting("Network", default=Network())
    rest: tuple[Mapping[str, Any], ...] = setting("Rest", default=())


DESTINATIONS = (Destination("1", "checkout"), Destination("2", "platform"))


def fields_of(
    values: Mapping[str, Any], faults: Sequence[Fault] = (), kind: type = Settings
) -> dict[str, Field]:
    found = whole_forms.fields_of(kind, values, faults, "a[0]", DESTINATIONS)
    return {field.name: field for field in found}


def sent(fields: Mapping[str, Field]) -> dict[str, str]:
    """Return the form as a browser sends it."""
    form: dict[str, str] = {}
    for name, field in fields.items():
        if field.kind == whole_forms.SEVERAL:
            chosen = [each for each in field.choices if each in field.chosen]
            form |= {f"{name}[{index}]": each for index, each in enumerate(chosen)}
        elif field.kind != FLAG:
            form[name] = field.value.replace("\n", "\r\n")
        elif field.value:
            form[name] = field.value
    return form


def read(form: Mapping[str, str]) -> dict[str, Any]:
    return whole_forms.read(Settings, form, "a[0]", DESTINATIONS)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)
LINE = TEXTS.map(lambda text: " ".join(text.split())).filter(bool)
JSON = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {"services": st.lists(st.sampled_from("12"), min_size=1, unique=True).map(sorted)},
        optional={
            "first": st.sampled_from("12"),
            "text": TEXTS.map(str.strip).filter(bool),
            "count": st.integers().filter(lambda count: count != 3),
            "on": st.just(value=False),
            "off": st.just(value=True),
            "colour": st.just("blue"),
            "colours": st.sampled_from([[], ["blue"], ["red", "blue"]]),
            "names": st.lists(LINE, min_size=1),
            "numbers": st.lists(st.integers(), min_size=1),
            "either": LINE | st.lists(LINE, min_size=2),
            "anything": JSON.filter(lambda value: value not in ("", [], {})),
            "labels": st.dictionaries(TEXTS.filter(str.strip), LINE, min_size=1),
            "details": st.dictionaries(TEXTS.filter(str.strip), JSON, min_size=1),
            "links": st.lists(st.fixed_dictionaries({"href": LINE}), min_size=1, max_size=3),
            "network": st.just({"timeout": 7, "proxy": "env:PROXY"}),
        },
    )
)
def test_settings_are_read_back_from_their_form(values: dict[str, Any]) -> None:
    assert read(sent(fields_of(values))) == values


def test_untouched_form_of_new_settings_is_empty() -> None:
    assert read(sent(fields_of({}))) == {}


def test_form_has_one_more_entry_of_each_list_of_tables() -> None:
    fields = fields_of({"links": [{"href": "x"}]})
    assert fields["a[0].links[0].href"].value == "x"
    assert fields["a[0].links[1].href"].label == "Links 2: Address"
    assert not fields["a[0].links[1].href"].is_required
    assert fields["a[0].network.timeout"].label == "Network: Timeout"
    assert "a[0].rest" not in fields


def test_destination_is_chosen_by_its_id_and_a_removed_one_stays_visible() -> None:
    services = fields_of({"services": ["platform", "gone"]})["a[0].services"]
    assert services.chosen == ("2", "gone")
    assert services.titles == {"1": "checkout", "2": "platform", "gone": "gone"}
    found = whole_forms.fields_of(Settings, {"services": ["x", "y"]})
    assert next(found).value == "x\ny"


def test_text_of_several_lines_is_edited_as_such() -> None:
    values = {"services": ["1"], "text": "one\ntwo", "anything": "one\ntwo"}
    fields = fields_of(values)
    assert fields["a[0].text"].kind == whole_forms.LONG
    assert fields["a[0].anything"].value == '"one\\ntwo"'
    assert read(sent(fields)) == values


def test_secret_is_shown_only_as_a_reference() -> None:
    for proxy, shown in (("env:PROXY", "env:PROXY"), ("http://user:pw@proxy", ""), (5, "")):
        network = {"network": {"proxy": proxy}}
        assert fields_of(network)["a[0].network.proxy"].value == shown


@pytest.mark.parametrize("text", ["no pair", " = value", '"open', '"name" value', '"a" b = c'])
def test_line_that_is_no_pair_is_kept_and_explained(text: str) -> None:
    values = read({"a[0].details": f"a = 1\n{text}"})
    assert values["details"] == f"a = 1\n{text}".strip()
    fault = Fault("a[0].details", "must be a table, not text")
    field = fields_of(values, [fault])["a[0].details"]
    assert field.value == values["details"]
    assert field.faults == (
        "each line is NAME = VALUE, such as runbook = https://wiki.example.org/disk",
    )


def test_fault_is_beside_its_field_with_its_place_in_it() -> None:
    faults = [
        Fault("a[0].names[1]", "is odd"),
        Fault("a[0].names", "are odd"),
        Fault("a[0].details.x", "is odder"),
        Fault("a[0].links[0].href", "is blank"),
        Fault("a[0].text", "is long"),
        Fault("a[0].either.x", "is strange"),
        Fault("a[0].unknown", "is unknown"),
    ]
    values = {"links": [{"href": " "}], "details": {"x": 1}}
    fields = fields_of(values, faults)
    assert fields["a[0].names"].faults == ("line 2: is odd", "are odd")
    assert fields["a[0].details"].faults == ("x: is odder",)
    assert fields["a[0].links[0].href"].faults == ("is blank",)
    assert fields["a[0].text"].faults == ("is long",)
    assert fields["a[0].either"].faults == ("is strange",)
    assert whole_forms.other_faults(fields.values(), faults) == faults[-1:]


def test_what_looks_like_no_json_number_is_text() -> None:
    assert read({"a[0].details": "a = NaN\nb = [1\nc = 5"})["details"] == {
        "a": "NaN",
        "b": "[1",
        "c": 5,
    }
