"""The answers of ``alerthost run``, none of them larger than a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from alerthost.http.json_alerts import Submission
from alerthost.http.refusals import Refusal, shortened
from hostspec.alert import Alert
from hostspec.normalisation import Repair

MOST_SHOWN: Final = 1000
"""Faults, and repairs, that one answer shows; the others are counted."""


def accepted(
    ids: Sequence[str], alerts: Sequence[Alert], faults: Sequence[Mapping[str, str]] = ()
) -> Response:
    """Build the answer to a request whose alerts are stored, or some of them."""
    left = MOST_SHOWN
    submissions = []
    for name, alert in zip(ids, alerts, strict=True):
        shown = alert.reported_repairs[: max(0, left)]
        left -= len(alert.reported_repairs)
        submissions.append(
            {
                "id": name,
                "scope": shortened(alert.scope),
                "key": shortened(alert.key),
                "status": alert.status,
                "repairs": [_repair(each) for each in shown],
            }
        )
    content: dict[str, Any] = {"submissions": submissions}
    if left < 0:
        content["repairs_not_shown"] = -left
    return JSONResponse(content | _faults(faults), 202)


def refused(refusal: Refusal, status: int) -> Response:
    """Build the answer to a refused request."""
    content = {"error": refusal.reason} | _faults(refusal.faults)
    return JSONResponse(content, status, headers=refusal.headers)


def faults_of(submissions: Sequence[Submission]) -> list[dict[str, str]]:
    """Return every fault of the statements, each with its place in the body."""
    return [
        {"place": each.place, "path": shortened(fault.path), "reason": shortened(fault.reason)}
        for each in submissions
        for fault in each.faults
    ]


def _repair(repair: Repair) -> dict[str, str]:
    return {"field": shortened(repair.field), "reason": shortened(repair.reason)}


def _faults(faults: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    if not faults:
        return {}
    content: dict[str, Any] = {"faults": faults[:MOST_SHOWN]}
    if len(faults) > MOST_SHOWN:
        content["faults_not_shown"] = len(faults) - MOST_SHOWN
    return content
