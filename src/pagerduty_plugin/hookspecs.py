"""The hooks by which other plugins override events for PagerDuty, and the values they return.

The hooks are called while an alert is planned, never for a follow-up that is built from the
stored incident. Implementations are called one by one, in pluggy's order: by the names of the
plugins, ``tryfirst`` first and ``trylast`` last. One that raises, exceeds its deadline or returns
an invalid value is noted on the delivery, and the event is sent without it. Every override is
noted too, with the plugin's name.

If the host may not have PagerDuty, mark implementations ``@hookimpl(optionalhook=True)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from hostspec import Alert, Image, Json, Link, Repair, hookspec
from hostspec.alert import FieldReader
from hostspec.normalisation import FrozenDict


def _clean(value: object) -> str:
    return FieldReader().text("reason", value)


@attrs.frozen
class Suppress:
    """Stops a trigger; a value for ``pagerduty_services``.

    Attributes:
        reason: shown to the operator instead of the delivery. A blank one suppresses nothing.
    """

    reason: str = attrs.field(converter=_clean)


@attrs.frozen(init=False)
class Enrich:
    """Additions to a trigger; the value for ``pagerduty_enrich``.

    Invalid values are repaired, as an alert's own fields are. That happens in the constructor,
    so that it counts towards the plugin's deadline.

    Attributes:
        details: for ``custom_details``, as JSON.
        links: for example a runbook, a dashboard.
        images: for example a graph; one that is not https becomes a link.
        repairs: the repairs of invalid values.
    """

    details: Mapping[str, Json]
    links: tuple[Link, ...]
    images: tuple[Image, ...]
    repairs: tuple[Repair, ...]

    def __init__(
        self,
        *,
        details: Mapping[str, object] | None = None,
        links: Sequence[Link | Mapping[str, object] | str] = (),
        images: Sequence[Image | Mapping[str, object] | str] = (),
    ) -> None:
        reader = FieldReader()
        fields: dict[str, Any] = {
            "details": FrozenDict(reader.details(details)),
            "links": reader.links(links),
            "images": reader.images(images),
        }
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue]
            **fields, repairs=reader.repairs
        )


class PagerDutySpec:
    """The hooks of the PagerDuty plugin. The docstrings are the contract."""

    @hookspec
    def pagerduty_severity(
        self, alert: Alert, severity: str, installation: str, rule: str
    ) -> str | None:
        """Return the severity of a trigger.

        Called once for each rule that plans a trigger; a follow-up has no severity. Every
        implementation runs. The first valid severity is used.

        Args:
            alert: the alert; it is immutable.
            severity: the rule's: ``critical``, ``error``, ``warning`` or ``info``.
            installation: the installation's name.
            rule: the rule's name; empty if the host has none.

        Returns:
            ``critical``, ``error``, ``warning`` or ``info``; None for no opinion.

        Example::

            from hostspec import hookimpl

            @hookimpl
            def pagerduty_severity(alert, severity):
                if alert.labels.get("tier") == "gold":
                    return "critical"
                return None
        """

    @hookspec
    def pagerduty_dedup_key(self, alert: Alert, installation: str, rule: str) -> str | None:
        """Return the key by which PagerDuty deduplicates events of the same problem.

        Called once for each rule that plans a trigger. Also called for an acknowledge or resolve
        by a host that stores no incidents and plans these from its rules. So use only values that
        stay the same while the problem lasts (scope, key, labels), never status or time: with
        another key, the incident stays open forever. Every implementation runs. The first text
        that is not blank is used, for every service. The installation's prefix is added, and a
        key over 255 characters is shortened.

        Args:
            alert: the alert; it is immutable.
            installation: the installation's name.
            rule: the rule's name; empty if the host has none.

        Returns:
            the complete key, including the alert's scope if tenants must be kept apart; None for
            no opinion.

        Example::

            from urllib.parse import quote

            from hostspec import hookimpl

            @hookimpl
            def pagerduty_dedup_key(alert):
                cluster = alert.labels.get("cluster")
                scope = quote(alert.scope, safe="")  # a slash in it must not look like the next one
                return f"{scope}/cluster/{cluster}" if cluster else None
        """

    @hookspec
    def pagerduty_services(
        self,
        alert: Alert,
        services: Sequence[str],
        chosen: Sequence[str],
        installation: str,
        rule: str,
    ) -> Sequence[str] | Suppress | None:
        """Return the services to notify, or suppress the trigger.

        Called once for each rule that plans a trigger. Also called for an acknowledge or resolve
        by a host that stores no incidents and plans these from its rules; they must reach the
        services that were paged, so use only values that stay the same while the problem lasts.
        Every implementation runs. The first value with a known service replaces the rule's
        choice; unknown names are noted and ignored.

        A `Suppress` with a reason stops the trigger, whichever plugin returns it, and its reason is
        shown instead of the delivery. It stops no follow-up, which would leave an incident open.
        Nothing else stops a page: neither an empty value nor one of unknown names alone.

        Args:
            alert: the alert; it is immutable.
            services: the known names: the installation's services, and the rule's.
            chosen: the names that the rule chose.
            installation: the installation's name.
            rule: the rule's name; empty if the host has none.

        Returns:
            names, as a tuple or list, or one name; or a `Suppress`; None or nothing for no
            opinion.

        Example::

            from hostspec import hookimpl
            from pagerduty_plugin import Suppress

            @hookimpl
            def pagerduty_services(alert, services):
                if alert.labels.get("maintenance") == "yes":
                    return Suppress("the source is in maintenance")
                owner = alert.labels.get("owner")
                return [owner] if owner in services else None
        """

    @hookspec
    def pagerduty_enrich(
        self, alert: Alert, severity: str, services: Sequence[str], installation: str, rule: str
    ) -> Enrich | None:
        """Return details, links and images to add to a trigger.

        Called once for each rule that plans a trigger, after the other hooks; a follow-up has no
        details. Every implementation runs, and all additions are appended in their order, after
        the alert's own. If the name of a detail is taken, the plugin's name and a dot are put
        before it. Additions that exceed PagerDuty's size limit are left out and reported; the
        alert's own content has priority.

        Args:
            alert: the alert; it is immutable.
            severity: the severity of the trigger.
            services: the names of the services that will be notified.
            installation: the installation's name.
            rule: the rule's name; empty if the host has none.

        Returns:
            an `Enrich`; None for nothing to add.

        Example::

            from hostspec import Link, hookimpl
            from pagerduty_plugin import Enrich

            @hookimpl
            def pagerduty_enrich(alert):
                page = alert.class_ or "unknown"
                runbook = Link(f"https://runbooks.example.com/{page}", "Runbook")
                return Enrich(details={"runbook": page}, links=[runbook])
        """
