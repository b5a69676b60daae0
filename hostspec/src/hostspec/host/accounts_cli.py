"""The commands that connect, show and change accounts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import attrs
import click

from hostspec.demonstration import Table
from hostspec.discovery import DiscoveryError
from hostspec.faults import Fault
from hostspec.host import given, prompts
from hostspec.host.commands import example, speaks_plainly, with_config
from hostspec.host.screen import Screen, printable
from hostspec.host.source import ConfigurationError, Source, refuse
from hostspec.host.store import opened
from hostspec.provider import Installation
from hostspec.settings import SettingsError, structure
from hostspec.setup import Connected, SetupError

if TYPE_CHECKING:
    from hostspec.host.accounts import Accounts
    from hostspec.host.services import Services

DEFAULT_PORT: Final = 9096


@contextmanager
def _accounts(path: Path) -> Iterator[Accounts]:
    source = Source.read(path)
    with opened(source) as store:
        # the libraries of the store take their time, and most commands do without
        from hostspec.host.accounts import Accounts  # noqa: PLC0415

        yield Accounts(source, store)


def _warn(notes: Sequence[str], screen: Screen) -> None:
    for note in notes:
        screen.complain(printable(f"note: {note}"), "yellow")


@attrs.frozen
class _Given:
    """What the command line says of settings."""

    file: BinaryIO | None
    settings: tuple[str, ...]
    services: tuple[str, ...] = ()

    def complete(self, kind: type, judge: prompts.Judge, screen: Screen) -> dict[str, Any]:
        """Put it together, and ask a person for what it lacks.

        Raises:
            ConfigurationError: something is wrong, or lacks and there is nobody to ask.
        """
        raw = given.read(kind, self.file, self.settings, self.services)
        faults = judge(raw)
        wrong = [fault for fault in faults if _top(fault) in raw or not fault.path]
        if wrong or not (faults and prompts.can_ask()):
            _refuse_incomplete(faults, wrong)
            return raw
        try:
            return prompts.ask(kind, raw, judge, screen)
        except SettingsError as error:
            raise ConfigurationError(error.faults) from None


def _top(fault: Fault) -> str:
    return fault.path.partition(".")[0].partition("[")[0]


def _refuse_incomplete(faults: Sequence[Fault], wrong: Sequence[Fault]) -> None:
    if faults and faults != wrong:
        how = (
            "give what is missing with --set NAME=VALUE, --service NAME=REFERENCE or "
            "--settings FILE; at a terminal it is asked for"
        )
        faults = (*faults, Fault("", how))
    if faults:
        raise ConfigurationError(faults)


@click.command(short_help="Connect an account.")
@with_config
@click.option(
    "--settings", "file", type=click.File("rb"), help="Settings as TOML or JSON; - is stdin."
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One setting.")
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="NAME=REFERENCE",
    help="One service and where its key is: env:NAME, file:PATH or keyring:SERVICE/NAME. "
    "With --discover just its name, or its id.",
)
@click.option("--discover", is_flag=True, help="Ask the provider which services there are.")
@click.option("--all", "everything", is_flag=True, help="Of --discover: connect all services.")
@click.option("--yes", is_flag=True, help="Of --discover: create what lacks without asking.")
@click.option("--install-flow", is_flag=True, help="Connect in a browser, at the provider.")
@click.option("--app-id", metavar="ID", help="The same as --set app_id=ID.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Of the install flow: where on loopback the browser comes back to; 0 takes a free one.",
)
@click.option("--no-browser", is_flag=True, help="Only print the address to open.")
@click.argument("provider")
@click.argument("name", required=False)
@speaks_plainly
@example("alerthost connect pagerduty acme --service checkout=env:PD_CHECKOUT")
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
    """Connect an account of PROVIDER and keep it in the store, its secrets sealed.

    Asks for what is needed, unless the options give it. NAME is what rules will call the
    account. With --install-flow the provider's page in a browser asks instead; with --discover
    the provider is asked what the account holds.
    """
    screen = Screen()
    if install_flow and discover:
        refuse("--discover", "has no place beside --install-flow")
    if everything and services:
        refuse("--all", "has no place beside --service")
    settings = (*settings, f"app_id={app_id}") if app_id else settings
    asked = _Given(file, settings, () if discover else services)
    with _accounts(path) as accounts:
        if name is not None and (fault := accounts.name_fault(name)):
            refuse("", fault)
        if install_flow:
            connected = _connect_in_browser(
                accounts, provider, asked, screen, name=name or "", port=port, opens=not no_browser
            )
        elif discover:
            chosen = ("all",) if everything else services
            connected = _connect_by_discovery(
                accounts, provider, asked, screen, name=name or "", chosen=chosen, yes=yes
            )
        else:
            connected = _connect_by_hand(accounts, provider, asked, screen, name)
        _tell_connected(accounts, connected, screen)


def _connect_by_hand(
    accounts: Accounts, provider: str, asked: _Given, screen: Screen, name: str | None
) -> Connected[Any]:
    offered = accounts.provider(provider)
    if name is None:
        if not prompts.can_ask():
            refuse("NAME", "missing; it is what rules will call the account")
        name = _ask_name(accounts, screen)
    called = name
    raw = asked.complete(
        offered.settings, lambda answers: accounts.judge(provider, called, answers), screen
    )
    installation = offered.installation(name, raw)
    accounts.add(installation)
    return Connected(installation)


def _ask_name(accounts: Accounts, screen: Screen) -> str:
    screen.complain("What rules will call the account.", "dim")
    while True:
        name = str(click.prompt("Name", type=str, err=True)).strip()
        fault = accounts.name_fault(name)
        if fault is None:
            return name
        screen.complain(printable(fault))


def _connect_in_browser(  # noqa: PLR0913 -- one argument for each option
    accounts: Accounts,
    provider: str,
    asked: _Given,
    screen: Screen,
    *,
    name: str,
    port: int,
    opens: bool,
) -> Connected[Any]:
    from hostspec.host import browser  # noqa: PLC0415 -- a web server of no use to the others

    setup = accounts.provider(provider).setup()
    if setup is None:
        refuse("--install-flow", f"{provider} has none; leave it out")
    accounts.check_key()
    raw = asked.complete(setup.settings, lambda answers: _faults(setup.settings, answers), screen)
    try:
        return browser.connect(
            accounts,
            setup,
            structure(setup.settings, raw),
            screen,
            name=name,
            port=port,
            opens=opens,
        )
    except SetupError as error:
        screen.complain(printable(f"not connected: {error.reason}"))
        sys.exit(1)
    except OSError as error:
        refuse("--port", f"cannot listen on {port}: {error.strerror}")


def _connect_by_discovery(  # noqa: PLR0913 -- one argument for each option
    accounts: Accounts,
    provider: str,
    asked: _Given,
    screen: Screen,
    *,
    name: str,
    chosen: Sequence[str],
    yes: bool,
) -> Connected[Any]:
    from hostspec.host import discover  # noqa: PLC0415 -- of no use to the others

    discovery = accounts.provider(provider).discovery()
    if discovery is None:
        refuse("--discover", f"{provider} has none; leave it out")
    accounts.check_key()
    kind = discovery.settings
    raw = asked.complete(kind, lambda answers: _faults(kind, answers), screen)
    try:
        return discover.connect(
            accounts,
            discovery,
            structure(kind, raw),
            screen,
            name=name,
            chosen=chosen,
            go_ahead=lambda question: _go_ahead(question, yes=yes),
        )
    except DiscoveryError as error:
        screen.complain(printable(f"not connected: {error}"))
        sys.exit(1)


def _faults(kind: type, raw: Mapping[str, Any]) -> Sequence[Fault]:
    try:
        structure(kind, raw)
    except SettingsError as error:
        return error.faults
    return ()


def _tell_connected(accounts: Accounts, connected: Connected[Any], screen: Screen) -> None:
    installation = connected.installation
    names = _destinations(accounts, installation)
    again = " again" if connected.again else ""
    told = f"connected {installation.name}{again}, with {names}; kept in {accounts.store.place}"
    screen.say(printable(told), "green")
    _warn(connected.notes, screen)
    for aside in connected.left_aside:
        named = aside.name or "something without a name"
        kind = f" ({aside.kind})" if aside.kind else ""
        screen.complain(printable(f"left aside: {named}{kind}: {aside.reason}"), "yellow")
    _warn(accounts.notes(), screen)


def _destinations(accounts: Accounts, installation: Installation[Any]) -> str:
    provider = accounts.plugins.providers[installation.provider]
    return ", ".join(each.name for each in provider.destinations(installation)) or "nothing"


@click.command(short_help="List the connected accounts.")
@with_config
@speaks_plainly
@example("alerthost installations")
def installations(path: Path) -> None:
    """List the accounts: those the file declares, and those in the store."""
    screen = Screen()
    with _accounts(path) as accounts:
        found = accounts.all()
        rows = tuple(
            (
                account.name,
                account.provider,
                _destinations(accounts, account.installation) if account.installation else "-",
                account.place,
            )
            for account in found
        )
        columns = ("name", "provider", "services", "where")
        screen.table(Table("Installations", columns, rows))
        _warn(accounts.notes(), screen)
        faults = [fault for account in found for fault in account.complaints]
    if faults:
        raise ConfigurationError(faults)


@click.group(
    short_help="List and change the services of an account.",
    invoke_without_command=True,
    subcommand_metavar="[add|rename|rotate|remove] ...",
)
@with_config
@click.argument("account")
@click.pass_context
@speaks_plainly
@example("alerthost services acme")
def services(context: click.Context, path: Path, account: str) -> None:
    """List the services of ACCOUNT, keys masked; or add, rename, rotate or remove one."""
    from hostspec.host.services import Services  # noqa: PLC0415 -- as in `_accounts`

    accounts = context.with_resource(_accounts(path))
    context.obj = found = Services(accounts, account)
    if context.invoked_subcommand is None:
        screen = Screen()
        screen.table(found.table())
        _warn(accounts.notes(), screen)
    else:
        found.refuse_unchangeable()


_with_key = click.option(
    "--key",
    metavar="REFERENCE",
    help="Where the key is: env:NAME, file:PATH or keyring:SERVICE/NAME. Else it is asked for.",
)
_with_yes = click.option("--yes", is_flag=True, help="Do it without asking.")


@services.command(short_help="Add a service.")
@_with_key
@click.argument("name")
@click.pass_obj
@speaks_plainly
@example("alerthost services acme add checkout --key env:PD_CHECKOUT")
def add(services: Services, key: str | None, name: str) -> None:
    """Add a service called NAME."""
    screen = Screen()
    services.refuse_taken(name)
    row: dict[str, Any] = {"name": name}
    if key is not None:
        row[services.secret] = given.reference("--key", key)
    faults = services.judge_row(row)
    if faults:
        if not prompts.can_ask() or any(fault.path in ("", *row) for fault in faults):
            raise ConfigurationError(faults)
        row = prompts.ask(services.row, row, services.judge_row, screen)
    services.change(services.adding(row))
    screen.say(printable(f"added {name} to {services.account}"), "green")
    services.warn(screen)


@services.command(short_help="Rename a service.")
@_with_yes
@click.argument("old")
@click.argument("new")
@click.pass_obj
@speaks_plainly
@example("alerthost services acme rename checkout shop")
def rename(services: Services, *, yes: bool, old: str, new: str) -> None:
    """Rename the service OLD to NEW; incidents that are open stay with it."""
    screen = Screen()
    services.refuse_unknown(old)
    change = services.renaming(old, new)
    if broken := services.broken_by(change):
        _tell_broken(broken, screen)
        _go_ahead(f"Rename {old} all the same?", yes=yes)
    services.change(change)
    screen.say(printable(f"renamed {old} of {services.account} to {new}"), "green")


@services.command(short_help="Give a service a new key.")
@_with_key
@click.option("--done", is_flag=True, help="End the rotation: keep the new key only.")
@click.argument("name")
@click.pass_obj
@speaks_plainly
@example("alerthost services acme rotate checkout --key file:/run/secrets/pd_checkout_new")
def rotate(services: Services, *, key: str | None, done: bool, name: str) -> None:
    """Give the service NAME a new key beside the old one; later, with --done, drop the old one.

    New incidents open under the new key at once. Those that are open are followed up under the
    key that opened them, as long as it is kept.
    """
    screen = Screen()
    services.refuse_unknown(name)
    if done:
        _end_rotation(services, name, key, screen)
        return
    if key is not None:
        secret = given.reference("--key", key)
    elif prompts.can_ask():
        secret = prompts.ask_secret(
            services.secret_label, lambda answer: services.judge_secret(name, answer), screen
        )
    else:
        refuse("--key", "missing; at a terminal it is asked for")
    services.change(services.rotating(name, secret))
    screen.say(printable(f"{name} of {services.account} has a new key and keeps the old one"))
    end = f"alerthost services {services.account} rotate {name} --done"
    screen.say(printable(f"When nothing is open under the old one any more: {end}"), "dim")
    services.warn(screen)


def _end_rotation(services: Services, name: str, key: str | None, screen: Screen) -> None:
    if key is not None:
        refuse("--key", "has no place beside --done")
    change = services.retiring(name)
    if not services.is_changed_by(change):
        refuse("--done", f"{name} has one key only; no rotation is under way")
    services.change(change)
    screen.say(printable(f"{name} of {services.account} keeps its newest key only"), "green")
    lost = "what the old key opened and is still open cannot be followed up: resolve it there"
    screen.complain(f"note: {lost}", "yellow")


@services.command(short_help="Remove a service.")
@_with_yes
@click.argument("name")
@click.pass_obj
@speaks_plainly
@example("alerthost services acme remove checkout")
def remove(services: Services, *, yes: bool, name: str) -> None:
    """Remove the service NAME with its key; tells which rules name it, and asks first."""
    screen = Screen()
    services.refuse_unknown(name)
    change = services.removing(name)
    _tell_broken(services.broken_by(change), screen)
    _go_ahead(f"Remove {name} of {services.account}?", yes=yes)
    services.change(change)
    screen.say(printable(f"removed {name} of {services.account}"), "green")


@click.command(short_help="Remove an account from the store.")
@with_config
@_with_yes
@click.argument("account")
@speaks_plainly
@example("alerthost disconnect acme")
def disconnect(path: Path, *, yes: bool, account: str) -> None:
    """Remove ACCOUNT from the store with its keys; nothing changes at the provider.

    While rules name it that is refused, unless --yes says so.
    """
    screen = Screen()
    with _accounts(path) as accounts:
        stored = accounts.stored(account)
        broken = accounts.broken_by(account, None)
        _tell_broken(broken, screen)
        if broken and not yes:
            refuse("", f"rules name {account}: change them first, or say --yes")
        _go_ahead(f"Disconnect {account}?", yes=yes)
        accounts.store.installations.remove(stored)
    screen.say(printable(f"disconnected {account}"), "green")


def _tell_broken(broken: Sequence[Fault], screen: Screen) -> None:
    if broken:
        screen.complain("This would be wrong afterwards:", "yellow")
    for fault in broken:
        screen.complain(printable(f"  {fault}"), "yellow")


def _go_ahead(question: str, *, yes: bool) -> None:
    """Ask whether to go on, unless that was said; end the command if not."""
    if yes:
        return
    if not prompts.can_ask():
        refuse("--yes", "missing; at a terminal it is asked for")
    if not prompts.confirm(printable(question)):
        sys.exit(1)


@click.command(name="new-key", short_help="Make a key for the store.")
@click.option("--write", "file", type=click.Path(path_type=Path), help="A new file for it.")
@speaks_plainly
@example("alerthost new-key --write alerthost.key")
def new_key(file: Path | None) -> None:
    """Make a fresh key that seals the secrets in the store, and print it.

    With --write it goes into a new file that only you can read. Whoever has the key and the
    database has the secrets; without the key they are lost.
    """
    from hostspec.store import sealing  # noqa: PLC0415 -- as in `_accounts`

    key = sealing.new_key()
    if file is None:
        click.echo(key)
        return
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        reason = "is there already; what is sealed with the key in it would be lost"
        refuse(str(file), reason)
    except OSError as error:
        refuse(str(file), f"cannot be written: {error.strerror}")
    with os.fdopen(descriptor, "w", encoding="ascii") as written:
        written.write(f"{key}\n")
    screen = Screen()
    screen.say(printable(f"wrote {file}"), "green")
    screen.say("In alerthost.toml, name it so:")
    screen.give(f'[store]\nkey = "file:{file}"')


COMMANDS: Final = (connect, installations, services, disconnect, new_key)
