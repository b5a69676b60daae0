"""The hooks: plugins offer providers and actions, and observe the results of deliveries.

A hook is called while a host starts, or as an observer of a result. It is a plain function: never
a coroutine, a generator or a wrapper. The I/O is done by providers and actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import pluggy

if TYPE_CHECKING:
    from hostspec.action import AnyAction
    from hostspec.delivery import Receipt
    from hostspec.provider import Provider

PROJECT: Final = "hostspec"
"""The pluggy project name, and the entry-point group of plugins."""

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a function as the specification of a hook."""

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of a hook."""


@attrs.frozen
class Answer:
    """The result of one plugin's implementation of a hook.

    Attributes:
        value: its return value; None after a failure.
        failure: the failure, as a phrase that follows the hook's name ("failed at
            acme_pager/hooks.py:41"); empty for none.
        paused: it exceeded its deadline, now or before, and is not called until a pause is over.
            The host logs each pause once.
    """

    plugin: str
    value: Any
    failure: str = ""
    paused: bool = False


class Hooks(Protocol):
    """Calls the plugins that extend an action, each in isolation."""

    def each(self, name: str, /, **arguments: object) -> Sequence[Answer]:
        """Call every implementation of a hook in turn, in pluggy's order, each in isolation.

        An implementation that raises (``SystemExit`` too) or exceeds its deadline yields an
        `Answer` with a failure; one that returns None yields no answer.

        The name is that of a hook that a plugin added with ``hostspec_addhooks``; the arguments
        are all arguments of the hook.
        """
        ...

    def reject(self, name: str, answer: Answer, reason: str, /) -> None:
        """Report an unusable answer of `each`, such as one of the wrong type.

        The host logs it, once a minute for each reason, and counts it as a failure of the plugin.
        The reason has no value of the answer, which may contain a secret.
        """
        ...


class HostSpec:
    """The hooks of a host. The docstrings of the methods are the contract."""

    @hookspec(historic=True)
    def hostspec_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
        """Add the specifications of your own hooks, so that other plugins can extend yours.

        Called once for each plugin, when it is registered. Every implementation runs; its return
        value is ignored. Prefix your hooks with your plugin's name.

        Args:
            pluginmanager: pluggy's plugin manager; call only its ``add_hookspecs``.

        Example::

            import sys

            from hostspec import hookimpl, hookspec

            @hookspec
            def pager_severity(alert):
                \"\"\"Decide an alert's severity; None for no opinion.\"\"\"

            @hookimpl
            def hostspec_addhooks(pluginmanager):
                pluginmanager.add_hookspecs(sys.modules[__name__])
        """

    @hookspec
    def hostspec_settings(self) -> type:  # type: ignore[empty-body]
        """Declare the settings of your plugin itself.

        Called while the host starts, before `hostspec_configure`, which you implement too. Every
        implementation runs. A host reads the settings from a table named after the plugin
        (``[plugins.NAME]`` in ``alerthost.toml``), and does not start if they are invalid.

        Returns:
            an attrs class, as for a provider's settings.

        Example::

            import attrs

            from hostspec import hookimpl

            @attrs.frozen
            class QuietHours:
                begin: int = 22
                end: int = 6

            @hookimpl
            def hostspec_settings():
                return QuietHours
        """

    @hookspec
    def hostspec_configure(self, settings: Any) -> None:
        """Accept the settings that `hostspec_settings` declares.

        Called each time the host loads its plugins (when it starts, reloads or checks its
        configuration), before all hooks except `hostspec_settings` and ``hostspec_addhooks``.
        Every implementation runs, with the settings of its own plugin. The last call counts.

        Args:
            settings: a valid object of the class that you declared.

        Example::

            from hostspec import hookimpl

            @hookimpl
            def hostspec_configure(settings):
                global current
                current = settings
        """

    @hookspec
    def hostspec_providers(self, hooks: Hooks) -> Sequence[Provider[Any]]:  # type: ignore[empty-body]
        """Return your providers.

        Called once while the host starts. Every implementation runs; the host combines their
        results. Names are unique: a second provider of the same name stops the host.

        Args:
            hooks: calls the hooks that you added; keep it if you need it.

        Returns:
            a tuple or list.

        Example::

            import attrs

            from hostspec import Destination, Provider, hookimpl

            @attrs.frozen
            class PagerSettings:
                pass

            class Pager(Provider[PagerSettings]):
                name = "pager"
                label = "Pager"
                settings = PagerSettings

                def destinations(self, installation):
                    return [Destination("all", "Everybody")]

            @hookimpl
            def hostspec_providers():
                return [Pager()]
        """

    @hookspec
    def hostspec_actions(self, hooks: Hooks) -> Sequence[AnyAction]:  # type: ignore[empty-body]
        """Return your actions.

        Called once while the host starts. Every implementation runs; the host combines their
        results. Names are unique, and the provider of each action must be present.

        Args:
            hooks: calls the hooks that you added; keep it if you need it.

        Returns:
            a tuple or list.

        Example::

            import json

            import attrs

            from hostspec import Action, Capabilities, Delivery, IncidentRef, Operation
            from hostspec import Outcome, OutcomeKind, hookimpl

            @attrs.frozen
            class PageSettings:
                pass

            class Page(Action[PageSettings, object]):
                name = "pager.page"
                label = "Page everybody"
                provider = "pager"
                settings = PageSettings
                capabilities = Capabilities()

                def plan(self, alert, settings, installation, *, rule=""):
                    key = json.dumps([alert.scope, alert.key])
                    ref = IncidentRef(self.name, installation.name, "all", key)
                    return [
                        Delivery(
                            Operation.TRIGGER,
                            ref,
                            alert.identity,
                            alert.severity,
                            {"text": alert.summary},
                            rules=(rule,),
                        )
                    ]

                def send(self, delivery, installation, context):
                    print(delivery.message["text"])
                    return Outcome(OutcomeKind.DELIVERED)

            @hookimpl
            def hostspec_actions():
                return [Page()]
        """

    @hookspec
    def hostspec_delivered(self, receipt: Receipt) -> None:
        """Observe that a provider accepted a delivery.

        Called afterwards, at least once for each delivery, from any thread. Every implementation
        runs; return values and exceptions have no effect. Return promptly.

        Args:
            receipt: the result; ``receipt.id`` is the same if an observer is called twice.

        Example::

            import logging

            from hostspec import hookimpl

            @hookimpl
            def hostspec_delivered(receipt):
                ref = receipt.delivery.ref
                logging.getLogger(__name__).info("notified %s", ref.destination)
        """

    @hookspec
    def hostspec_delayed(self, receipt: Receipt) -> None:
        """Observe that a delivery is late and still queued.

        Called by hosts that store deliveries, when one is queued longer than the host allows; the
        host keeps trying. Every implementation runs; return values and exceptions have no effect.
        Use it to notify the operator through another channel.

        Args:
            receipt: the delivery, and the outcome of the last attempt, if there was one.

        Example::

            import logging

            from hostspec import hookimpl

            @hookimpl
            def hostspec_delayed(receipt):
                log = logging.getLogger(__name__)
                log.error("%s is late: %s", receipt.delivery.alert.key, receipt.outcome)
        """

    @hookspec
    def hostspec_undelivered(self, receipt: Receipt) -> None:
        """Observe that a delivery was given up: rejected, out of attempts, or discarded.

        Called afterwards, at least once for each delivery, from any thread. Every implementation
        runs; return values and exceptions have no effect. Return promptly.

        Args:
            receipt: the result; ``receipt.id`` is the same if an observer is called twice. If an
                operator discarded the delivery before the first attempt, it has a reason but no
                outcome.

        Example::

            import logging

            from hostspec import hookimpl

            @hookimpl
            def hostspec_undelivered(receipt):
                log = logging.getLogger(__name__)
                why = receipt.reason or receipt.outcome.reason
                log.critical("%s: %s", receipt.delivery.alert.key, why)
        """

    @hookspec
    def hostspec_superseded(self, receipt: Receipt) -> None:
        """Observe that a delivery became unnecessary and is not sent.

        Called by hosts that store deliveries, at least once for each delivery, from any thread:
        a newer delivery replaces it, or its problem ended before it was sent. Every
        implementation runs; return values and exceptions have no effect. Return promptly.

        Args:
            receipt: the delivery, the outcome of its last attempt, if there was one, and the
                reason; ``receipt.id`` is the same if an observer is called twice.

        Example::

            import logging

            from hostspec import hookimpl

            @hookimpl
            def hostspec_superseded(receipt):
                log = logging.getLogger(__name__)
                log.info("%s: %s", receipt.delivery.alert.key, receipt.reason)
        """
