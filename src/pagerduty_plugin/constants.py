"""Constants of PagerDuty and words of the configuration that several modules share."""

from __future__ import annotations

from typing import Final

from hostspec import Operation

PROVIDER: Final = "pagerduty"
"""The name of the provider."""

BASE_URLS: Final = {"us": "https://events.pagerduty.com", "eu": "https://events.eu.pagerduty.com"}
"""The Events API by service region (support page "Service Regions")."""

REST_URLS: Final = {"us": "https://api.pagerduty.com", "eu": "https://api.eu.pagerduty.com"}
"""The REST API by service region (support page "Service Regions")."""

PAGE_DOMAINS: Final = {"us": "pagerduty.com", "eu": "eu.pagerduty.com"}
"""PagerDuty's web pages by service region (support page "Service Regions"). Whether the install
page exists for the EU is not documented."""

SEVERITIES: Final = ("critical", "error", "warning", "info")
"""The severities of the Events API v2 (guide "Send an Alert Event")."""

EVENT_ACTIONS: Final = (
    Operation.TRIGGER.value,
    Operation.ACKNOWLEDGE.value,
    Operation.RESOLVE.value,
)
"""The values of PagerDuty's ``event_action``."""

EVENTS_PER_MINUTE: Final = 120
"""Events that PagerDuty accepts per integration key (guide "Rate Limits", "about 120 a minute")."""

MOST_EVENTS_PER_MINUTE: Final = 10_000
"""The highest rate limit that an installation can configure."""

RATE_WINDOW: Final = 60.0
"""Seconds of PagerDuty's sliding window."""

ACCOUNT_TOKEN_LENGTH: Final = 20
"""Characters of an account's REST API key; not promised, but true of PagerDuty's examples."""

STARS: Final = "********"
"""The beginning of every mask of a secret."""

# Words of the configuration

AUTO: Final = "auto"
"""``token_kind``: detect the kind of token from its length."""

DEFAULT_SEVERITY: Final = "default"
"""``severity``: the alert's own."""

DIRECT: Final = "direct"
"""``proxy``: none."""

ALERT_KEY: Final = "alert"
"""``dedup_key``: one incident for each problem, shared by all rules."""

RULE_AND_ALERT_KEY: Final = "rule and alert"
"""``dedup_key``: one incident for each problem and rule."""

PAGE: Final = "page"
"""``missed``: trigger and resolve an incident all the same."""

CHANGE_EVENT: Final = "change-event"
"""``missed``: record a change event, which notifies no one."""

DROP: Final = "drop"
"""``missed``: send nothing."""
