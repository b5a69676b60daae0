"""The content of a trigger for one service: its severity, dedup key and message. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from hostspec import Alert, Json, Repair, Severity, Status
from pagerduty_plugin import event
from pagerduty_plugin.action_settings import TriggerSettings
from pagerduty_plugin.constants import (
    ALERT_KEY,
    DEFAULT_SEVERITY,
    PAGE,
    RULE_AND_ALERT_KEY,
    SEVERITIES,
)
from pagerduty_plugin.overrides import Decision, enrich
from pagerduty_plugin.settings import InstallationSettings
from pagerduty_plugin.text_overrides import EventText


@attrs.frozen
class Content:
    """The content of a delivery to one service.

    Attributes:
        key: the dedup key.
        message: members of the body; empty for an acknowledge or resolve.
        repairs: the changes that PagerDuty's limits required.
        notes: for the operator.
    """

    key: str
    message: Mapping[str, Json]
    repairs: tuple[Repair, ...]
    notes: tuple[str, ...]


def rule_severity(
    text: EventText, alert: Alert, settings: TriggerSettings
) -> tuple[Severity, tuple[Repair, ...], tuple[str, ...]]:
    """Return the severity of a rule, with repairs and notes: fixed, the alert's, or rendered."""
    if settings.severity in SEVERITIES:
        return Severity(settings.severity), (), ()
    if settings.severity == DEFAULT_SEVERITY or alert.status is not Status.FIRING:
        return alert.severity, (), ()
    severity, repairs = text.severity(settings.severity)
    return severity, repairs, tuple(text.notes)


def build_content(  # noqa: PLR0913, PLR0917 -- everything that determines an event
    alert: Alert,
    settings: TriggerSettings,
    account: InstallationSettings,
    decided: Decision,
    rule: str,
    text: EventText,
) -> Content:
    """Return the content for the service that `text` renders for."""
    if decided.dedup_key:
        key, repairs = event.prefixed_dedup_key(decided.dedup_key, account.dedup_prefix)
    else:
        key, repairs = _dedup_key(alert, settings, account.dedup_prefix, rule, text)
    if alert.status is not Status.FIRING:
        return Content(key, {}, repairs, tuple(text.notes))
    texts = text.trigger(settings) if settings.has_text else event.NO_OVERRIDES
    built = event.build(alert, severity=decided.severity, key=key, texts=texts)
    enriched = enrich(built.message, decided.additions, event.room_for_message(key))
    missed = {} if settings.missed == PAGE else {event.MISSED: settings.missed}
    return Content(
        key,
        {**enriched.message, **missed},
        (*repairs, *built.repairs, *enriched.repairs),
        (*text.notes, *enriched.notes),
    )


def _dedup_key(
    alert: Alert, settings: TriggerSettings, prefix: str, rule: str, text: EventText
) -> tuple[str, tuple[Repair, ...]]:
    if settings.dedup_key == RULE_AND_ALERT_KEY:
        return event.dedup_key(alert.identity, prefix=prefix, rule=rule)
    if settings.dedup_key != ALERT_KEY and (key := text.dedup_key(settings.dedup_key)):
        return event.prefixed_dedup_key(key, prefix)
    return event.dedup_key(alert.identity, prefix=prefix)
