"""The commands that list and change the services of an account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alerthost.cli import prompts
from alerthost.cli.commands import example, speaks_plainly, with_config, with_timeout
from alerthost.cli.disconnect import LEAVE, RESOLVE, with_choice
from alerthost.cli.screen import Screen, printable
from alerthost.cli.services import Services
from alerthost.config import cli_settings
from alerthost.config.accounts import Consequences, open_accounts
from alerthost.config.document import ConfigurationError, refuse


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
    accounts = context.with_resource(open_accounts(path))
    context.obj = found = Services(accounts, account)
    if context.invoked_subcommand is None:
        screen = Screen()
        screen.table(found.table())
        _tell_notes(found, screen)
    else:
        found.refuse_unchangeable()


def _tell_notes(services: Services, screen: Screen) -> None:
    for note in services.notes():
        screen.note(note)


def _tell_consequences(consequences: Consequences, screen: Screen) -> None:
    prompts.tell_consequences((*consequences.faults, *consequences.changes), screen)


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
        row[services.secret] = cli_settings.reference("--key", key)
    faults = services.judge_row(row)
    if faults:
        if not prompts.can_ask() or any(fault.path in ("", *row) for fault in faults):
            raise ConfigurationError(faults)
        row = prompts.ask(services.row, row, services.judge_row, screen)
    services.change(services.adding(row))
    screen.say(printable(f"added {name} to {services.account}"), "green")
    _tell_notes(services, screen)


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
    consequences = services.consequences(change)
    _tell_consequences(consequences, screen)
    if consequences.faults:
        prompts.go_ahead(f"Rename {old} all the same?", yes=yes)
    services.change(change)
    screen.say(printable(f"renamed {old} of {services.account} to {new}"), "green")


@services.command(short_help="Give a service a new key.")
@_with_key
@click.option("--done", is_flag=True, help="End the rotation: keep the new key only.")
@with_choice
@with_timeout
@click.argument("name")
@click.pass_obj
@speaks_plainly
@example("alerthost services acme rotate checkout --key file:/run/secrets/pd_checkout_new")
def rotate(  # noqa: PLR0913 -- one argument for each option
    services: Services,
    *,
    key: str | None,
    done: bool,
    what: str | None,
    timeout: float,
    name: str,
) -> None:
    """Return the service NAME a new key beside the old one; later, with --done, drop the old one.

    New incidents open under the new key at once. Those that are open are followed up under the
    key that opened them, as long as it is kept. While some are open under the old one, --done
    lists them and asks whether to close them first.
    """
    screen = Screen()
    services.refuse_unknown(name)
    if done:
        if key is not None:
            refuse("--key", "has no place beside --done")
        _end_rotation(services, name, what, timeout, screen)
        return
    if what is not None:
        refuse(f"--{what}", "has no place without --done")
    if key is not None:
        secret = cli_settings.reference("--key", key)
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
    _tell_notes(services, screen)


def _end_rotation(
    services: Services, name: str, what: str | None, timeout: float, screen: Screen
) -> None:
    change = services.retiring(name)
    if not services.is_changed_by(change):
        refuse("--done", f"{name} has one key only; no rotation is under way")
    departing = services.departing(change, f"{services.account}/{name} under the old key")
    chosen = departing.choose(what, screen)
    if chosen == RESOLVE:
        departing.close(screen, timeout, "both keys are kept")
    services.change(change)
    screen.say(printable(f"{name} of {services.account} keeps its newest key only"), "green")
    if chosen == LEAVE:
        lost = "what the old key opened and is still open cannot be followed up: resolve it there"
        screen.complain(f"note: {lost}", "yellow")


@services.command(short_help="Remove a service.")
@_with_yes
@with_choice
@with_timeout
@click.argument("name")
@click.pass_obj
@speaks_plainly
@example("alerthost services acme remove checkout")
def remove(services: Services, *, yes: bool, what: str | None, timeout: float, name: str) -> None:
    """Remove the service NAME with its key; tells which rules name it, and asks first.

    While incidents are open there, it lists them and asks whether to close them first:
    afterwards nobody here can.
    """
    screen = Screen()
    services.refuse_unknown(name)
    change = services.removing(name)
    _tell_consequences(services.consequences(change), screen)
    departing = services.departing(change, f"{services.account}/{name}")
    chosen = departing.choose(what, screen)
    prompts.go_ahead(f"Remove {name} of {services.account}?", yes=yes)
    if chosen == RESOLVE:
        departing.close(screen, timeout, "not removed")
    services.change(change)
    screen.say(printable(f"removed {name} of {services.account}"), "green")
