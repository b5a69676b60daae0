"""An install flow without randomness, and answers in PagerDuty's form."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from hostspec import Installation
from hostspec.connect import Connected, InstallRequest, PendingInstall
from pagerduty_plugin.installation import merge_services
from pagerduty_plugin.installation.install_flow import PagerDutyInstallFlow
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallationSettings, InstallFlowSettings

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
CALLBACK = "https://alerts.example/connect/pagerduty"


def key(number: int) -> str:
    """Return an integration key."""
    return f"{number:04d}" + "canaryCANARY0123456789abcdef"


def entry(number: int, name: str, *, id: str = "", type: str = "service") -> dict[str, str]:  # noqa: A002
    """Return an entry of ``integration_keys``."""
    return {"integration_key": key(number), "name": name, "id": id, "type": type}


def config(*entries: object, **account: str) -> str:
    """Return the configuration that PagerDuty sends back, as JSON."""
    return json.dumps(
        {
            "account": account or {"subdomain": "acme", "name": "Acme Inc"},
            "integration_keys": list(entries),
        }
    )


@pytest.fixture(autouse=True)
def numbered_ids(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Number the ids of new services, except in a test of random ids."""
    if "random_ids" in request.function.__name__:
        return
    numbers = itertools.count(1)
    monkeypatch.setattr(merge_services, "new_id", lambda: f"service-{next(numbers)}")


@attrs.define
class Connector:
    """The flow, with ids that count up, and a host's installations."""

    installations: dict[str, Installation[InstallationSettings]] = attrs.field(factory=dict)
    flow: PagerDutyInstallFlow = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.flow = PagerDutyInstallFlow()

    def begin(self, **settings: Any) -> InstallRequest:
        """Begin at a fixed time, with a fixed state."""
        return self.flow.begin(
            CALLBACK,
            InstallFlowSettings(app_id="PABC123", **settings),
            return_url="https://alerts.example/installations",
            now=NOW,
            state="the-state",
        )

    def pending(self, **settings: Any) -> PendingInstall:
        """Return the pending install that the host stores."""
        return self.begin(**settings).pending

    def finish(
        self, parameters: Mapping[str, str], **settings: Any
    ) -> Connected[InstallationSettings]:
        """Finish in time, and keep the installation."""
        connected = self.flow.finish(
            {"state": "the-state", **parameters},
            self.pending(**settings),
            installations=self.installations.values(),
            now=NOW,
        )
        self.installations[connected.installation.name] = connected.installation
        return connected

    def connect(
        self, *entries: object, account: Mapping[str, str] | None = None, **settings: Any
    ) -> Connected[InstallationSettings]:
        """Finish with the entries that PagerDuty granted."""
        return self.finish({"config": config(*entries, **(account or {}))}, **settings)

    def by_hand(self, name: str, *services: Mapping[str, object], **settings: Any) -> None:
        """Add an installation by hand."""
        raw = {"services": list(services), **settings}
        self.installations[name] = PagerDuty().installation(name, raw)

    def table(self, name: str = "Acme Inc") -> list[tuple[str, str, tuple[str, ...]]]:
        """Return an installation's services: id, name, keys in the clear."""
        return [
            (each.id, each.name, tuple(held.reveal() for held in each.keys))
            for each in self.installations[name].settings.services
        ]
