"""Accept the alerts of JSON lines one by one: one that does not fit now holds up no other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import attrs

from alerthost.ingest.json_alerts import ParsedAlert, TooManyAlertsError, parse_alert
from hostspec.alert import Alert, Identity


@attrs.frozen
class Line:
    """One line of a body.

    Attributes:
        number: counts from 1; blank lines are counted, too.
        submission_id: the same for the same line of the same number under the same key only.
        parsed: its alert, or the faults.
    """

    number: int
    submission_id: str
    parsed: ParsedAlert


def parse_each_line(body: bytes, key: str, most: int) -> Sequence[Line]:
    """Parse each line that is not blank as one alert.

    Args:
        body: JSON lines.
        key: the Idempotency-Key.
        most: limit of alerts.

    Raises:
        TooManyAlertsError: the body has more.
    """
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if len(lines) > most:
        raise TooManyAlertsError(most)
    return [
        Line(number, _id(key, number, line), parse_alert(f"line {number}", _text(line)))
        for number, line in lines
    ]


def find_unfit(
    lines: Sequence[Line], admit: Callable[[Sequence[Alert]], str | None]
) -> Mapping[int, str]:
    """Return why lines, by their number, are to be posted again later.

    The states of one alert are accepted together, so that their order is kept, and that one which
    is urgent brings along the earlier ones.

    Args:
        lines: in order.
        admit: reserves room for alerts, or returns why it refuses them.
    """
    states: dict[Identity, list[tuple[int, Alert]]] = {}
    for line in lines:
        if line.parsed.alert is not None:
            numbered = line.number, line.parsed.alert
            states.setdefault(line.parsed.alert.identity, []).append(numbered)
    reasons = ((of_one, admit([alert for _, alert in of_one])) for of_one in states.values())
    unfit = {number: reason for of_one, reason in reasons if reason for number, _ in of_one}
    return dict(sorted(unfit.items()))


def _id(key: str, number: int, line: bytes) -> str:
    return hashlib.sha256(f"{key}\n{number}\n".encode() + line).hexdigest()[:32]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape").strip()
