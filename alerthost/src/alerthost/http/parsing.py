"""Reads alerts from the body of a request: one JSON object, a list of them, or JSON lines."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Mapping

from alerthost.http import json_alerts
from alerthost.http.json_alerts import Submission
from hostspec.alert import Alert, FaultyAlertError, parse_json
from hostspec.errors import Fault


class TooManyAlertsError(ValueError):
    """A body holds more alerts than are accepted in one request."""

    @classmethod
    def of(cls, most: int) -> TooManyAlertsError:
        """Make one that says how many are accepted."""
        return cls(f"more than {most:,} alerts in one request")


def read(body: bytes, *, lines: bool = False, most: int | None = None) -> tuple[Submission, ...]:
    """Read the alerts in a body; what is no UTF-8 in it is repaired, and reported.

    Takes time linear in the length of the body, and stops at the first alert beyond `most`.

    Args:
        body: one JSON object, a list of them, or one on each line.
        lines: it is JSON lines, though it may look like something else.
        most: how many alerts a body may hold; None for any number.

    Raises:
        TooManyAlertsError: the body holds more.
    """
    if lines:
        return _lines(body, most)
    try:
        content = parse_json(text_of(body))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _lines(body, most)
        return (not_json(error),)
    if content == []:
        return (json_alerts.empty_list(""),)
    if isinstance(content, list):
        if most is not None and len(content) > most:
            raise TooManyAlertsError.of(most)
        given = (_alert(f"alert {n}", each) for n, each in enumerate(content, start=1))
        return tuple(given)
    if is_group(content):
        reason = "a group as Alertmanager and Grafana post it; post it to /ingest/alertmanager"
        return (Submission("", None, (Fault("", reason),)),)
    return (_alert("", content),)


def text_of(body: bytes) -> str:
    """Return the text of a body; bytes that are not UTF-8 are kept for the alert to repair."""
    return body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def not_json(error: json.JSONDecodeError) -> Submission:
    """Return the faulty statement of a body that is no JSON."""
    reason = f"not JSON: {error.msg} at character {error.pos + 1}"
    return Submission("", None, (Fault("", reason),))


def is_group(content: object) -> bool:
    """Check whether a body is a group of alerts as Alertmanager posts it."""
    return (
        isinstance(content, Mapping)
        and "key" not in content
        and isinstance(content.get("alerts"), list)
    )


def _lines(body: bytes, most: int | None) -> tuple[Submission, ...]:
    return _at_most(most, json_alerts.read("", io.BytesIO(body)))


def _at_most(most: int | None, given: Iterable[Submission]) -> tuple[Submission, ...]:
    if most is None:
        return tuple(given)
    given = iter(given)
    read = tuple(itertools.islice(given, most))
    if next(given, None) is not None:
        raise TooManyAlertsError.of(most)
    return read


def _alert(place: str, content: object) -> Submission:
    try:
        return Submission(place, Alert.read(content))
    except FaultyAlertError as error:
        return Submission(place, None, error.faults)
