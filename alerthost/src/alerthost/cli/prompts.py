"""Asks for settings at a terminal, field by field, and again after a wrong answer.

Required settings and settings with choices are asked for; all others keep their defaults.
"""

from __future__ import annotations

import contextlib
import enum
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import click

from alerthost.cli.output import Screen, printable
from alerthost.config.document import ConfigurationError, refuse
from hostspec.errors import Fault
from hostspec.secret import Secret
from hostspec.settings import SettingInfo, info_of, key_of

Validate: TypeAlias = Callable[[Mapping[str, Any]], Sequence[Fault]]
"""Finds faults in the answers so far, missing ones too."""


def can_ask() -> bool:
    """Check whether standard input is a terminal."""
    return sys.stdin.isatty()


def complete(
    kind: type, given: dict[str, Any], validate: Validate, screen: Screen, *, remedy: str = ""
) -> dict[str, Any]:
    """Return all settings of a class: the given ones, and the operator's answers for others.

    Args:
        kind: the settings class.
        given: settings that are not asked for.
        validate: finds faults.
        screen: shows help and faults.
        remedy: for settings that are missing without a terminal.

    Raises:
        ConfigurationError: settings are wrong, or missing without a terminal.
        Abort: the operator pressed Ctrl-C or Ctrl-D.
    """
    faults = validate(given)
    wrong = wrong_ones(given, faults)
    if not faults:
        return given
    if wrong or not can_ask():
        missing = [Fault("", remedy)] if remedy and len(faults) > len(wrong) else []
        raise ConfigurationError([*faults, *missing])
    dialog = _Dialog(given, validate, screen)
    dialog.ask_fields(kind, "", dialog.answers)
    dialog.repeat_wrong("")
    return dialog.answers


def wrong_ones(given: Mapping[str, Any], faults: Sequence[Fault]) -> Sequence[Fault]:
    """Return the faults of the given settings, without those of missing ones."""
    return [
        fault
        for fault in faults
        if not fault.path or fault.path.partition(".")[0].partition("[")[0] in given
    ]


def ask_secret(label: str, validate: Callable[[str], Sequence[Fault]], screen: Screen) -> str:
    """Ask for a secret, without echo, until it is valid."""
    while True:
        secret = _hidden(label)
        faults = validate(secret)
        if not faults:
            return secret
        for fault in faults:
            screen.print_error(fault.reason)


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation, unless `yes` gives it; exit if it is refused."""
    if yes:
        return
    if not can_ask():
        refuse("--yes", "missing; add it, or run the command at a terminal to be asked")
    if not click.confirm(printable(question), err=True):
        sys.exit(1)


def show_consequences(consequences: Sequence[str], screen: Screen) -> None:
    """Show what a change would do to the rules."""
    if consequences:
        screen.warn("After this change:")
    for text in consequences:
        screen.warn(f"  {text}")


@attrs.frozen
class _Question:
    """A setting to ask for, with the type of the answer and the default."""

    info: SettingInfo
    kind: Any
    default: object = None


class _Dialog:
    """Questions and their answers."""

    def __init__(self, answers: dict[str, Any], validate: Validate, screen: Screen) -> None:
        self.answers = answers
        self._validate = validate
        self._screen = screen
        self._questions: dict[str, Callable[[], None]] = {}
        self._explained: set[str] = set()

    def ask_fields(self, kind: Any, path: str, into: dict[str, Any]) -> None:
        attrs.resolve_types(kind)
        for field in attrs.fields(kind):
            info, key = info_of(field), key_of(field)
            is_required = field.default is attrs.NOTHING
            has_choices = info.choices and typing.get_origin(field.type) is not tuple
            if key not in into and (is_required or has_choices):
                below = f"{path}.{key}" if path else key
                default = None if is_required else field.default
                self._ask(_Question(info, _answer_type(field.type), default), below, into, key)

    def repeat_wrong(self, path: str) -> None:
        """Repeat the questions below a path whose answers are wrong, until none is."""
        while faults := self._faults(path):
            askable = [
                (fault, question) for fault in faults if (question := self._question_of(fault.path))
            ]
            if not askable:
                raise ConfigurationError(faults)
            for fault, question in askable:
                self._screen.print_error(fault.reason)
                self._questions[question]()

    def _ask(self, question: _Question, path: str, into: Any, key: str | int) -> None:
        info, kind = question.info, question.kind
        if attrs.has(kind):
            into[key] = {}
            self.ask_fields(kind, path, into[key])
        elif typing.get_origin(kind) is tuple:
            into[key] = []
            self._ask_entries(info, typing.get_args(kind)[0], path, into[key])
        elif kind in _ASKED_AS_TEXT or _is_enum(kind):

            def again() -> None:
                into[key] = _answer(question)

            self._questions[path] = again
            self._explain(info)
            again()
            while faults := [each for each in self._faults(path) if each.path == path]:
                self._screen.print_error(faults[0].reason)
                again()

    def _ask_entries(self, info: SettingInfo, kind: Any, path: str, into: list[Any]) -> None:
        if attrs.has(kind):
            self._explain(info)
        while True:
            below = f"{path}[{len(into)}]"
            into.append(None)
            self._ask(_Question(info, kind), below, into, len(into) - 1)
            self.repeat_wrong(below)
            if not click.confirm("Add another?", err=True):
                return

    def _explain(self, info: SettingInfo) -> None:
        if info.help and info.help not in self._explained:
            self._screen.print_error(info.help, "dim")
            self._explained.add(info.help)

    def _faults(self, path: str) -> list[Fault]:
        """Find the faults at and below a path."""
        return [
            fault
            for fault in self._validate(self.answers)
            if not path or fault.path == path or fault.path.startswith((f"{path}.", f"{path}["))
        ]

    def _question_of(self, path: str) -> str:
        """Return the path of the question that a fault belongs to; empty for none."""
        while path and path not in self._questions:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return path


_NUMBERS: Final = (int, float)
_ASKED_AS_TEXT: Final = (str, bool, Secret, *_NUMBERS)


def _answer_type(kind: Any) -> Any:
    """Return the type of the answer: not null, and one value if there may be several."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    kinds = [each for each in typing.get_args(kind) if each is not types.NoneType]
    return next((each for each in kinds if typing.get_origin(each) is not tuple), kinds[0])


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _answer(question: _Question) -> Any:
    info, kind = question.info, question.kind
    if kind is Secret:
        return _hidden(info.label)
    if kind is bool:
        return click.confirm(info.label, err=True)
    choices = [member.value for member in kind] if _is_enum(kind) else info.choices
    if choices:
        choice = click.Choice(choices)
        return click.prompt(info.label, default=question.default, type=choice, err=True)
    answer = click.prompt(info.label, type=str, err=True)
    if kind in _NUMBERS:
        with contextlib.suppress(ValueError):
            return kind(answer)
    return answer.strip()


def _hidden(label: str) -> str:
    return str(click.prompt(label, type=str, hide_input=True, err=True)).strip()
