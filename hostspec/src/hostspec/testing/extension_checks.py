"""Extension checks: its settings, and every hook that it implements."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, cast

import attrs
import pluggy

from hostspec.alert import Alert
from hostspec.delivery import Delivery, IncidentRef, Operation, Outcome, OutcomeKind, Receipt
from hostspec.hookspecs import Answer
from hostspec.plugins.isolation import DEADLINE, IsolatedHooks, ask, implementations
from hostspec.plugins.loading import survey
from hostspec.plugins.registry import PluginInfo, Plugins
from hostspec.settings import secrets
from hostspec.structuring import structure
from hostspec.testing.provider_declarations import require_settings_class
from hostspec.testing.provider_secrets import contains_canary, recorded_output
from hostspec.testing.support import (
    INSTALLATION,
    REFERENCE,
    RULE,
    SHORTEST_CANARY,
    THREADS,
    UNKNOWN,
    VARIABLE,
    at_once,
    environment,
    fail,
    firing,
    require,
    sample_alerts,
    within,
)

_OWN: Final = "own"
_LOADING: Final = frozenset({"addhooks", "settings", "configure", "providers", "actions"})
_NONSENSE: Final = "\x00 nonsense"


class ExtensionCase:
    """Describes an extension to the kit. Subclass it.

    Attributes:
        plugin: the name of the plugin's entry point, or the module or object itself.
        extends: names of the plugins whose hooks it implements, such as ``pagerduty``.
        arguments: values of the arguments that these hooks take beside the alert, by name.
        canary: a text of 12 characters or more, which is the secret of its settings; empty
            where it has none.
        time_limit: seconds after which a hook is considered to hang. Hosts give it one second.
    """

    plugin: ClassVar[object] = ""
    extends: ClassVar[Sequence[str]] = ()
    arguments: ClassVar[Mapping[str, object]] = types.MappingProxyType({})
    canary: ClassVar[str] = ""
    time_limit: ClassVar[float] = 10 * DEADLINE

    def settings(self, secret: str) -> Mapping[str, object]:
        """Return the extension's settings, as in a file.

        ``secret`` is the value of its secret: a reference, or the canary itself.
        """
        return {}

    def load(self, settings: Mapping[str, object]) -> Extension:
        """Load the extension with settings."""
        loaded = self.survey(settings)
        require(
            not loaded.info.reason,
            f"no host can load the extension: {loaded.info.reason}; correct the extension, or "
            "`extends` and `settings` of the case",
        )
        return loaded

    def survey(self, settings: Mapping[str, object]) -> Extension:
        """Load the extension with settings, which may be wrong."""
        own = {} if isinstance(self.plugin, str) else {_OWN: self.plugin}
        name = self.plugin if isinstance(self.plugin, str) else _OWN
        enabled = {*self.extends, name} - {_OWN}
        given = {name: settings} if settings else {}
        return Extension(name, survey(enabled, own=own, settings=given))


@attrs.frozen
class Extension:
    """One extension, loaded with the plugins that it extends."""

    name: str
    plugins: Plugins

    @property
    def info(self) -> PluginInfo:
        """Whether it was loaded, or the reason and the faults."""
        (info,) = (each for each in self.plugins.infos if each.name == self.name)
        return info

    @property
    def settings_class(self) -> Any:
        """The class of its settings, or None."""
        return self.plugins.settings.get(self.name)

    def hooks(self) -> Iterator[tuple[str, pluggy.HookImpl, Any]]:
        """Yield name, implementation and specification of each hook called for an alert."""
        manager = cast("IsolatedHooks", self.plugins.hooks).manager
        for name, caller in sorted(vars(manager.hook).items()):
            if name.removeprefix("hostspec_") in _LOADING or caller.spec is None:
                continue
            found = implementations(manager, name)
            own = (each for each in found if each.plugin_name == self.name)
            yield from ((name, each, caller.spec.function) for each in own)


def check_loads(case: ExtensionCase) -> None:
    """It loads, and the host or a plugin that it extends calls each of its hooks."""
    loaded = case.load(case.settings(REFERENCE))
    called = {name for name, _, _ in loaded.hooks()}
    idle = [
        hook
        for hook in loaded.info.hooks
        if hook not in called and hook.removeprefix("hostspec_") not in _LOADING
    ]
    require(
        not idle,
        f"no plugin calls {', '.join(idle)}; correct the name, or add the plugin with this hook "
        "to `extends`",
    )


def check_settings(case: ExtensionCase) -> None:
    """Its settings have labels, and are rejected with all faults at once."""
    given = case.settings(REFERENCE)
    kind = case.load(given).settings_class
    if kind is None:
        return
    require_settings_class(kind)
    required = {field.alias for field in attrs.fields(kind) if field.default is attrs.NOTHING}
    info = case.survey({UNKNOWN: 1}).info
    missing = {*required, UNKNOWN}.difference(fault.path for fault in info.faults)
    require(
        not missing,
        f"without its required settings and with an unknown one, it is rejected without a fault "
        f"of {', '.join(sorted(missing))} ({info.reason}); declare settings without converters",
    )
    for name, value in given.items():
        if isinstance(value, str) and value != REFERENCE:
            info = case.survey({**given, name: _NONSENSE}).info
            require(
                info.faults or not info.reason,
                f"the wrong value {_NONSENSE!r} of {name} is rejected without a fault: "
                f"{info.reason}; check it with setting(check=...), which returns a sentence and "
                "raises nothing",
            )


def check_hooks(case: ExtensionCase) -> None:
    """Every hook returns in time for every alert, with an answer of the right type."""
    with environment({VARIABLE: case.canary}):
        loaded = case.load(case.settings(REFERENCE))
        for alert in sample_alerts():
            _answers(case, loaded, alert)


def check_missing_secret(case: ExtensionCase) -> None:
    """No hook raises where its secret cannot be read."""
    with environment({VARIABLE: ""}):
        _answers(case, case.load(case.settings(REFERENCE)), firing("conformance/secret"))


def check_threads(case: ExtensionCase) -> None:
    """Hooks answer many threads at once as they answer one."""
    with environment({VARIABLE: case.canary}):
        loaded = case.load(case.settings(REFERENCE))
        alerts = [firing(f"conformance/{number}") for number in range(THREADS)]
        alone = [_answers(case, loaded, alert) for alert in alerts]
        together = at_once([functools.partial(_answers, case, loaded, alert) for alert in alerts])
    for answers, expected in zip(together, alone, strict=True):
        require(
            repr(answers) == repr(expected),
            f"with {THREADS} threads at once, the hooks answered {answers!r} instead of "
            f"{expected!r}; lock state that calls share",
        )


def check_secrets(case: ExtensionCase) -> None:
    """No repr, answer, log record, printed line or fault shows the secret of its settings."""
    kind = case.load(case.settings(REFERENCE)).settings_class
    has_secret = kind is not None and any(secrets(structure(kind, case.settings(REFERENCE))))
    require(
        not has_secret or len(case.canary) >= SHORTEST_CANARY,
        f"the settings have a secret; set `canary` to {SHORTEST_CANARY} characters or more",
    )
    require(
        has_secret or not case.canary,
        "the case has a canary, but the settings have no Secret; declare the setting as "
        "hostspec.Secret, and use `secret` in settings()",
    )
    with environment({VARIABLE: case.canary}), recorded_output() as output:
        texts: list[str] = []
        for secret in (REFERENCE, case.canary) if has_secret else ():
            given = case.settings(secret)
            loaded = case.load(given)
            texts += [
                repr(structure(kind, given)),  # pyright: ignore[reportArgumentType]
                repr(case.plugin),
                repr(_answers(case, loaded, firing("conformance/canary"))),
                case.survey({**given, UNKNOWN: secret}).info.reason,
                case.survey({name: [secret] for name in given}).info.reason,
            ]
        text = "\n".join([*texts, output.getvalue()])
    require(
        not contains_canary(text, case.canary),
        "a repr, an answer, a log record, a printed line or a fault shows the secret; hold it as "
        "a hostspec.Secret, and reveal it only where it is used",
    )


def _answers(case: ExtensionCase, loaded: Extension, alert: Alert) -> list[tuple[str, object]]:
    """Return the answer of each hook for an alert; fail if it is wrong, raised, or hangs."""
    answers = []
    for name, implementation, spec in loaded.hooks():
        known = {
            "alert": alert,
            "receipt": _receipt(alert, name),
            "installation": INSTALLATION,
            "rule": RULE,
            **case.arguments,
        }
        lacking = [each for each in implementation.argnames if each not in known]
        require(not lacking, f"{name} takes {', '.join(lacking)}; set them in `arguments`")
        where = f"for the {alert.status} alert {alert.key[:40]!r}"
        try:
            call = functools.partial(ask, implementation, known)
            answer: Answer = within(case.time_limit, call)
        except TimeoutError:
            fail(
                f"{name} had not returned after {case.time_limit:g} s {where}; give every wait a "
                "timeout"
            )
        require(
            not answer.failure,
            f"{name} {answer.failure} {where}; return None where there is no opinion",
        )
        right = _return_type(spec)
        if right is type(None):  # the answers of observers are ignored
            continue
        require(
            answer.value is None or _is_instance(answer.value, right),
            f"{name} returned a value that is not of the type {right}: {answer.value!r}; return "
            "that, or None",
        )
        answers.append((name, answer.value))
    return answers


def _receipt(alert: Alert, hook: str) -> Receipt:
    ref = IncidentRef("conformance.send", INSTALLATION, "conformance", repr(alert.identity))
    delivery = Delivery(Operation.TRIGGER, ref, alert.identity, alert.severity, {}, rules=(RULE,))
    kind = OutcomeKind.DELIVERED if hook == "hostspec_delivered" else OutcomeKind.UNREACHABLE
    return Receipt("conformance", delivery, Outcome(kind))


def _return_type(spec: Any) -> Any:
    """Return the type of answers in a specification; Any where it declares none."""
    declared = {"return": spec.__annotations__.get("return", Any)}
    holder = types.SimpleNamespace(__annotations__=declared)
    try:
        return typing.get_type_hints(holder, globalns=spec.__globals__)["return"]
    except NameError:  # imported for type checkers alone
        return Any


def _is_instance(value: object, right: Any) -> bool:
    """Check a value against a type: unions, collections of items, and classes."""
    origin, arguments = typing.get_origin(right), typing.get_args(right)
    if right is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_is_instance(value, each) for each in arguments)
    if not isinstance(value, origin or right):
        return False
    if isinstance(value, Collection) and not isinstance(value, Mapping) and arguments:
        return all(_is_instance(each, arguments[0]) for each in value)
    return True
