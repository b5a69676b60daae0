"""Rules: which alerts start which actions with which settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from hostspec.action import AnyAction
from hostspec.alert import Alert
from hostspec.provider import Installation


@attrs.frozen
class RuleAction:
    """What a rule does: an action with its settings, through an installation."""

    action: AnyAction
    installation: Installation[Any]
    settings: Any


def _as_tuple(actions: Iterable[RuleAction]) -> tuple[RuleAction, ...]:
    return tuple(actions)


def _always(_alert: Alert) -> bool:
    return True


@attrs.frozen(eq=False)
class Rule:
    """Which alerts start which actions.

    Attributes:
        name: unique in a host; deliveries carry it.
        actions: what to do.
        matches: decides for an alert; every alert matches where it is left out.
    """

    name: str
    actions: tuple[RuleAction, ...] = attrs.field(converter=_as_tuple)
    matches: Callable[[Alert], bool] = _always
