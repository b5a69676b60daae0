"""Asks the plugins that extend PagerDuty's events, and makes decisions of their answers. Pure.

What decides, of several answers, is written in `pagerduty_plugin.hookspecs`. Nothing that an
extension does costs a page: its answers are judged by their exact types, for a look inside of
anything else could run code of the extension's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeGuard

import attrs

from hostspec import Alert, Answer, Hooks, Severity, Status, Suppression
from hostspec.text import clean_text, shorten
from pagerduty_plugin import event
from pagerduty_plugin.answers import Enrich, Suppress
from pagerduty_plugin.settings import SEVERITIES

MOST_LISTED: Final = 5
"""Names that a note lists."""

LONGEST_NAME: Final = 80
"""Characters of a text that a note quotes."""

_LIKE_A_KEY: Final = re.compile(r"[A-Za-z0-9]{32}|[\w+-]{20}")
"""What may be an integration key or a REST API key, given by mistake."""


class Unextended:
    """No extension is there, so nobody answers."""

    def each(self, _name: str, /, **_arguments: object) -> Sequence[Answer]:
        """Return no answers."""
        return ()

    def reject(self, _name: str, _answer: Answer, _reason: str, /) -> None:
        """Reject nothing: there are no answers."""


@attrs.frozen
class Addition:
    """What one plugin adds to an event."""

    plugin: str
    enrich: Enrich


@attrs.frozen(kw_only=True)
class Decision:
    """What is to be sent, as the rule says, or as extensions decided.

    Attributes:
        severity: what PagerDuty is told.
        services: names of those that are told.
        dedup_key: before prefix and shortening; empty where it is as the rule says.
        additions: what extensions add, in their order.
        notes: which plugin set what, and which one failed.
        suppression: nobody is told, and why.
    """

    severity: Severity
    services: tuple[str, ...]
    dedup_key: str = ""
    additions: tuple[Addition, ...] = ()
    notes: tuple[str, ...] = ()
    suppression: Suppression | None = None


@attrs.frozen(kw_only=True)
class Question:
    """What extensions are asked about.

    Attributes:
        alert: the statement.
        action: the action's name.
        installation: the installation's name.
        rule: the rule's name.
        services: names of services that may be chosen beside those that the rule chose.
    """

    alert: Alert
    action: str
    installation: str
    rule: str
    services: tuple[str, ...]


def decide(hooks: Hooks, question: Question, wanted: Decision) -> Decision:
    """Ask every extension; give what is to be sent.

    Of a status other than firing, only what finds the incident again is asked: services and
    dedup key. A suppression counts for triggers alone: a resolve that is not sent leaves an
    incident open.

    Args:
        hooks: the host's.
        question: what about.
        wanted: what the rule says.
    """
    asking = _Asking(hooks, question)
    decided = asking.services(wanted)
    if decided.suppression:
        return decided
    if question.alert.status is Status.FIRING:
        decided = asking.severity(decided)
    decided = asking.dedup_key(decided)
    if question.alert.status is Status.FIRING:
        decided = asking.additions(decided)
    return attrs.evolve(decided, notes=tuple(asking.notes))


class _Asking:
    """One round of questions about one alert; what a person should know gathers in `notes`."""

    def __init__(self, hooks: Hooks, question: Question) -> None:
        self.notes: list[str] = []
        self._hooks = hooks
        self._question = question

    def services(self, wanted: Decision) -> Decision:
        """Ask where it goes, and whether at all."""
        known = tuple(dict.fromkeys((*self._question.services, *wanted.services)))
        answers = []
        suppressing: list[Answer] = []
        for answer in self._ask("pagerduty_services", services=known, chosen=wanted.services):
            if type(answer.value) is not Suppress:
                answers.append(answer)
            elif not answer.value.reason.strip():
                self._note(answer, "suppressed without a reason, which does not count")
            elif self._question.alert.status is not Status.FIRING:
                self._note(answer, "suppressed a follow-up, which does not count")
            else:
                suppressing.append(answer)
        if suppressing:
            return attrs.evolve(wanted, suppression=self._suppression(suppressing[0]))

        def read(answer: Answer) -> tuple[str, ...]:
            value = (answer.value,) if _is_text(answer.value) else answer.value
            if type(value) not in (list, tuple) or not all(map(_is_text, value)):
                self._refuse("pagerduty_services", answer, "a tuple or list of names")
                return ()
            named = dict.fromkeys(name for name in map(clean_text, value) if name.strip())
            unknown = [_quoted(name) for name in named if name not in known]
            if unknown:
                self._note(answer, f"chose what is no service of the account: {_listed(unknown)}")
            return tuple(name for name in named if name in known)

        chosen = self._first("services", answers, read)
        return attrs.evolve(wanted, services=chosen or wanted.services)

    def severity(self, wanted: Decision) -> Decision:
        """Ask how bad it is."""

        def read(answer: Answer) -> tuple[str, ...]:
            if _is_text(answer.value) and clean_text(answer.value) in SEVERITIES:
                return (clean_text(answer.value),)
            self._refuse("pagerduty_severity", answer, f"one of {', '.join(SEVERITIES)}")
            return ()

        answers = self._ask("pagerduty_severity", severity=event.SEVERITIES[wanted.severity])
        chosen = self._first("severity", answers, read)
        return attrs.evolve(wanted, severity=Severity(*chosen)) if chosen else wanted

    def dedup_key(self, wanted: Decision) -> Decision:
        """Ask for what tells the problem from others."""

        def read(answer: Answer) -> tuple[str, ...]:
            if _is_text(answer.value) and clean_text(answer.value).strip():
                return (clean_text(answer.value),)
            self._refuse("pagerduty_dedup_key", answer, "a text that is not blank")
            return ()

        answers = self._ask("pagerduty_dedup_key")
        chosen = self._first("dedup key", answers, read)
        return attrs.evolve(wanted, dedup_key=chosen[0]) if chosen else wanted

    def additions(self, wanted: Decision) -> Decision:
        """Ask what else a person should see."""
        additions = []
        severity = event.SEVERITIES[wanted.severity]
        for answer in self._ask("pagerduty_enrich", severity=severity, services=wanted.services):
            if type(answer.value) is Enrich:
                additions.append(Addition(answer.plugin, answer.value))
            else:
                self._refuse("pagerduty_enrich", answer, "an Enrich")
        return attrs.evolve(wanted, additions=tuple(additions))

    def _ask(self, hook: str, **arguments: object) -> Iterator[Answer]:
        """Return the answers; those that failed are noted."""
        question = self._question
        for answer in self._hooks.each(
            hook,
            alert=question.alert,
            installation=question.installation,
            rule=question.rule,
            **arguments,
        ):
            if answer.failure:
                self.notes.append(f"plugin {answer.plugin}: {hook} {answer.failure}")
            else:
                yield answer

    def _first(
        self, what: str, answers: Iterable[Answer], read: Callable[[Answer], tuple[str, ...]]
    ) -> tuple[str, ...]:
        """Return the first answer that counts, nothing where there is none; others are noted."""
        holds: tuple[str, ...] = ()
        holder = ""
        for answer in answers:
            said = read(answer)
            told = f"{what} {_listed([_shortened(text) for text in said])}"
            if said and not holds:
                holds, holder = said, answer.plugin
                self.notes.append(f"{told} was set by plugin {holder}")
            elif said and said != holds:
                self._note(answer, f"said {told}, which does not count after plugin {holder}")
        return holds

    def _suppression(self, answer: Answer) -> Suppression:
        question = self._question
        return Suppression(
            question.action,
            question.installation,
            answer.value.reason,
            answer.plugin,
            (question.rule,) if question.rule else (),
            tuple(self.notes),
        )

    def _refuse(self, hook: str, answer: Answer, right: str) -> None:
        reason = f"answered {hook} with {_kind(answer.value)}, not with {right}"
        self._hooks.reject(hook, answer, reason)
        self._note(answer, reason)

    def _note(self, answer: Answer, text: str) -> None:
        self.notes.append(f"plugin {answer.plugin} {text}")


def _is_text(value: object) -> TypeGuard[str]:
    """Check whether it is a text, from its type alone: a proxy's ``__class__`` may run anything."""
    return issubclass(type(value), str)


def _kind(value: object) -> str:
    if not _is_text(value):
        return type(value).__name__
    return "another text" if clean_text(value).strip() else "a blank text"


def _quoted(text: str) -> str:
    return "a text like a key" if _LIKE_A_KEY.fullmatch(text) else repr(_shortened(text))


def _shortened(text: str) -> str:
    return shorten(text, LONGEST_NAME)


def _listed(texts: Sequence[str]) -> str:
    untold = len(texts) - MOST_LISTED
    return ", ".join(texts[:MOST_LISTED]) + (f" and {untold} others" if untold > 0 else "")
