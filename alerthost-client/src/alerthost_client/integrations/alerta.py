"""A plugin of Alerta that hands its alerts over."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from alerta.plugins import PluginBase  # pyright: ignore[reportMissingImports]
from flask import g

from alerthost_client.client import Client

_SEVERITIES = {"security": "critical", "advisory": "info"}
"""Those that alerthost does not know."""

_NORMAL = {"normal", "ok", "cleared"}

_STATUSES = {
    "open": "firing",
    "assign": "acknowledged",
    "ack": "acknowledged",
    "shelved": "resolved",
    "blackout": "resolved",
    "closed": "resolved",
    "expired": "resolved",
    # of the model ISA_18_2
    "UNACK": "firing",
    "ACKED": "acknowledged",
    "NORM": "resolved",
    "RTNUN": "resolved",
    "SHLVD": "resolved",
    "DSUPR": "resolved",
    "OOSRV": "resolved",
}


class AlertPlugin(PluginBase):  # type: ignore[misc]
    """Fires, acknowledges and resolves an alert as its status in Alerta changes.

    The key is ``alerta/`` with the id of the alert. The environment variables set up the client.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self._client = Client.from_env()

    def pre_receive(self, alert: Any, **_: Any) -> Any:
        """Return the alert unchanged."""
        g.alerthost_receives = True
        return alert

    def post_receive(self, alert: Any, **settings: Any) -> None:
        """Hand over a new alert, or another severity or status; other repeats are left out."""
        # a repeat sets the time of the last update only if it changes the status
        if not alert.repeat or alert.update_time == alert.last_receive_time:
            is_normal = alert.severity.lower() in _NORMAL
            status = "resolved" if is_normal else _STATUSES.get(alert.status, "firing")
            self._send(alert, status, settings)

    def status_change(self, alert: Any, status: str, _text: str, **settings: Any) -> None:
        """Hand over a change by an operator, by time, or by a blackout."""
        found = _STATUSES.get(status) if status != alert.status else None
        # the alert is in its earlier state; if it is being received, `post_receive` fires it
        if found == "resolved" or (found and "alerthost_receives" not in g):
            self._send(alert, found, settings)

    def delete(self, alert: Any, **settings: Any) -> bool:
        """Resolve a deleted alert."""
        self._send(alert, "resolved", settings)
        return True

    def _send(self, alert: Any, status: str, settings: dict[str, Any]) -> None:
        is_normal = alert.severity.lower() in _NORMAL  # as it was closed, before it is opened again
        severity = alert.previous_severity if is_normal else alert.severity
        reason = alert.text or alert.value
        labels = {
            "environment": alert.environment,
            "service": ", ".join(alert.service),
            "resource": alert.resource,
            "event": alert.event,
            "group": alert.group,
            "customer": alert.customer,
        }
        dashboard = self.get_config("DASHBOARD_URL", **settings)
        self._client.send(
            {
                "key": f"alerta/{alert.id}",
                "status": status,
                "summary": f"{alert.event} on {alert.resource}" + (f": {reason}" if reason else ""),
                "severity": _SEVERITIES.get(severity.lower(), severity),
                "source": alert.resource,
                # with the alert's own time, opening it again soon would count as a late repeat
                "started_at": datetime.now(timezone.utc).isoformat(),
                "labels": {name: text for name, text in labels.items() if text},
                "details": {**alert.attributes, "value": alert.value, "tags": alert.tags},
                "url": f"{dashboard}/#/alert/{alert.id}" if dashboard else "",
            }
        )
