"""Settings of every type are asked for, and read from the command line."""

from __future__ import annotations

import enum
import io
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click
import pytest
from click.testing import CliRunner

from alerthost.cli import prompts
from alerthost.cli.connect import pick
from alerthost.cli.output import Screen
from alerthost.config import cli_settings
from alerthost.config.document import ConfigurationError
from hostspec import Fault, Secret, SettingsError, setting, structure
from hostspec.connect import Found, FoundState


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen(kw_only=True)
class IncidentRef:
    street: str = setting("Street", help="Where it is.")
    number: int | None = setting("Number", default=None)


@attrs.frozen(kw_only=True)
class Everything:
    loud: bool = setting("Loud")
    count: int = setting("Count", minimum=2)
    ratio: float = setting("Ratio")
    colour: Colour = setting("Colour")
    place: IncidentRef = setting("Place")
    tags: tuple[str, ...] = setting("Tags", help="Words.")
    kinds: tuple[str, ...] = setting("Kinds", choices=("a", "b"), default=("a",))
    token: Secret | None = setting("Token", default=None)
    mode: str = setting("Mode", choices=("slow", "fast"), default="slow")
    limits: tuple[int, ...] = setting("Limits", default=())


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "can_ask", lambda: True)


@attrs.frozen(kw_only=True)
class Odd:
    odd: Mapping[str, str] = setting("Odd")


def faults(kind: type, raw: Mapping[str, Any]) -> Sequence[Fault]:
    try:
        structure(kind, raw)
    except SettingsError as error:
        return error.faults
    return ()


def ask(kind: type, *answers: str) -> tuple[dict[str, Any], str]:
    """Ask with prepared answers; return the settings and the output."""
    with CliRunner().isolation(input="".join(f"{each}\n" for each in answers)) as (_, err, _):
        raw = prompts.complete(kind, {}, lambda raw: faults(kind, raw), Screen())
        return raw, err.getvalue().decode()


def test_each_setting_is_asked_by_its_type_and_again_if_wrong() -> None:
    answers = ("y", "many", "1", "3", "0.5", "green", "blue", "High", "x", "y", "z", "n", "")

    raw, shown = ask(Everything, *answers)

    assert raw == {
        "loud": True,
        "count": 3,
        "ratio": 0.5,
        "colour": "blue",
        "place": {"street": "High"},
        "tags": ["x", "z"],
        "mode": "slow",
    }
    assert "must be a whole number, not text" in shown
    assert "1 is too small; the least is 2" in shown
    assert shown.count("Words.") == 1
    assert structure(Everything, raw).place == IncidentRef(street="High")


def test_a_required_setting_that_cannot_be_asked_for_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="odd: missing; it is required"):
        ask(Odd)


def test_the_end_of_input_aborts_the_questions() -> None:
    with pytest.raises(click.Abort):
        ask(Everything, "y")


def test_values_of_every_type_are_read_from_the_command_line() -> None:
    texts = ("loud=true", "count=3", "ratio=many", "tags=x", "tags=y=z", "limits=1", "limits=2")
    raw, misread = cli_settings.read(
        Everything, None, (*texts, "token=env:T", "colour=red", "mode=")
    )
    assert not misread
    assert raw == {
        "loud": True,
        "count": 3,
        "ratio": "many",
        "tags": ["x", "y=z"],
        "limits": [1, 2],
        "token": "env:T",
        "colour": "red",
        "mode": "",
    }


def test_settings_of_the_command_line_are_merged_into_the_file() -> None:
    file = io.BytesIO(b'count = 2\ntags = ["a"]\n')
    raw, _ = cli_settings.read(Everything, file, ["count=3", "tags=b"])
    assert raw == {"count": 3, "tags": ["a", "b"]}


FOUND = [
    Found("P1", "web", FoundState.READY),
    Found("P2", "web", FoundState.MISSING),
    Found("P3", "2", FoundState.READY),
    Found("P4", "off", FoundState.UNUSABLE, "it is off"),
]


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        (["all"], ["P1", "P2", "P3"]),
        (["P2"], ["P2"]),
        (["2"], ["P3"]),  # a name before a number
        (["1", "P1", "3"], ["P1", "P3"]),
    ],
)
def test_a_choice_is_by_name_id_or_number(chosen: list[str], ids: list[str]) -> None:
    assert [each.id for each in pick(FOUND, chosen)] == ids


@pytest.mark.parametrize(
    ("chosen", "reported"),
    [
        (["web"], "'web' is ambiguous; give one of the ids: P1, P2"),
        (["off"], "'off' cannot be connected: it is off"),
        (["0"], "'0' is unknown"),
        (["5"], "'5' is unknown"),
    ],
)
def test_an_impossible_choice_is_an_error(chosen: list[str], reported: str) -> None:
    with pytest.raises(ConfigurationError, match=reported):
        pick(FOUND, chosen)
    with pytest.raises(ConfigurationError, match="has no service that can be connected"):
        pick(FOUND[3:], ["all"])
