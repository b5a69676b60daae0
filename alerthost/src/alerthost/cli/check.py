"""``alerthost check``: checks that alerts can be delivered, without notifying anyone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import click

from alerthost.cli.options import command, with_config
from alerthost.cli.output import Screen, counted
from alerthost.cli.session import cut_off_notes
from alerthost.config import configuration
from alerthost.config.configuration import Configuration
from alerthost.config.document import ConfigFile, ConfigurationError
from alerthost.config.durations import in_words
from alerthost.config.explanation import describe_action
from alerthost.config.matchers import matchers_of
from alerthost.config.plugins import NoDestinationsError, destinations_of
from alerthost.config.store import open_engine
from alerthost.ingest import json_alerts
from alerthost.ingest.json_alerts import ParsedAlert
from alerthost.store.errors import StoreError
from hostspec.action import AnyAction
from hostspec.alert import Alert, Severity
from hostspec.delivery import Outcome, OutcomeKind
from hostspec.errors import Fault, describe_error
from hostspec.inprocess.host import Host
from hostspec.plugins import Rule, RuleAction
from hostspec.plugins.planning import Plan
from hostspec.plugins.registry import PluginState
from hostspec.provider import Destination, Installation
from hostspec.settings import secrets
from hostspec.values import to_json

NOT_PROBED: Final = "not probed"
"""The outcome of a service that no action can probe."""

_NOWHERE: Final = "nothing"

_RECENT: Final = 1000
"""Alerts of the store that are compared with the rules."""

_AT_ONCE: Final = 8
"""Services that are probed in parallel."""

_WIDTHS: Final = (13, 16)

_Planned: TypeAlias = Sequence[tuple[RuleAction, Mapping[Severity, Plan]]]
"""The actions of a rule, each with a plan for an alert of each severity."""

_Destinations: TypeAlias = Mapping[str, Sequence[Destination]]
"""The services of each installation, by its name."""

_PROBE_LIMITS: Final = """\
Reached: the provider accepted a message that changes nothing. A probe cannot
show which service a key belongs to, or whom it pages: `alerthost test` opens
an incident there, and closes it."""


@command("Check the configuration.", example="alerthost check --online")
@with_config
@click.option("--online", is_flag=True, help="Also probe each service, without notifying anyone.")
@click.option(
    "--alerts",
    type=click.File("rb"),
    metavar="FILE",
    help="Compare these alerts with the rules, instead of the recent ones in the store.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show the severities that are sent.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    path: Path, *, online: bool, alerts: BinaryIO | None, verbose: bool, as_json: bool
) -> None:
    """Check the whole configuration, without notifying anyone.

    Checks plugins, installations, secrets and rules, and plans an alert of each severity. Lists
    rules and matchers that match no recent alert in the store, or none in a file. Exit codes:
    0 if all is well, 1 if a service was not reached, 2 for a configuration error.
    """
    screen = Screen()
    given = None if alerts is None else json_alerts.parse_files([alerts])
    found = _examine(path, online=online, alerts=given)
    if as_json:
        screen.print_json(found)
    else:
        _show(found, screen, verbose=verbose)
    if found["faults"]:
        sys.exit(2)
    sys.exit(0 if found["well"] else 1)


def _examine(path: Path, *, online: bool, alerts: Iterable[ParsedAlert] | None) -> dict[str, Any]:
    """Check a configuration, and return the findings as JSON; see `check`."""
    try:
        source = ConfigFile.read(path)
        loaded = configuration.load(source, ready=True, needs_rule=True)
        destinations = _destinations(loaded, source)
        notes = _store_notes(source, loaded, None if alerts is None else list(alerts))
        rules = [
            (rule, [(use, _sample_plans(loaded, use)) for use in rule.actions])
            for rule in loaded.rules
        ]
        faults = [*loaded.rule_faults(), *_planning_faults(rules, source)]
    except ConfigurationError as error:
        return {"well": False, "faults": to_json(list(error.faults))}
    except StoreError as error:
        return {"well": False, "faults": to_json([Fault("store", str(error))])}
    if faults:
        return {"well": False, "faults": to_json(faults)}
    reached = _reach(loaded, destinations) if online else []
    return {
        "well": all(each["outcome"] in (OutcomeKind.DELIVERED, NOT_PROBED) for each in reached),
        "faults": [],
        "plugins": [
            {"name": info.name, "version": info.version}
            for info in loaded.plugins.infos
            if info.state is PluginState.ACTIVE
        ],
        "installations": [
            {
                "name": installation.name,
                "provider": installation.provider,
                "services": [each.name for each in destinations[installation.name]],
            }
            for installation in loaded.installations
        ],
        "rules": [
            {"name": rule.name, "actions": [_action_json(use, plans) for use, plans in uses]}
            for rule, uses in rules
        ],
        "heartbeats": [
            {"key": each.key, "every": each.every, "grace": each.grace, "severity": each.severity}
            for each in loaded.heartbeats
        ],
        "notes": [*loaded.notes(), *_secret_notes(loaded, source), *notes],
        "reached": reached if online else None,
    }


def _show(found: dict[str, Any], screen: Screen, *, verbose: bool) -> None:
    """Print the findings."""
    if found["faults"]:
        for fault in found["faults"]:
            screen.print_error(f"{fault['path']}: {fault['reason']}")
        screen.print(f"{counted(len(found['faults']), 'fault')}. No event was sent.", "bold")
        return

    def line(head: str, text: str) -> None:
        screen.row((head, text), _WIDTHS[:1])

    for plugin in found["plugins"]:
        line("plugin", f"{plugin['name']} {plugin['version']}".strip())
    for installation in found["installations"]:
        services = ", ".join(installation["services"]) or "no services"
        line("installation", f"{installation['name']}: {services}")
    for rule in found["rules"]:
        for action in rule["actions"]:
            line("rule", f"{rule['name']}: {action['does']}")
            if verbose:
                line("", _mapping(action["severities"]))
            for note in action["notes"]:
                screen.note(f"rule {rule['name']!r}: {note}")
    for each in found["heartbeats"]:
        every = f"every {in_words(each['every'])} + {in_words(each['grace'])}"
        line("heartbeat", f"{each['key']}: {every}, severity {each['severity']}")
    for note in found["notes"]:
        screen.note(note)
    _show_reached(found["reached"] or (), screen)
    screen.print(_summary(found), "bold")


def _show_reached(reached: Sequence[dict[str, Any]], screen: Screen) -> None:
    for each in reached:
        word, style = _WORDS.get(each["outcome"], (each["outcome"], "red"))
        cells = (word, each["service"], each["reason"] or each["target"])
        screen.row(cells, _WIDTHS, style)
    if any(each["outcome"] == OutcomeKind.DELIVERED for each in reached):
        screen.print_lines(_PROBE_LIMITS, "dim")


_WORDS: Final = {OutcomeKind.DELIVERED: ("reached", "green"), NOT_PROBED: (NOT_PROBED, "yellow")}


def _mapping(severities: dict[str, str]) -> str:
    changed = [f"{given} -> {sent}" for given, sent in severities.items() if given != sent]
    return "severities: " + (f"{', '.join(changed)}; others as given" if changed else "as given")


def _summary(found: dict[str, Any]) -> str:
    services = sum(len(each["services"]) for each in found["installations"])
    counts = ", ".join(
        (
            counted(len(found["installations"]), "installation"),
            counted(services, "service"),
            counted(len(found["rules"]), "rule"),
        )
    )
    if found["reached"] is None:
        return f"Configuration OK: {counts}. No event was sent."
    kinds = [each["outcome"] for each in found["reached"]]
    reached = kinds.count(OutcomeKind.DELIVERED)
    if found["well"]:
        return f"Configuration OK: {counts}, {reached} reached. No event was sent."
    missed = len(kinds) - reached - kinds.count(NOT_PROBED)
    return f"{counted(missed, 'service')} of {len(kinds)} not reached. No event was sent."


def _store_notes(
    source: ConfigFile, loaded: Configuration, given: Sequence[ParsedAlert] | None
) -> Sequence[str]:
    """Return notes on open incidents that cannot be closed, and on rules that match no alert."""
    with open_engine(source, loaded) as engine:
        cut_off = cut_off_notes(engine.admin, loaded)
        if given is None:
            recent = engine.admin.recent_alerts(_RECENT)
            return [*cut_off, *_unmatched_rules(loaded.rules, recent, "recent alerts in the store")]
    faults = [f"{each.location}: {fault}" for each in given for fault in each.faults]
    read = [each.alert for each in given if each.alert]
    return [*cut_off, *faults, *_unmatched_rules(loaded.rules, read, "given alerts")]


def _unmatched_rules(rules: Sequence[Rule], alerts: Iterable[Alert], sample: str) -> Sequence[str]:
    """Describe the rules that match no alert of a sample, a sign of typing errors.

    Args:
        rules: of a configuration.
        alerts: the sample; if it is empty, no rule is reported.
        sample: its name for the messages, such as ``given alerts``.
    """
    alerts = list(alerts)
    notes = []
    for rule in rules:
        if not alerts or any(map(rule.matches, alerts)):
            continue
        never = [str(each) for each in matchers_of(rule) if not any(map(each.matches, alerts))]
        subject = f"rule {rule.name!r} matches"
        if never:
            noun, verb = ("matcher", "matches") if len(never) == 1 else ("matchers", "match")
            subject = f"rule {rule.name!r}: the {noun} {' and '.join(never)} {verb}"
        notes.append(f"{subject} none of {len(alerts)} {sample}")
    return notes


def _secret_notes(loaded: Configuration, source: ConfigFile) -> Iterator[str]:
    """Yield notes on the secrets in the configuration file."""
    declared = {table["name"] for _, table in source.installations}
    for installation in loaded.installations:
        if installation.name in declared:
            for path, secret in secrets(installation.settings):
                for note in secret.notes():
                    yield f"installation {installation.name!r}: {path} {note}"


def _sample(severity: Severity) -> Alert:
    return Alert(
        "alerthost-check", "Sample of alerthost check", severity=severity, source="alerthost"
    )


def _sample_plans(loaded: Configuration, use: RuleAction) -> dict[Severity, Plan]:
    """Plan an alert of each severity, the worst first, without sending it."""
    host = Host(loaded.plugins, [Rule("alerthost check", [use])])
    return {severity: host.plan(_sample(severity)) for severity in reversed(Severity)}


def _planning_faults(rules: Iterable[tuple[Rule, _Planned]], source: ConfigFile) -> Iterator[Fault]:
    """Yield the severities that cannot be planned."""
    declared = len(source.document.get("rules", ()))
    for rule_index, (rule, uses) in enumerate(rules):
        for index, (_, plans) in enumerate(uses):
            for severity, plan in plans.items():
                for failure in plan.failures:
                    reason = f"an alert of severity {severity}: {failure.reason}"
                    if rule_index < declared:
                        path = f"rules[{rule_index}].actions[{index}]"
                        yield source.locate(Fault(path, reason))
                    else:
                        yield Fault(f"rule {rule.name!r}: actions[{index}]", reason)


def _action_json(use: RuleAction, plans: Mapping[Severity, Plan]) -> dict[str, Any]:
    """Return an action with the severity that each one is sent as, and the notes of the plans."""
    sent = {str(severity): _sent_severity(plan) for severity, plan in plans.items()}
    unsent = ", ".join(severity for severity, sent_as in sent.items() if sent_as == _NOWHERE)
    notes = [f"no firing alert of {unsent} is sent"] if unsent else []
    for plan in plans.values():
        notes += [f"suppressed: {suppression.reason}" for suppression in plan.suppressions]
        notes += [note for suppression in plan.suppressions for note in suppression.notes]
        notes += [note for delivery in plan.deliveries for note in delivery.notes]
    return {
        "action": use.action.name,
        "installation": use.installation.name,
        "does": describe_action(use),
        "severities": sent,
        "notes": list(dict.fromkeys(notes)),
    }


def _sent_severity(plan: Plan) -> str:
    sent_as = dict.fromkeys(str(delivery.severity) for delivery in plan.deliveries)
    return " and ".join(sent_as) or ("suppressed" if plan.suppressions else _NOWHERE)


def _destinations(loaded: Configuration, source: ConfigFile) -> _Destinations:
    """Return the services of each installation, by its name."""
    found: dict[str, Sequence[Destination]] = {}
    faults = []
    declared = len(source.document.get("installations", ()))
    for index, installation in enumerate(loaded.installations):
        provider = loaded.plugins.providers[installation.provider]
        try:
            found[installation.name] = destinations_of(provider, installation)
        except NoDestinationsError as error:
            if index < declared:
                faults.append(source.locate(Fault(f"installations[{index}]", str(error))))
            else:
                faults.append(Fault(f"installation {installation.name!r}", str(error)))
    if faults:
        raise ConfigurationError(faults)
    return found


def _reach(loaded: Configuration, destinations: _Destinations) -> list[dict[str, Any]]:
    """Probe all services of all installations."""
    everywhere = [
        (installation, destination)
        for installation in loaded.installations
        for destination in destinations[installation.name]
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda where: _probe(loaded, *where), everywhere))


def _probe(
    loaded: Configuration, installation: Installation[Any], destination: Destination
) -> dict[str, Any]:
    """Probe a service with the first action that can, ordered by name."""
    found = {"service": f"{installation.name}/{destination.name}", "target": "", "reason": ""}
    for action in _actions(loaded, installation):
        try:
            outcome = action.probe(destination, installation)
        except BaseException as error:  # noqa: BLE001 -- a plugin that exits must not end the check
            reason = f"the action {action.name} failed to probe: it {describe_error(error)}"
            outcome = Outcome(OutcomeKind.FAULTED, reason)
        if outcome is not None:
            target = _target(loaded, action, destination, installation)
            reason = "" if outcome.delivered else outcome.reason
            return {**found, "outcome": str(outcome.kind), "target": target, "reason": reason}
    return {**found, "outcome": NOT_PROBED, "reason": f"{installation.provider} has no probe"}


def _actions(loaded: Configuration, installation: Installation[Any]) -> Iterator[AnyAction]:
    ordered = sorted(loaded.plugins.actions.items())
    return (action for _, action in ordered if action.provider == installation.provider)


def _target(
    loaded: Configuration,
    action: AnyAction,
    destination: Destination,
    installation: Installation[Any],
) -> str:
    """Return the address of a service, from the action's preview; empty if it fails."""
    try:
        settings = action.settings_for(destination)
        if settings is None:
            return ""
        host = Host(
            loaded.plugins, [Rule("alerthost check", [RuleAction(action, installation, settings)])]
        )
        plan = host.plan(_sample(Severity.INFO))
        return next((host.preview(delivery).target for delivery in plan.deliveries), "")
    except Exception:  # noqa: BLE001 -- an address is not worth a failed check
        return ""
