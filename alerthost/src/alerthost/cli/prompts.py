"""Asks a person at a terminal for settings, field by field, again where an answer will not do.

Asked for is what is required, and what is one of several choices: there a default is a guess.
Everything else keeps its default.
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

from alerthost.cli.screen import Screen, printable
from alerthost.config.document import refuse
from hostspec.errors import Fault
from hostspec.secret import Secret
from hostspec.settings import SettingInfo, SettingsError, info_of, key_of

Judge: TypeAlias = Callable[[Mapping[str, Any]], Sequence[Fault]]
"""Says what is wrong with the answers so far, what is missing too."""


def can_ask() -> bool:
    """Check whether there is a person to ask."""
    return sys.stdin.isatty()


def ask(kind: type, given: Mapping[str, Any], judge: Judge, screen: Screen) -> dict[str, Any]:
    """Ask for what is not given.

    Args:
        kind: the settings class.
        given: what needs no asking, as a file would hold it.
        judge: says what is wrong.
        screen: where help and complaints go.

    Returns:
        everything, as a file would hold it.

    Raises:
        SettingsError: what was given is wrong, which no answer mends.
        Abort: the person does not want to any more (Ctrl-C, Ctrl-D).
    """
    asking = _Asking(dict(given), judge, screen)
    asking.ask_fields(kind, "", asking.answers)
    asking.settle("")
    return asking.answers


def ask_secret(label: str, judge: Callable[[str], Sequence[Fault]], screen: Screen) -> str:
    """Ask for one secret, masked, until it will do."""
    while True:
        secret = _hidden(label)
        faults = judge(secret)
        if not faults:
            return secret
        for fault in faults:
            screen.complain(printable(fault.reason))


def go_ahead(question: str, *, yes: bool) -> None:
    """Ask whether to go on, unless that was said; end the command if not.

    Raises:
        ConfigurationError: nobody said so, and there is nobody to ask.
    """
    if yes:
        return
    if not can_ask():
        refuse("--yes", "missing; at a terminal it is asked for")
    if not click.confirm(printable(question), err=True):
        sys.exit(1)


def tell_consequences(told: Sequence[str], screen: Screen) -> None:
    """Show what a change does to the rules, before it is made."""
    if told:
        screen.complain("After that:", "yellow")
    for text in told:
        screen.complain(printable(f"  {text}"), "yellow")


@attrs.frozen
class _Question:
    """What is asked: its declaration, the type of the answer, and the default."""

    info: SettingInfo
    kind: Any
    default: object = None


class _Asking:
    """One conversation; `answers` grows as it goes on."""

    def __init__(self, answers: dict[str, Any], judge: Judge, screen: Screen) -> None:
        self.answers = answers
        self._judge = judge
        self._screen = screen
        self._again: dict[str, Callable[[], None]] = {}
        self._explained: set[str] = set()

    def ask_fields(self, kind: Any, path: str, into: dict[str, Any]) -> None:
        attrs.resolve_types(kind)
        for field in attrs.fields(kind):
            info, key = info_of(field), key_of(field)
            has_choices = info.choices and typing.get_origin(field.type) is not tuple
            if key not in into and (field.default is attrs.NOTHING or has_choices):
                below = f"{path}.{key}" if path else key
                default = None if field.default is attrs.NOTHING else field.default
                self._ask(_Question(info, _asked_for(field.type), default), below, into, key)

    def settle(self, path: str) -> None:
        """Ask again for what is wrong below a path, until nothing is."""
        while faults := self._faults(path):
            askable = [(fault, asked) for fault in faults if (asked := self._asked(fault.path))]
            if not askable:
                raise SettingsError(faults)
            for fault, asked in askable:
                self._screen.complain(printable(fault.reason))
                self._again[asked]()

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
                into[key] = _value(question)

            self._again[path] = again
            self._explain(info)
            again()
            while faults := [each for each in self._faults(path) if each.path == path]:
                self._screen.complain(printable(faults[0].reason))
                again()

    def _ask_entries(self, info: SettingInfo, kind: Any, path: str, into: list[Any]) -> None:
        if attrs.has(kind):
            self._explain(info)
        while True:
            below = f"{path}[{len(into)}]"
            into.append(None)
            self._ask(_Question(info, kind), below, into, len(into) - 1)
            self.settle(below)
            if not click.confirm("Add another?", err=True):
                return

    def _explain(self, info: SettingInfo) -> None:
        if info.help and info.help not in self._explained:
            self._screen.explain(info.help)
            self._explained.add(info.help)

    def _faults(self, path: str) -> list[Fault]:
        """Return what is wrong at a path, and below it."""
        return [
            fault
            for fault in self._judge(self.answers)
            if not path or fault.path == path or fault.path.startswith((f"{path}.", f"{path}["))
        ]

    def _asked(self, path: str) -> str:
        """Find the question whose answer a fault speaks of; empty for none."""
        while path and path not in self._again:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return path


_NUMBERS: Final = (int, float)
_ASKED_AS_TEXT: Final = (str, bool, Secret, *_NUMBERS)


def _asked_for(kind: Any) -> Any:
    """Return the type of the answer: one of one or several, and something rather than null."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    kinds = [each for each in typing.get_args(kind) if each is not types.NoneType]
    return next((each for each in kinds if typing.get_origin(each) is not tuple), kinds[0])


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _value(question: _Question) -> Any:
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
