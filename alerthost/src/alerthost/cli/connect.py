"""``alerthost connect``: connects an account by its settings, by discovery, or in a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import attrs
import click

from alerthost.cli import prompts
from alerthost.cli.installations import service_names
from alerthost.cli.options import command, with_config
from alerthost.cli.output import Screen
from alerthost.config import cli_settings
from alerthost.config.accounts import Accounts, open_accounts
from alerthost.config.document import ConfigurationError, refuse
from hostspec.connect import (
    Connected,
    Discovery,
    DiscoveryError,
    Found,
    FoundState,
    InstallError,
    InstallFlow,
)
from hostspec.errors import Fault
from hostspec.provider import Table
from hostspec.settings import SettingsError
from hostspec.structuring import structure
from hostspec.text import unknown_name

DEFAULT_PORT: Final = 9096

_Way = TypeVar("_Way", InstallFlow[Any, Any], Discovery[Any, Any])


_HOW_TO_ADD: Final = (
    "add missing settings with --set NAME=VALUE, --service NAME=REFERENCE or "
    "--settings FILE, or run the command at a terminal to be asked"
)


@command(
    "Connect an account.",
    example="alerthost connect pagerduty acme --service checkout=env:PD_CHECKOUT",
)
@with_config
@click.option(
    "--settings",
    "file",
    type=click.File("rb"),
    metavar="FILE",
    help="A file with settings, TOML or JSON; - is stdin.",
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One setting.")
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="NAME=REFERENCE",
    help="A service and its key: env:NAME, file:PATH or keyring:SERVICE/NAME. "
    "With --discover: its name or id.",
)
@click.option("--discover", is_flag=True, help="List the services of the account, and choose.")
@click.option("--all", "everything", is_flag=True, help="With --discover: connect all services.")
@click.option(
    "--yes", is_flag=True, help="With --discover: create missing integrations without asking."
)
@click.option("--install-flow", is_flag=True, help="Connect at the provider, in a browser.")
@click.option("--app-id", metavar="ID", help="Short for --set app_id=ID.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    metavar="PORT",
    help="With --install-flow: the loopback port that the browser returns to; 0 for a free one.",
)
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening it.")
@click.argument("provider")
@click.argument("name", required=False)
def connect(  # noqa: PLR0913 -- one argument for each option
    path: Path,
    *,
    file: BinaryIO | None,
    settings: tuple[str, ...],
    services: tuple[str, ...],
    discover: bool,
    everything: bool,
    yes: bool,
    install_flow: bool,
    app_id: str | None,
    port: int,
    no_browser: bool,
    provider: str,
    name: str | None,
) -> None:
    """Connect an account of PROVIDER, and keep it in the store with its secrets sealed.

    NAME is the name that rules use for the account. Missing settings are asked for. With
    --install-flow they are entered on the provider's page; with --discover the account is
    searched for services.
    """
    screen = Screen()
    if install_flow and discover:
        refuse("--discover", "cannot be combined with --install-flow")
    if everything and services:
        refuse("--all", "cannot be combined with --service")
    settings = (*settings, f"app_id={app_id}") if app_id else settings
    options = (file, settings, () if discover else services)
    with open_accounts(path) as accounts:
        if name is not None and (fault := accounts.name_fault(name)):
            again = "; to connect it again, omit the name" if install_flow or discover else ""
            refuse("", f"{fault}{again}")
        connecting = _Connecting(accounts, provider, options, screen, name)
        try:
            if install_flow:
                connected = connecting.in_browser(port=port, opens=not no_browser)
            elif discover:
                chosen = ("all",) if everything else services
                connected = connecting.by_discovery(chosen, yes=yes)
            else:
                connected = connecting.by_settings()
        except (InstallError, DiscoveryError) as error:
            screen.print_error(f"not connected: {error}")
            screen.exit(success=False)
        _show_connected(accounts, connected, screen)
        if name not in (None, connected.installation.name):
            screen.note(f"the account was connected before, so its name is not {name}")


@attrs.frozen
class _Connecting:
    """The ways to connect an account; the options are the arguments of `cli_settings.read`."""

    accounts: Accounts
    provider: str
    options: tuple[BinaryIO | None, Sequence[str], Sequence[str]]
    screen: Screen
    name: str | None

    def by_settings(self) -> Connected[Any]:
        provider = self.accounts.provider(self.provider)
        name, nameless = self.name or "", []
        if self.name is None and prompts.can_ask():
            name = self._ask_name()
        elif self.name is None:
            nameless = [Fault("NAME", "missing; give the name that rules use for the account")]

        def validate(answers: object) -> Sequence[Fault]:
            return self.accounts.check(provider.name, name, answers)

        try:
            raw = self._complete(provider.settings, validate)
        except ConfigurationError as error:
            raise ConfigurationError([*nameless, *error.faults]) from None
        if nameless:
            raise ConfigurationError(nameless)
        installation = provider.installation(name, raw)
        self.accounts.add(installation)
        return Connected(installation)

    def _ask_name(self) -> str:
        self.screen.print_error("The name that rules use for this account.", "dim")
        while True:
            name = str(click.prompt("Name", type=str, err=True)).strip()
            fault = self.accounts.name_fault(name)
            if fault is None:
                return name
            self.screen.print_error(fault)

    def in_browser(self, *, port: int, opens: bool) -> Connected[Any]:
        from alerthost.cli.connect_browser import connect_in_browser  # noqa: PLC0415 -- a web server

        offered = self.accounts.provider(self.provider).install_flow()
        flow, settings = self._begin("--install-flow", "install flow", offered)
        name = self.name or ""
        try:
            return connect_in_browser(
                self.accounts, flow, settings, self.screen, name=name, port=port, opens=opens
            )
        except OSError as error:
            refuse("--port", f"cannot listen on {port}: {error.strerror}")

    def by_discovery(self, chosen: Sequence[str], *, yes: bool) -> Connected[Any]:
        offered = self.accounts.provider(self.provider).discovery()
        discovery, settings = self._begin("--discover", "discovery", offered)
        found = discovery.find(settings)
        picked = pick(found, chosen) if chosen else self._ask_services(found)
        missing = ", ".join(each.name for each in picked if each.state is FoundState.MISSING)
        if missing:
            question = f"Create the missing integrations at {discovery.provider}: {missing}?"
            prompts.confirm(question, yes=yes)
        ids, name = [each.id for each in picked], self.name or ""
        return self.accounts.connect(
            lambda: discovery.connect(ids, settings, self.accounts.installations(), name=name),
            name,
        )

    def _begin(self, option: str, what: str, offered: _Way | None) -> tuple[_Way, Any]:
        """Check that a way is offered, and collect its settings."""
        if offered is None:
            refuse(option, f"{self.provider} has no {what}; omit the option")
        self.accounts.check_key()
        kind = offered.settings
        raw = self._complete(kind, lambda answers: _faults(kind, answers))
        return offered, structure(kind, raw)

    def _complete(self, kind: type, validate: prompts.Validate) -> dict[str, Any]:
        """Collect the settings of the options, and ask for missing ones at a terminal."""
        raw, unreadable = cli_settings.read(kind, *self.options)
        if unreadable:  # settings that seem to be missing may be there
            wrong = prompts.wrong_ones(raw, validate(raw))
            raise ConfigurationError([*unreadable, *wrong])
        return prompts.complete(kind, raw, validate, self.screen, remedy=_HOW_TO_ADD)

    def _ask_services(self, found: Sequence[Found]) -> Sequence[Found]:
        if not prompts.can_ask():
            refuse("--service", "missing; add it, or --all, or run the command at a terminal")
        rows = tuple(
            (str(number), each.name, each.id, str(each.state), each.detail)
            for number, each in enumerate(found, start=1)
        )
        self.screen.table(Table("Found", ("no.", "name", "id", "state", ""), rows))
        self.screen.print_error("Enter numbers or names, separated by commas, or all.", "dim")
        while True:
            answer = str(click.prompt("Connect which", type=str, err=True))
            try:
                return pick(found, [each.strip() for each in answer.split(",")])
            except ConfigurationError as error:
                self.screen.print_error(error.faults[0].reason)


def _faults(kind: type, raw: Mapping[str, Any]) -> Sequence[Fault]:
    try:
        structure(kind, raw)
    except SettingsError as error:
        return error.faults
    return ()


def pick(found: Sequence[Found], chosen: Sequence[str]) -> Sequence[Found]:
    """Select services by name, id or number, or ``all``."""
    if list(chosen) == ["all"]:
        usable = [each for each in found if each.state is not FoundState.UNUSABLE]
        if not usable:
            refuse("--all", "the account has no service that can be connected")
        return usable
    picked = [_pick(found, text) for text in chosen]
    return list({each.id: each for each in picked}.values())


def _pick(found: Sequence[Found], text: str) -> Found:
    matching = [each for each in found if text in (each.name, each.id)]
    if not matching and text.isdecimal() and 1 <= int(text) <= len(found):
        matching = [found[int(text) - 1]]
    if not matching:
        refuse("--service", unknown_name(text, [each.name for each in found]))
    if len(matching) > 1:
        ids = ", ".join(each.id for each in matching)
        refuse("--service", f"{text!r} is ambiguous; give one of the ids: {ids}")
    if matching[0].state is FoundState.UNUSABLE:
        refuse("--service", f"{text!r} cannot be connected: {matching[0].detail}")
    return matching[0]


def _show_connected(accounts: Accounts, connected: Connected[Any], screen: Screen) -> None:
    installation = connected.installation
    names = service_names(accounts, installation)
    again = " again" if connected.again else ""
    location = accounts.store.location
    screen.print(f"connected {installation.name}{again}: {names}; stored in {location}", "green")
    for note in connected.notes:
        screen.note(note)
    for skipped in connected.skipped:
        kind = f" ({skipped.kind})" if skipped.kind else ""
        name = skipped.name or "a service without a name"
        screen.warn(f"skipped: {name}{kind}: {skipped.reason}")
    for note in accounts.notes():
        screen.note(note)
