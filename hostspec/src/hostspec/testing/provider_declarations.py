"""Provider checks: names, settings, destinations, descriptions and the install flow."""

from __future__ import annotations

import datetime as dt
import functools
import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from hostspec.connect import (
    LIFETIME,
    STATE,
    InstallError,
    InstallFlow,
    InstallProblem,
    InstallRequest,
)
from hostspec.provider import Destination
from hostspec.schema import json_schema
from hostspec.settings import SettingsError, info_of
from hostspec.structuring import structure
from hostspec.testing.provider_case import NOWHERE, ActionUnderTest, ProviderCase
from hostspec.testing.provider_planning import require_round_trip
from hostspec.testing.support import (
    INSTALLATION,
    REFERENCE,
    UNKNOWN,
    fail,
    firing,
    require,
    require_pure,
)

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")
_CALLBACK: Final = "https://host.example/callback"
_NOW: Final = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
_STATE: Final = "conformance-state"


def check_names(case: ProviderCase) -> None:
    """Provider and action have names that a configuration can use."""
    provider, action = case.load()
    require(
        _NAME.fullmatch(provider.name),
        f"the provider's name {provider.name!r} is not in lower-case letters, digits, - and _",
    )
    prefix, dot, own = action.name.partition(".")
    require(
        dot and prefix == action.provider and _NAME.fullmatch(own),
        f"the action's name {action.name!r} is not its provider's name, a dot and its own; "
        f"call it {action.provider}.something",
    )


def check_settings_classes(case: ProviderCase) -> None:
    """Settings are frozen, keyword-only attrs classes whose fields have labels."""
    for kind in dict.fromkeys(type(each) for _, each, _ in _tables(case, case.connect())):
        require_settings_class(kind)


def require_settings_class(kind: Any) -> None:
    """Require that a class of settings is frozen, keyword-only, and labelled."""
    require(
        attrs.inspect(kind).is_frozen,
        f"{kind.__name__} can be changed; declare it with @attrs.frozen(kw_only=True)",
    )
    for field in attrs.fields(kind):
        name = f"{kind.__name__}.{field.name}"
        require(
            field.kw_only,
            f"{name} can be passed by position; declare {kind.__name__} with kw_only=True",
        )
        require(
            info_of(field).label.strip() and field.metadata,
            f"{name} has no label for a form; declare it with hostspec.setting(...)",
        )


def check_schemas(case: ProviderCase) -> None:
    """The settings' JSON Schemas are valid, and accept the settings of the case."""
    tested = case.connect()
    for kind, raw in (
        (tested.provider.settings, case.installation_settings(NOWHERE, REFERENCE)),
        (tested.action.settings, case.action_settings),
    ):
        schema = json_schema(kind)
        try:
            json.dumps(schema, allow_nan=False)
        except (TypeError, ValueError) as error:
            fail(
                f"the schema of {kind.__name__} is not JSON: {error}; correct choices and defaults"
            )
        try:
            validator: Any = importlib.import_module("jsonschema").Draft202012Validator
        except ImportError:
            continue
        plain = json.loads(json.dumps(raw, default=dict))
        wrong = [
            *(error.message for error in validator(validator.META_SCHEMA).iter_errors(schema)),
            *(error.message for error in validator(schema).iter_errors(plain)),
        ]
        require(
            not wrong,
            f"the schema of {kind.__name__} is wrong, or rejects the settings of the case: "
            f"{'; '.join(wrong)}; correct choices, defaults and limits of the declaration",
        )


def check_unknown_keys(case: ProviderCase) -> None:
    """A misspelt setting is rejected by its path, at any depth."""
    tested = case.connect()
    for path, _, owner in _tables(case, tested):
        expected = f"{path}.{UNKNOWN}" if path else UNKNOWN
        try:
            if owner == "installation":
                raw = case.installation_settings(NOWHERE, REFERENCE)
                tested.provider.installation(INSTALLATION, _with_unknown(raw, path))
            else:
                structure(tested.action.settings, _with_unknown(case.action_settings, path))
        except SettingsError as error:
            paths = [fault.path for fault in error.faults]
            require(
                expected in paths,
                f"the {owner}'s unknown setting {expected!r} is rejected without its path "
                f"(the paths were {paths}); let hostspec.structure find it",
            )
        else:
            fail(
                f"the {owner} accepts the unknown setting {expected!r}: a misspelling would go "
                "unnoticed; pass all settings to hostspec.structure"
            )


def check_destinations(case: ProviderCase) -> None:
    """Destinations have unique ids, and plans use no others."""
    tested = case.connect()
    returned: object = tested.provider.destinations(tested.installation)
    if not isinstance(returned, Sequence) or not all(
        isinstance(each, Destination) for each in returned
    ):
        fail("destinations() returned something else than a list of Destination")
    ids = [each.id for each in returned]
    require(
        len(set(ids)) == len(ids) and all(isinstance(each, str) and each for each in ids),
        f"destinations() returned the ids {ids}; ids must be unique, non-empty text",
    )
    alert = firing("conformance/destination")
    tested.plan_trigger(alert)
    others = {delivery.ref.destination for delivery in tested.plan(alert)}.difference(ids)
    require(
        not (ids and others),
        f"plan() uses the destinations {sorted(others)}, which destinations() does not return; "
        "use a destination's id in IncidentRef",
    )


def check_descriptions(case: ProviderCase) -> None:
    """An action describes itself in one line, with an installation and without one."""
    tested = case.connect()
    for installation in (tested.installation, None):
        call = functools.partial(tested.action.describe, tested.settings, installation)
        described: object = require_pure("describe", call)
        require(
            isinstance(described, str) and described.strip() and described.isprintable(),
            f"describe() returned {described!r}; return a sentence on one line",
        )


def check_settings_for(case: ProviderCase) -> None:
    """`settings_for` returns settings of the action that send to that destination alone."""
    tested = case.connect()
    action = tested.action
    for destination in tested.destinations():
        settings: object = require_pure(
            "settings_for", functools.partial(action.settings_for, destination)
        )
        if settings is None:
            continue
        require(
            isinstance(settings, action.settings)
            and not action.check(settings, tested.installation),
            f"settings_for() returned {settings!r}, which the action does not accept; return an "
            f"object of {action.settings.__name__}, or None",
        )
        directed = attrs.evolve(tested, settings=settings)
        directed.plan_trigger(firing("conformance/settings-for"))
        planned = directed.plan(firing("conformance/settings-for"))
        used = {delivery.ref.destination for delivery in planned}
        require(
            used == {destination.id},
            f"settings_for({destination.id!r}) returned settings that send to {sorted(used)}; "
            "they must send to that destination alone",
        )


def check_install_flow(case: ProviderCase) -> None:
    """An install flow, where there is one, sends out a state and accepts no other."""
    provider, _ = case.load()
    flow: object = provider.install_flow()
    if flow is None:
        return
    if not isinstance(flow, InstallFlow) or flow.provider != provider.name:
        fail("install_flow() returned no InstallFlow of this provider; return one, or None")
    pending = _begin(flow, case.install_settings).pending
    require_round_trip(pending, "pending install")
    used = attrs.evolve(pending, used=True)
    for state, kept, now, expected in (
        ("another", pending, _NOW, InstallProblem.WRONG_STATE),
        (_STATE, None, _NOW, InstallProblem.WRONG_STATE),
        (_STATE, used, _NOW, InstallProblem.REUSED_STATE),
        (_STATE, pending, _NOW + LIFETIME, InstallProblem.EXPIRED_STATE),
    ):
        result = _result(functools.partial(flow.finish, {STATE: state}, kept, now=now))
        require(
            result is expected,
            f"finish() ends as {result} where {expected} is right; leave the state to InstallFlow",
        )
    result = _result(lambda: flow.finish({STATE: _STATE}, pending, now=_NOW))
    require(
        isinstance(result, InstallProblem),
        f"finish() ends as {result} for an empty response; raise an InstallError",
    )


def _begin(flow: InstallFlow[Any, Any], raw: Mapping[str, object]) -> InstallRequest:
    try:
        settings = structure(flow.settings, dict(raw))
    except SettingsError as error:
        fail(f"the install flow's settings are rejected: {error}; set `install_settings`")
    begin = functools.partial(flow.begin, _CALLBACK, settings, now=_NOW, state=_STATE)
    request: InstallRequest = require_pure("begin", begin)
    url = urlsplit(request.url)
    require(
        url.scheme in ("http", "https") and url.hostname,
        f"begin() returned {request.url!r}, which is not the URL of a page",
    )
    require(
        _CALLBACK in unquote(request.url) and _STATE in unquote(request.url),
        "the URL of the provider's page lacks the redirect URL with the state; put all of the "
        "redirect URL into it",
    )
    return request


def _result(call: Callable[[], object]) -> object:
    """Return the problem of the install flow, the class of another error, or "connected"."""
    try:
        call()
    except InstallError as error:
        return error.problem
    except Exception as error:  # noqa: BLE001 -- it is reported
        return type(error).__name__
    return "connected"


def _tables(case: ProviderCase, tested: ActionUnderTest) -> Iterator[tuple[str, Any, str]]:
    """Yield path, object and owner of every settings object in the case's settings."""
    installation = case.installation_settings(NOWHERE, REFERENCE)
    for path, each in _objects(installation, tested.installation.settings, ""):
        yield path, each, "installation"
    for path, each in _objects(case.action_settings, tested.settings, ""):
        yield path, each, "action"


def _objects(raw: object, settings: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(raw, Mapping) and attrs.has(type(settings)):
        yield path, settings
        for name, below in raw.items():
            joined = f"{path}.{name}" if path else name
            yield from _objects(below, getattr(settings, name, None), joined)
    elif isinstance(raw, (list, tuple)) and isinstance(settings, tuple):
        for index, (below, item) in enumerate(zip(raw, settings, strict=False)):
            yield from _objects(below, item, f"{path}[{index}]")


def _with_unknown(raw: object, path: str) -> Any:
    """Copy settings, with an unknown key added to the table at a path."""
    copy = json.loads(json.dumps(raw, default=dict))
    table = copy
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        table = table[name or int(index)]
    table[UNKNOWN] = "given"
    return copy
