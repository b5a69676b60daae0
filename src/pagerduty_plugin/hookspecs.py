"""The hooks: what other plugins may decide about the events that go to PagerDuty.

They are called while an alert is planned, never when an open incident is followed up from what
was kept of it. Each implementation is called on its own, in pluggy's order: by the names of the
plugins, ``tryfirst`` before and ``trylast`` after all others. One that raises, exceeds its
deadline or answers what it may not is noted on the delivery, and the event goes out without it.
What an answer set is noted too, with the plugin's name.

An extension whose host may have no PagerDuty marks them ``@hookimpl(optionalhook=True)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostspec import hookspec
from pagerduty_plugin.answers import Enrich, Suppress

if TYPE_CHECKING:
    from hostspec import Alert


class PagerDutySpec:
    """Every hook of PagerDuty's. The methods are specifications: their text is the contract."""

    @hookspec
    def pagerduty_severity(
        self, alert: Alert, severity: str, installation: str, rule: str
    ) -> str | None:
        """Decide the severity that PagerDuty is told.

        Called once for each rule that plans a trigger; a follow-up carries no severity. Every
        implementation runs. The first answer that is a severity holds.

        Args:
            alert: the statement; it cannot be changed.
            severity: what the rule says: ``critical``, ``error``, ``warning`` or ``info``.
            installation: the installation's name.
            rule: the rule's name; empty where the host has none.

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
        """Decide by which key PagerDuty tells the problem from others.

        Called once for each rule that plans a trigger, and for an acknowledge or resolve that
        a host plans from its rules because it does not remember what it opened. So answer from
        what stays the same while the problem lasts (scope, key, labels), never from status or
        time: under another key an incident stays open for ever. Every implementation runs. The
        first answer that is a text and not blank holds, in every service. The installation's
        prefix goes before it, and one over 255 characters is shortened.

        Args:
            alert: the statement; it cannot be changed.
            installation: the installation's name.
            rule: the rule's name; empty where the host has none.

        Returns:
            the whole key, the alert's scope in it where tenants must be kept apart; None for
            no opinion.

        Example::

            from urllib.parse import quote

            from hostspec import hookimpl

            @hookimpl
            def pagerduty_dedup_key(alert):
                cluster = alert.labels.get("cluster")
                scope = quote(alert.scope, safe="")  # no slash of its own ends it
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
        """Choose the services that are told, or say that nobody is to be paged.

        Called once for each rule that plans a trigger, and for an acknowledge or resolve that
        a host plans from its rules because it does not remember what it opened: it must reach
        the services that were paged, so answer from what stays the same while the problem
        lasts. Every implementation runs. The first answer that names a service holds, instead
        of what the rule chose; names that nobody knows are noted and left out.

        A `Suppress` with a reason stops the trigger, whoever answers it, and is shown in the
        delivery's place. It stops no follow-up, which would leave an incident open. Nothing
        else stops a page: neither an empty answer nor one of unknown names alone.

        Args:
            alert: the statement; it cannot be changed.
            services: the names that may be chosen: the installation's services, and what the
                rule chose.
            chosen: the names that the rule chose.
            installation: the installation's name.
            rule: the rule's name; empty where the host has none.

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
        """Add details, links and images to a trigger.

        Called once for each rule that plans a trigger, after the other hooks; a follow-up
        carries no details. Every implementation runs, and everything they add is put together
        in their order, after the alert's own. A detail whose name is taken goes under the
        plugin's name, a dot and its own. What does not fit PagerDuty's size limit beside the
        alert's own is left out, and reported.

        Args:
            alert: the statement; it cannot be changed.
            severity: what PagerDuty will be told.
            services: the names of the services that will be told.
            installation: the installation's name.
            rule: the rule's name; empty where the host has none.

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
