"""The preview of a rule that is edited: which recent alerts match, and what one of them sends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from alerthost.config.explanation import explain
from alerthost.config.matchers import Matcher, matchers_of
from alerthost.console.alerts import SAMPLE
from alerthost.console.view import View
from hostspec.alert import Alert, Status
from hostspec.errors import Fault
from hostspec.inprocess.host import Host
from hostspec.plugins import Rule

RECENT: Final = 200
"""Submissions that are compared with the rule."""


@attrs.frozen
class Compared:
    """A recent alert, compared with the rule.

    Attributes:
        name: its identity, as the form names it.
        misses: the matchers that do not match, each with the value of the alert.
    """

    name: str
    alert: Alert
    misses: tuple[tuple[Matcher, str], ...]

    @property
    def matches(self) -> bool:
        """Whether the rule applies to it."""
        return not self.misses


@attrs.frozen
class Preview:
    """The preview of a rule.

    Attributes:
        alerts: the recent ones, each in its last state, those that match first.
        chosen: the one whose messages are shown.
        is_sample: whether there is no recent alert, but a sample.
        explained: the messages to each service when it fires; None without a valid action.
        is_compared: whether all matchers are valid.
        is_asked: whether the form chose the alert.
    """

    alerts: tuple[Compared, ...]
    chosen: Compared
    is_sample: bool
    explained: Mapping[str, Any] | None
    is_compared: bool
    is_asked: bool

    @property
    def matching(self) -> int:
        """The number of alerts that match."""
        return sum(each.matches for each in self.alerts)


def preview_of(view: View, rule: Rule | None, faults: Sequence[Fault]) -> Preview:
    """Compare a rule with the recent alerts, and plan the chosen one, or the first, for it.

    Args:
        view: names the chosen alert.
        rule: its valid parts; None if its table cannot be read.
        faults: of the other parts.
    """
    recent: dict[str, Alert] = {}
    for alert in view.admin.recent_alerts(RECENT):
        recent.setdefault(json.dumps([alert.scope, alert.key]), alert)
    alerts = recent or {"": _sample()}
    matchers = matchers_of(rule) if rule else ()
    compared = [_compare(name, alert, matchers) for name, alert in alerts.items()]
    compared.sort(key=lambda each: not each.matches)
    asked = view.fields.get("alert")
    chosen = next((each for each in compared if each.name == asked), None)
    shown = chosen or compared[0]
    explained = None
    if rule and rule.actions:
        # as if it matched and fired: the messages are looked at before the matchers are right
        applied = attrs.evolve(rule, matches=lambda _: True)
        host = Host(view.configuration.plugins, [applied])
        explained = explain(host, attrs.evolve(shown.alert, status=Status.FIRING))
    return Preview(
        alerts=tuple(compared),
        chosen=shown,
        is_sample=not recent,
        explained=explained,
        is_compared=not any(fault.path.startswith("match") for fault in faults),
        is_asked=chosen is not None,
    )


def _compare(name: str, alert: Alert, matchers: Sequence[Matcher]) -> Compared:
    misses = ((each, each.value_of(alert)) for each in matchers if not each.matches(alert))
    return Compared(name, alert, tuple(misses))


def _sample() -> Alert:
    return Alert.read_text(SAMPLE)
