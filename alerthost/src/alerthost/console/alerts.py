"""The pages *Alerts*: the result of each submission, and an explanation of any alert."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from alerthost.config.explanation import explain as explain_alert
from alerthost.config.states import delivery_state
from alerthost.console.rendering import link
from alerthost.console.view import MOST, Html, Redirect, View
from alerthost.http.request import check_body
from alerthost.http.responses import Rejection
from alerthost.ingest.alertmanager import parse_webhook
from alerthost.ingest.json_alerts import ParsedAlert, TooManyAlertsError, parse_body
from alerthost.outbox.admin_lists import SubmissionRow
from alerthost.outbox.submission import SubmissionOutcome
from hostspec.alert import parse_json
from hostspec.inprocess.host import Host

MOST_EXPLAINED: Final = 20
"""Alerts that are explained at once."""

SAMPLE: Final = """\
{
  "key": "db-1/disk",
  "summary": "Disk full on db-1",
  "severity": "critical",
  "labels": {"team": "data"}
}"""
"""The alert that the form starts with."""


@attrs.frozen
class Row:
    """A submission as the page shows it.

    Attributes:
        result: in a few words.
        reasons: why it has no delivery, or fewer than its rules ask for.
        services: the state and the name of each service that it was sent to, by delivery.
    """

    row: SubmissionRow
    result: str
    reasons: tuple[str, ...]
    services: tuple[tuple[int, str, str], ...]


def show_list(view: View) -> Html:
    """List the recent submissions with their results."""
    asked = view.query.get("outcome", "")
    outcome = SubmissionOutcome(asked) if asked in set(SubmissionOutcome) else None
    page = view.admin.lists.submissions(outcome, view.after, MOST)
    values = {
        "outcome": outcome or "",
        "outcomes": list(SubmissionOutcome),
        "rows": [_row(view, each) for each in page.rows],
        "after": page.after,
        "discarded": view.query.get("done") == "discard",
    }
    return Html("alerts.html", values)


def _row(view: View, row: SubmissionRow) -> Row:
    services = tuple(
        (each.id, delivery_state(each), view.lanes.name_of(each.delivery.ref))
        for each in row.deliveries
    )
    return Row(row, _result(row), row.note.reasons if row.note else (), services)


def _result(row: SubmissionRow) -> str:
    if row.note is None:
        return "pending"
    if row.outcome is not None:
        return str(row.outcome)
    return "planned" if row.deliveries else "nothing to send"


def discard(view: View) -> Redirect:
    """Discard a submission that failed or is dead."""
    view.admin.discard_submission(view.fields.get("submission", ""), by=view.actor)
    return Redirect(link("/alerts", done="discard"))


def show_try(_view: View) -> Html:
    """Show the form for an alert to try."""
    return Html("try.html", {"text": SAMPLE, "explained": (), "faults": (), "more": 0})


def explain(view: View) -> Html:
    """Show which rules match the alerts of a form and why, and what would be sent."""
    text = view.fields.get("alert", "")
    try:
        parsed = _parse(text)
    except Rejection as rejection:
        return _tried(text, [], [{"location": "", "path": "", "reason": rejection.reason}], 0)
    host = Host(view.configuration.plugins, view.configuration.rules)
    explained = [
        {
            **explain_alert(host, each.alert, view.configuration.heartbeats),
            "location": each.location,
            "summary": each.alert.summary,
        }
        for each in parsed[:MOST_EXPLAINED]
        if each.alert is not None
    ]
    faults = [
        {"location": each.location, "path": fault.path, "reason": fault.reason}
        for each in parsed
        for fault in each.faults
    ]
    return _tried(text, explained, faults, max(0, len(parsed) - MOST_EXPLAINED))


def _tried(
    text: str,
    explained: Sequence[Mapping[str, Any]],
    faults: Sequence[Mapping[str, str]],
    more: int,
) -> Html:
    values = {"text": text, "explained": explained, "faults": faults, "more": more}
    return Html("try.html", values, 422 if faults else 200)


def _parse(text: str) -> Sequence[ParsedAlert]:
    """Parse alerts as they are posted, or the body of Alertmanager's webhook.

    Raises:
        Rejection: the text is empty, or has too many alerts.
    """
    body = text.encode()
    check_body(body)
    try:
        try:
            payload = parse_json(text)
        except json.JSONDecodeError:  # several lines, perhaps
            payload = None
        if isinstance(payload, Mapping) and "alerts" in payload:
            return parse_webhook(payload, scope="", most=1000)
        return parse_body(body, lines=False, most=1000)
    except TooManyAlertsError as error:
        raise Rejection(413, "too_many_alerts", str(error)) from None
