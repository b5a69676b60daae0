"""The hooks: how plugins say what they offer, and are told what became of deliveries.

Hooks assemble and decide; objects do the I/O. They are called while a host starts, or as
observers after the fact. They are plain functions with plain arguments: never a coroutine, a
generator or a wrapper.
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
    """What one plugin's implementation of a hook answered.

    Attributes:
        plugin: the plugin's name.
        value: what it returned; None where it failed.
        failure: why it gave no value, to be read after the hook's name ("failed at
            acme_pager/hooks.py:41"); empty where it did.
        paused: it took too long, now or before, and is called again after a pause. The host logs
            that once for each pause.
    """

    plugin: str
    value: Any
    failure: str = ""
    paused: bool = False


class Hooks(Protocol):
    """How an action asks the plugins that extend it, without fear of them."""

    def each(self, name: str, /, **arguments: object) -> Sequence[Answer]:
        """Call every implementation of a hook, one by one, each on its own.

        In pluggy's order. One that raises (``SystemExit`` too) or exceeds its deadline is an
        `Answer` with a failure; an implementation that returns None has no opinion and gives
        no answer.

        Args:
            name: of a hook whose specification was added with ``hostspec_addhooks``.
            arguments: the hook's arguments, all of them.
        """
        ...

    def reject(self, name: str, answer: Answer, reason: str, /) -> None:
        """Report an answer that cannot be used, because of its type, say.

        The host logs it, once a minute for each reason, and counts it as a failure of the plugin.

        Args:
            name: of the hook.
            answer: that `each` returned.
            reason: why, for the operator; no value of the answer's, which may hold a secret.
        """
        ...


class HostSpec:
    """Every hook a host calls. The methods are specifications: their text is the contract."""

    @hookspec(historic=True)
    def hostspec_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
        """Add the specifications of your own hooks, so that other plugins may extend yours.

        Called once for each plugin, when it is registered. Every implementation runs. What it
        returns is ignored. Prefix your hooks with your plugin's name.

        Args:
            pluginmanager: pluggy's; call its ``add_hookspecs`` and nothing else.

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
        (``[plugins.NAME]`` in ``alerthost.toml``), and refuses to start with faulty ones.

        Returns:
            an attrs class, as for the settings of a provider.

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
        """Take the settings that `hostspec_settings` declares.

        Called each time the host loads its plugins (when it starts, reloads or checks its
        configuration), before any other hook but these two and ``hostspec_addhooks``. Every
        implementation runs, with the settings of its own plugin. The last settings hold.

        Args:
            settings: an object of the class that you declared, complete and valid.

        Example::

            from hostspec import hookimpl

            @hookimpl
            def hostspec_configure(settings):
                global given
                given = settings
        """

    @hookspec
    def hostspec_providers(self, hooks: Hooks) -> Sequence[Provider[Any]]:  # type: ignore[empty-body]
        """Describe which providers you offer.

        Called once while the host starts. Every implementation runs, and what they return is
        put together. Names are unique: a second provider of the same name stops the host.

        Args:
            hooks: calls the hooks that you have added; keep it if you have any.

        Returns:
            your providers; a tuple or list.

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
        """Describe which actions you offer.

        Called once while the host starts. Every implementation runs, and what they return is
        put together. Names are unique; the provider of each action must be there too.

        Args:
            hooks: calls the hooks that you have added; keep it if you have any.

        Returns:
            your actions; a tuple or list.

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
                    place = IncidentRef(self.name, installation.name, "all", key)
                    return [
                        Delivery(
                            Operation.TRIGGER,
                            place,
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
        """Observe that a provider took a delivery.

        Called after the fact, at least once for each delivery, from any thread. Every
        implementation runs; what it returns or raises changes nothing. Return promptly.

        Args:
            receipt: what became of the delivery; ``receipt.id`` is the same when told twice.

        Example::

            import logging

            from hostspec import hookimpl

            @hookimpl
            def hostspec_delivered(receipt):
                place = receipt.delivery.ref
                logging.getLogger(__name__).info("%s was told", place.destination)
        """

    @hookspec
    def hostspec_delayed(self, receipt: Receipt) -> None:
        """Observe that a delivery is late and still waits.

        Called by hosts that keep deliveries, when one has waited longer than the host allows;
        the delivery is tried on. Every implementation runs; what it returns or raises changes
        nothing. Use it to tell people by another road.

        Args:
            receipt: the delivery, and the outcome of the last attempt, if there was one.

        Example::

            import logging

            from hostspec import hookimpl

            @hookimpl
            def hostspec_delayed(receipt):
                log = logging.getLogger(__name__)
                log.error("%s waits: %s", receipt.delivery.alert.key, receipt.outcome)
        """

    @hookspec
    def hostspec_undelivered(self, receipt: Receipt) -> None:
        """Observe that a delivery was given up: refused, out of attempts, or dropped by a person.

        Called after the fact, at least once for each delivery, from any thread. Every
        implementation runs; what it returns or raises changes nothing. Return promptly.

        Args:
            receipt: what became of the delivery; ``receipt.id`` is the same when told twice. Where
                a person dropped it before the first attempt, it has no outcome, but a reason.

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
        """Observe that a delivery is not needed any more, and is not sent.

        Called by hosts that keep deliveries, at least once for each delivery, from any thread:
        another delivery that waits says what this one would have said, or its problem was over
        before it could be told. Every implementation runs; what it returns or raises changes
        nothing. Return promptly.

        Args:
            receipt: the delivery, the outcome of its last attempt, if there was one, and the
                reason; ``receipt.id`` is the same when told twice.

        Example::

            import logging

            from hostspec import hookimpl

            @hookimpl
            def hostspec_superseded(receipt):
                log = logging.getLogger(__name__)
                log.info("%s: %s", receipt.delivery.alert.key, receipt.reason)
        """
