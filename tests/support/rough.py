"""A plugin whose action fails for some alerts and records others."""

from __future__ import annotations

import attrs

from hostspec import (
    Action,
    Capabilities,
    Delivery,
    Destination,
    IncidentRef,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    Suppression,
    hookimpl,
)
from hostspec.provider import Demo


@attrs.frozen(kw_only=True)
class Nothing:
    """No settings."""


class Rough(Provider[Nothing]):
    name = "rough"
    label = "Rough"
    settings = Nothing

    def destinations(self, installation):
        return [Destination("all", "all")]

    def demo(self):
        return Broken()


class Broken(Demo):
    """A demo that is offered and never runs."""

    __enter__ = __exit__ = introduction = configuration = alerts = table = next_steps = None


class Shout(Action[Nothing, Nothing]):
    name = "rough.shout"
    label = "Shout"
    provider = "rough"
    settings = Nothing
    capabilities = Capabilities(idempotent=True)

    def plan(self, alert, settings, installation, *, rule=""):
        if alert.key == "unplannable":
            raise RuntimeError("the message of an exception is not shown")
        if alert.key == "suppressed":
            return [
                Suppression(
                    self.name,
                    installation.name,
                    "all asleep",
                    "night-watch",
                    notes=("another plugin sulked",),
                )
            ]
        place = IncidentRef(self.name, installation.name, "all", alert.key)
        return [
            Delivery(
                Operation.TRIGGER,
                place,
                alert.identity,
                alert.severity,
                notes=("an enricher sulked",),
            )
        ]

    def send(self, delivery, installation, context):
        return Outcome(OutcomeKind.DELIVERED)


@hookimpl
def hostspec_providers():
    return [Rough()]


@hookimpl
def hostspec_actions():
    return [Shout()]
