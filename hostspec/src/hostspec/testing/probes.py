"""Plugins for the checks of a host: one records its deliveries, and others misbehave.

Each entry point names an instance in this module. The record is a file, so that a host may run
in another process.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import pluggy

from hostspec import (
    Action,
    Alert,
    AnyAction,
    Capabilities,
    Delivery,
    Destination,
    Hooks,
    Incident,
    IncidentRef,
    Installation,
    Json,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    Receipt,
    SendContext,
    Status,
    hookimpl,
    hookspec,
    to_json,
)

RECORD_VARIABLE: Final = "HOSTSPEC_TESTING_RECORD"
"""The environment variable that names the record's file."""

_OPERATIONS: Final = {
    Status.FIRING: Operation.TRIGGER,
    Status.ACKNOWLEDGED: Operation.ACKNOWLEDGE,
    Status.RESOLVED: Operation.RESOLVE,
}


def record(event: str, **members: object) -> None:
    """Append an event to the record, in one write, so that threads do not interleave."""
    line = json.dumps({"event": event, **members}) + "\n"
    file = os.open(os.environ[RECORD_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def read_record() -> list[dict[str, Any]]:
    """Return the recorded events in order."""
    path = Path(os.environ[RECORD_VARIABLE])
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


@attrs.frozen(kw_only=True)
class NoSettings:
    """No settings."""


_Installation = Installation[NoSettings]


class _Paging(Provider[NoSettings]):
    name = "conformance-paging"
    label = "Conformance"
    settings = NoSettings

    def destinations(self, installation: _Installation) -> Sequence[Destination]:
        return [Destination("all", "Everybody")]


class _Page(Action[NoSettings, NoSettings]):
    """Records deliveries. The alert's label ``outcome`` is the outcome of the attempt."""

    name = "conformance-paging.page"
    label = "Page"
    provider = "conformance-paging"
    settings = NoSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True, coalesce=True)

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def plan(
        self, alert: Alert, settings: NoSettings, installation: _Installation, *, rule: str = ""
    ) -> Sequence[Delivery]:
        """Return one delivery, with the marks of the extensions."""
        answers = self._hooks.each("conformance_mark", alert=alert)
        marks: list[Json] = [answer.value for answer in answers if not answer.failure]
        key = json.dumps([alert.scope, alert.key])
        return [
            Delivery(
                operation=_OPERATIONS[alert.status],
                ref=IncidentRef(self.name, installation.name, "all", key),
                alert=alert.identity,
                severity=alert.severity,
                message={"marks": marks, "outcome": alert.labels.get("outcome", "delivered")},
                rules=(rule,),
                notes=tuple(answer.failure for answer in answers if answer.failure),
            )
        ]

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        if alert.status is Status.FIRING:
            return None
        operation = _OPERATIONS[alert.status]
        return Delivery(
            operation, incident.ref, alert.identity, incident.severity, rules=incident.rules
        )

    def send(
        self, delivery: Delivery, installation: _Installation, context: SendContext
    ) -> Outcome:
        """Record the delivery; the handle names the installation."""
        record(
            "sent",
            operation=delivery.operation,
            installation=installation.name,
            key=delivery.alert.key,
            marks=to_json(delivery)["message"].get("marks"),
            notes=len(delivery.notes),
            handle=dict(context.handle) if context.handle is not None else None,
        )
        kind = OutcomeKind(str(delivery.message.get("outcome", "delivered")))
        return Outcome(kind, handle={"opened": installation.name})


class _Failing(_Paging):
    name = "conformance-failing"
    label = "Conformance, failing"


class _Fail(_Page):
    """Exits in `plan` or in `send`, depending on the alert's key."""

    name = "conformance-failing.fail"
    label = "Fail"
    provider = "conformance-failing"

    def plan(
        self, alert: Alert, settings: NoSettings, installation: _Installation, *, rule: str = ""
    ) -> Sequence[Delivery]:
        record("planning")
        if alert.key == "fail in plan":
            sys.exit("the plugin exits in plan")
        return super().plan(alert, settings, installation, rule=rule)

    def send(
        self, delivery: Delivery, installation: _Installation, context: SendContext
    ) -> Outcome:
        record("sending")
        if delivery.alert.key == "fail in send":
            sys.exit("the plugin exits in send")
        return Outcome(OutcomeKind.DELIVERED)


class _Marks:
    """The hook of the plugin ``conformance-paging``."""

    @hookspec
    def conformance_mark(self, alert: Alert) -> str | None:
        """Return a mark for an alert; None for no opinion."""


@attrs.frozen(eq=False)
class _OfferingPlugin:
    provider: type[_Paging]
    action: type[_Page]

    @hookimpl
    def hostspec_providers(self) -> Sequence[Provider[Any]]:
        return [self.provider()]

    @hookimpl
    def hostspec_actions(self, hooks: Hooks) -> Sequence[AnyAction]:
        return [self.action(hooks)]


class _PagingPlugin(_OfferingPlugin):
    """Adds the hook ``conformance_mark``, too, which its action calls to plan."""

    @hookimpl
    def hostspec_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
        pluginmanager.add_hookspecs(_Marks)


class _ObservingPlugin:
    """Records the calls of observers, and marks each alert with its key."""

    @hookimpl
    def hostspec_delivered(self, receipt: Receipt) -> None:
        record("delivered", key=receipt.delivery.alert.key, id=receipt.id)

    @hookimpl
    def hostspec_undelivered(self, receipt: Receipt) -> None:
        record("undelivered", key=receipt.delivery.alert.key, id=receipt.id)

    @hookimpl(optionalhook=True)
    def conformance_mark(self, alert: Alert) -> str:
        return alert.key


class _ExitingPlugin:
    """Exits: in its extension for the alert ``mark``, in its observer for all others."""

    @hookimpl(tryfirst=True)
    def hostspec_delivered(self, receipt: Receipt) -> None:
        if receipt.delivery.alert.key != "mark":
            self._misbehave()

    @hookimpl(tryfirst=True, optionalhook=True)
    def conformance_mark(self, alert: Alert) -> None:
        if alert.key == "mark":
            self._misbehave()

    def _misbehave(self) -> None:
        sys.exit("the plugin exits in a hook")


class _HangingPlugin(_ExitingPlugin):
    """Never returns, for the same alerts."""

    def _misbehave(self) -> None:
        threading.Event().wait()


class _IncompletePlugin:
    @hookimpl
    def hostspec_providers(self) -> list[str]:
        return ["conformance-incomplete"]


paging = _PagingPlugin(_Paging, _Page)
failing = _OfferingPlugin(_Failing, _Fail)
observing = _ObservingPlugin()
exiting = _ExitingPlugin()
hanging = _HangingPlugin()
incomplete = _IncompletePlugin()

MODULES: Final = {
    "conformance-idle": """\
from hostspec import hookimpl
from hostspec.testing import probes

probes.record("imported", plugin="conformance-idle")


@hookimpl
def hostspec_delivered(receipt):
    probes.record("called", key=receipt.delivery.alert.key)
""",
    "conformance-unimportable": """\
import sys

sys.exit("the plugin exits when it is imported")
""",
}
"""The source of plugins whose import has an effect; the checks write it to a file."""
