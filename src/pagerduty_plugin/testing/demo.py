"""The demo: realistic alerts, sent to a fake PagerDuty, and the resulting incidents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Final, Self

from hostspec.provider import Demo, Table
from hostspec.text import shorten
from pagerduty_plugin.testing.account import Incident
from pagerduty_plugin.testing.fake import FakePagerDuty
from pagerduty_plugin.testing.misbehaviour import failing

_SERVICES: Final = ("checkout", "platform", "data")

_SEVERITIES: Final = ("critical", "error", "warning", "info")

_FAILURES: Final = 3
"""Events of the last service that fail at a time."""

_NEXT_STEPS: Final = """\
With a real account:
  1. In PagerDuty: a service, Integrations, Add integration, Events API V2.
  2. alerthost init                  writes alerthost.toml, which you then edit
     export INTEGRATION_KEY=...      the key of the integration
  3. alerthost check                 checks whether everything is ready
     echo '{"key": "demo", "severity": "critical"}' | alerthost explain
                                     shows what would be sent, and why

To explore the fake: fake-pagerduty --port 9911"""


class PagerDutyDemo(Demo):
    """An account with three services, and the alerts of one night."""

    def __init__(self) -> None:
        self._fake = FakePagerDuty()
        self._keys: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Start the fake PagerDuty."""
        self._fake.start()
        self._keys = {name: self._fake.add_service(name) for name in _SERVICES}
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._fake.stop()

    def introduction(self) -> str:
        """Return where the alerts go."""
        return (
            "A night's alerts go to a fake PagerDuty on this machine,\n"
            f"to the services {', '.join(_SERVICES)}."
        )

    def configuration(self) -> Mapping[str, object]:
        """Return a configuration with one account, and a rule for each team."""
        services = [{"name": name, "integration_key": key} for name, key in self._keys.items()]
        settings = {"base_url": self._fake.url, "services": services}
        return {
            "plugins": {"enabled": ["pagerduty"]},
            "installations": [{"provider": "pagerduty", "name": "acme", "settings": settings}],
            "rules": [
                *(_rule(f"{name} team", [f'team="{name}"'], [name]) for name in _SERVICES),
                _rule("Payments also wake the platform", ['component="payments"'], ["platform"]),
            ],
        }

    def alerts(self) -> Sequence[str]:
        """Return the lines of the shipped file."""
        shipped = files("pagerduty_plugin.testing") / "alerts.jsonl"
        return shipped.read_text(encoding="utf-8").splitlines()

    def disturb(self) -> None:
        """Make the last service fail for some events."""
        self._fake.misbehave(failing(), times=_FAILURES, key=self._keys[_SERVICES[-1]])

    def table(self) -> Table:
        """Return the incidents, the most severe ones first."""
        columns = ("no.", "service", "severity", "state", "events", "summary")
        incidents = sorted(self._fake.incidents, key=_rank)
        return Table("Incidents at PagerDuty", columns, tuple(map(_row, incidents)))

    def next_steps(self) -> str:
        """Return how to use a real account."""
        return _NEXT_STEPS


def _rank(incident: Incident) -> tuple[int, str, str]:
    return _SEVERITIES.index(incident.severity), incident.service, incident.summary


def _row(incident: Incident) -> tuple[str, ...]:
    summary = shorten(incident.summary, 60)
    number, events = f"#{incident.number}", str(incident.events)
    return (number, incident.service, incident.severity, incident.state, events, summary)


def _rule(name: str, match: list[str], services: list[str]) -> dict[str, object]:
    action = {"use": "pagerduty.trigger", "installation": "acme", "services": services}
    return {"name": name, "match": match, "actions": [action]}
