"""The configuration schema of the two actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from hostspec import Fault, Json, Status, setting
from hostspec.normalisation import FrozenDict
from pagerduty_plugin import templates, validators
from pagerduty_plugin.constants import (
    ALERT_KEY,
    CHANGE_EVENT,
    DEFAULT_SEVERITY,
    DROP,
    EVENT_ACTIONS,
    PAGE,
    RULE_AND_ALERT_KEY,
    SEVERITIES,
)

_TEMPLATE: Final = "May be a template."


def _template(label: str, help: str, check: Any = templates.fault, **more: Any) -> Any:  # noqa: A002 -- as in `setting`
    return setting(label, help=f"{help} {_TEMPLATE}", check=check, **{"default": "", **more})


def _replacement(label: str) -> Any:
    return _template(label, "Replaces the alert's.")


def _details() -> Any:
    return setting(
        "Details",
        help="Added to the alert's, by name. Values may be nested; every text may be a template, "
        "and one that consists of a single expression keeps the type of its value.",
        default=FrozenDict(),
        check=validators.detail,
    )


def _links() -> Any:
    return setting("Links", help="Added to the alert's.", default=())


def _services() -> Any:
    return setting(
        "Services",
        help="Names or ids of services of the installation.",
        least_items=1,
        destinations=True,
    )


@frozen(kw_only=True)
class LinkSettings:
    """A link that a rule adds."""

    href: str = setting(
        "Address", help=f"The target. {_TEMPLATE}", check=validators.needed_template
    )
    text: str = _template("Text", "The text of the link; the address, if empty.")


@frozen(kw_only=True)
class ImageSettings:
    """An image that a rule adds."""

    src: str = setting(
        "Source",
        help=f"The address of the image, over https. {_TEMPLATE}",
        check=validators.needed_template,
    )
    href: str = _template("Address", "The page that a click opens.")
    alt: str = _template("Text", "The alternative text.")


@frozen(kw_only=True)
class TriggerSettings:
    """Which services an alert pages, how urgently, and with which texts."""

    services: tuple[str, ...] = _services()
    severity: str = _template(
        "Severity",
        f"The incident's severity: {', '.join(SEVERITIES)}; {DEFAULT_SEVERITY} means the "
        "alert's own.",
        validators.severity,
        default=DEFAULT_SEVERITY,
    )
    event_actions: tuple[str, ...] = setting(
        "Event actions",
        help="Which events are sent: without trigger, no incident is opened; without acknowledge "
        "or resolve, a person does that at PagerDuty.",
        default=EVENT_ACTIONS,
        choices=EVENT_ACTIONS,
        least_items=1,
    )
    dedup_key: str = setting(
        "Dedup key",
        help=f"Which alerts share an incident: {ALERT_KEY}, {RULE_AND_ALERT_KEY}, or a template "
        "of values that stay the same from trigger to resolve. Alerts with the same result "
        "share an incident.",
        default=ALERT_KEY,
        check=validators.dedup_key,
    )
    summary: str = _replacement("Summary")
    source: str = _replacement("Source")
    component: str = _replacement("Component")
    group: str = _replacement("Group")
    class_: str = _replacement("Class")
    client: str = _template("Client", "The name of the monitoring program.")
    client_url: str = _template("Client URL", "Replaces the alert's own page.")
    details: Mapping[str, Json] = _details()
    links: tuple[LinkSettings, ...] = _links()
    images: tuple[ImageSettings, ...] = setting("Images", help="Added to the alert's.", default=())
    missed: str = setting(
        "Missed problems",
        help="For a problem that ended before PagerDuty could be notified: page and say so, "
        "record a change event, or drop it.",
        default=PAGE,
        choices=(PAGE, CHANGE_EVENT, DROP),
    )

    @property
    def has_text(self) -> bool:
        """Whether it sets any text, which may differ from service to service."""
        return bool(
            self.summary
            or self.source
            or self.component
            or self.group
            or self.class_
            or self.client
            or self.client_url
            or self.details
            or self.links
            or self.images
            or self.dedup_key not in (ALERT_KEY, RULE_AND_ALERT_KEY)
        )

    def faults(self) -> Iterator[Fault]:
        """Reject details without a name."""
        return validators.detail_names(self.details)


@frozen(kw_only=True)
class ChangeSettings:
    """With which services a change is recorded, and with which texts."""

    services: tuple[str, ...] = _services()
    statuses: tuple[str, ...] = setting(
        "Statuses",
        help="Which statuses of an alert are recorded. Firing is always one of them: without it, "
        "no later status is recorded.",
        default=(Status.FIRING.value,),
        choices=tuple(status.value for status in Status),
        least_items=1,
        check=validators.statuses,
    )
    summary: str = _replacement("Summary")
    source: str = _replacement("Source")
    details: Mapping[str, Json] = _details()
    links: tuple[LinkSettings, ...] = _links()

    def faults(self) -> Iterator[Fault]:
        """Reject details without a name."""
        return validators.detail_names(self.details)
