"""For each check of a host there is a host that fails it."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

import attrs
import pytest
from kit import failures, name_of

from hostspec import Alert, Answer, SendContext
from hostspec.inprocess import Host
from hostspec.plugins import Plugins, PluginsError, Rule, load, survey
from hostspec.plugins.isolation import IsolatedHooks, ask, implementations
from hostspec.testing import HOST_CHECKS, ConformanceError, HostCase, HostConfig, HostRefusedError


class Sound(HostCase):
    """A sound host; each broken one below changes one thing."""

    time_limit = 20.0

    def run(self, config: HostConfig, alerts: Sequence[Alert]) -> None:
        host = self.start(config)
        for alert in alerts:
            self.handle(host, alert)

    def start(self, config: HostConfig) -> Host:
        plugins = self.load(config.enabled)
        return self.host(plugins, [self.rule(plugins, rule) for rule in config.rules])

    def load(self, enabled: Collection[str]) -> Plugins:
        try:
            return load(enabled)
        except PluginsError as error:
            raise HostRefusedError(str(error)) from None

    def host(self, plugins: Plugins, rules: Sequence[Rule]) -> Host:
        return Host(plugins, rules)

    def rule(self, plugins, rule):
        installation = plugins.installation(rule.provider, rule.installation, {})
        action = plugins.rule_action(rule.action, installation, {})
        return Rule(rule.name, [action], lambda alert: rule.team in ("", alert.labels.get("team")))

    def handle(self, host: Host, alert: Alert) -> None:
        host.handle(alert)


class Silent(Sound):
    def handle(self, host, alert):
        pass


class Importing(Sound):
    def load(self, enabled):
        return super().load([*enabled, "conformance-idle"])


class AllOrNothing(Sound):
    def handle(self, host, alert):
        if not host.plan(alert).failures:
            host.handle(alert)


class Stopping(Sound):
    def handle(self, host, alert):
        for delivery in host.plan(alert).deliveries:
            if not host.send(delivery).outcome.reason.startswith("the action"):
                continue
            break

    stateful = False


class Fragile:
    """Calls implementations as plain pluggy does: the first that fails ends the call."""

    def __init__(self, hooks):
        self.manager = hooks.manager

    def each(self, name: str, /, **arguments: object) -> Sequence[Answer]:
        answers = []
        for implementation in implementations(self.manager, name):
            if implementation.plugin_name == "conformance-hanging":
                continue
            answer = ask(implementation, arguments)
            if answer.failure:
                return ()
            answers.append(answer)
        return answers


class FragileObservers(Sound):
    def load(self, enabled):
        plugins = super().load(enabled)
        return attrs.evolve(plugins, hooks=Fragile(plugins.hooks))


class FragileExtensions(Sound):
    def load(self, enabled):
        plugins = super().load(enabled)
        plugins.actions["conformance-paging.page"]._hooks = Fragile(plugins.hooks)
        return plugins


class Waiting(Sound):
    """Calls observers without a deadline."""

    time_limit = 2.0

    def load(self, enabled):
        plugins = super().load(enabled)
        return attrs.evolve(plugins, hooks=IsolatedHooks(plugins.hooks.manager, 3600))


class WaitingExtensions(Sound):
    """Calls extensions without a deadline."""

    time_limit = 2.0

    def load(self, enabled):
        plugins = super().load(enabled)
        hooks = IsolatedHooks(plugins.hooks.manager, 3600)
        plugins.actions["conformance-paging.page"]._hooks = hooks
        return plugins


class Open(Sound):
    """Starts without broken plugins."""

    def load(self, enabled):
        return survey(enabled)


class Late(Sound):
    """Refuses only after it has sent."""

    def run(self, config, alerts):
        host = super().start(attrs.evolve(config, enabled=config.enabled[:1]))
        super().handle(host, alerts[0])
        super().run(config, alerts)


class Crashing(Sound):
    def load(self, enabled):
        return load(enabled)


class Discreet(Sound):
    def load(self, enabled):
        plugins = super().load(enabled)

        class Delivered:
            def each(self, name, /, **arguments):
                return () if "undelivered" in name else plugins.hooks.each(name, **arguments)

        return attrs.evolve(plugins, hooks=Delivered())


class Forgetful(Sound):
    def run(self, config, alerts):
        for alert in alerts:
            super().run(config, [alert])


class Handleless(Sound):
    def load(self, enabled):
        plugins = super().load(enabled)
        for action in plugins.actions.values():
            action.send = functools.partial(send_without_handle, action.send)
        return plugins


def send_without_handle(send, delivery, installation, _):
    return send(delivery, installation, SendContext())


class Honest(Forgetful):
    stateful = False


SLOW = [check for check in HOST_CHECKS if "hanging" in check.__name__]
QUICK = [check for check in HOST_CHECKS if check not in SLOW]


SENDING = {
    "discovers",
    "failing_plan",
    "failing_send",
    "failing_observer",
    "failing_extension",
    "observers",
    "follow_ups_stick",
}

NAMES_OF_SLOW = {name_of(check) for check in SLOW}

BROKEN = [
    ({"disabled_is_not_imported"}, Importing, "was imported"),
    ({"failing_plan"}, AllOrNothing, "exits while planning"),
    ({"failing_send"}, Stopping, "exits while sending"),
    ({"failing_observer"}, FragileObservers, "another observer was notified of []"),
    ({"failing_extension"}, FragileExtensions, "right is [(['mark'], 1)]"),
    ({"hanging_observer"}, Waiting, "had not returned after 2 s"),
    ({"hanging_extension"}, WaitingExtensions, "had not returned after 2 s"),
    ({"fails_closed"}, Open, "refuse to start"),
    ({"fails_closed"}, Crashing, "ended with PluginsError"),
    ({"observers"}, Discreet, "observers were notified of [('delivered', 'one')]"),
    ({"follow_ups_stick"}, Forgetful, "was sent as ['trigger one']"),
    ({"follow_ups_stick"}, Handleless, "had the handles [None, None, None]"),
]


@pytest.mark.parametrize("case", [Sound, Honest])
def test_sound_host_passes_every_check(case: type[HostCase]) -> None:
    assert failures(case(), HOST_CHECKS) == {}


@pytest.mark.parametrize(("checks", "case", "words"), BROKEN)
def test_broken_host_fails_its_check(checks: set[str], case: type[HostCase], words: str) -> None:
    failed = failures(case(), HOST_CHECKS if checks & NAMES_OF_SLOW else QUICK)
    assert set(failed) == checks, failed
    assert all(words in sentence for sentence in failed.values()), failed


def test_host_that_sends_nothing_fails() -> None:
    failed = failures(Silent(), QUICK)
    assert set(failed) == SENDING
    assert "sent as []" in failed["discovers"]


def test_host_that_sends_before_it_refuses_fails() -> None:
    [check] = [check for check in HOST_CHECKS if check.__name__ == "check_fails_closed"]
    with pytest.raises(ConformanceError, match="load every plugin first"):
        check(Late())


def test_every_check_has_a_broken_host() -> None:
    checks = {name_of(check) for check in HOST_CHECKS}
    assert {check for found, _, _ in BROKEN for check in found} | {"discovers"} == checks


def test_keyboard_interrupt_is_raised() -> None:
    class Interrupted(Sound):
        def run(self, config, alerts):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HOST_CHECKS[0](Interrupted())
