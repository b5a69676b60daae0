"""Forms that are made from the declaration of settings."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from alerthost.console import forms
from hostspec import Fault, Secret, setting


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen(kw_only=True)
class Entry:
    name: str = setting("Name")
    secret: Secret = setting("Secret")


@attrs.frozen(kw_only=True)
class Settings:
    entries: tuple[Entry, ...] = setting("Entries", least_items=1)
    more: tuple[Entry, ...] = setting("More", default=())
    count: int = setting("Count", default=3, help="How many.")
    share: float | None = setting("Share", default=None)
    on: bool = setting("On", default=True)
    colour: Colour = setting("Colour", default=Colour.RED)
    size: str = setting("Size", choices=("s", "m"), default="m")
    names: tuple[str, ...] = setting("Names", default=())
    numbers: tuple[int, ...] = setting("Numbers", default=())
    labels: Mapping[str, str] = setting("Labels", default={})


def test_each_setting_has_the_field_of_its_type() -> None:
    fields = forms.fields_of(Settings, {"names": ["a", "b"], "entries": [{"secret": "hidden"}]})
    shown = [(each.name, each.kind, each.value, each.choices, each.is_required) for each in fields]
    assert shown == [
        ("entries[0].name", forms.TEXT, "", (), True),
        ("entries[0].secret", forms.SECRET, "", (), True),
        ("count", forms.NUMBER, "3", (), False),
        ("share", forms.NUMBER, "", (), False),
        ("on", forms.FLAG, "yes", (), False),
        ("colour", forms.CHOICE, "red", ("red", "blue"), False),
        ("size", forms.CHOICE, "m", ("s", "m"), False),
        ("names", forms.LINES, "a\nb", (), False),
    ]


def test_form_is_read_as_settings_without_blank_fields() -> None:
    form = {
        "entries[0].name": " checkout ",
        "entries[0].secret": "env:KEY",
        "count": "7",
        "share": "half",
        "names": " a\r\n\r\nb ",
        "colour": "blue",
        "size": " ",
        "unknown": "x",
    }
    assert forms.read(Settings, form) == {
        "entries": [{"name": "checkout", "secret": "env:KEY"}],
        "count": 7,
        "share": "half",
        "on": False,
        "names": ["a", "b"],
        "colour": "blue",
    }
    assert forms.read(Settings, {"s.on": "yes", "on": ""}, "s") == {
        "entries": [{}],
        "on": True,
    }


def test_fault_is_beside_its_field_or_above_the_form() -> None:
    faults = [Fault("entries[0].name", "too short"), Fault("names[1]", "twice"), Fault("", "no")]
    fields = forms.fields_of(Settings, {}, faults)
    assert {each.name: each.faults for each in fields if each.faults} == {
        "entries[0].name": ("too short",),
        "names": ("twice",),
    }
    assert forms.general_faults(fields, faults) == ["no"]
