"""``connect --discover``: the provider is asked what an account holds, and a person chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from alerthost.cli import prompts
from alerthost.cli.screen import Screen, printable
from alerthost.config.accounts import Accounts
from alerthost.config.document import ConfigurationError, refuse
from hostspec.connect.discovery import Discovery, Found, FoundState
from hostspec.connect.install_flow import Connected
from hostspec.demo import Table
from hostspec.text import unknown_name

_EVERYTHING = "all"


def connect(  # noqa: PLR0913 -- what is connected, and how it is chosen
    accounts: Accounts,
    discovery: Discovery[Any, Any],
    settings: Any,
    screen: Screen,
    *,
    name: str = "",
    chosen: Sequence[str] = (),
    go_ahead: Callable[[str], None],
) -> Connected[Any]:
    """Ask the provider, let a person choose, and store what was chosen.

    Args:
        accounts: where the account is stored.
        discovery: the provider's.
        settings: what it has to know.
        screen: for what the person has to know.
        name: for a new account; empty for the one that the provider gives.
        chosen: names, ids or numbers, or ``all``; a person is asked where there are none.
        go_ahead: asks before something is created at the provider, and ends the command if that
            is not wanted.

    Raises:
        DiscoveryError: the provider cannot be asked, or nothing could be connected.
        ConfigurationError: the choice is wrong, or the account cannot be stored.
        StoreError: it cannot be stored.
    """
    found = discovery.find(settings)
    picked = pick(found, chosen) if chosen else _ask(found, screen)
    lacking = [each.name for each in picked if each.state is FoundState.MISSING]
    if lacking:
        go_ahead(f"Create at {discovery.provider} what these lack: {', '.join(lacking)}?")
    ids = [each.id for each in picked]
    return accounts.connect(
        lambda: discovery.connect(ids, settings, accounts.installations(), name=name), name
    )


def pick(found: Sequence[Found], chosen: Sequence[str]) -> Sequence[Found]:
    """Find what was chosen.

    Raises:
        ConfigurationError: something is not there, or is there twice, or nothing is left.
    """
    usable = [each for each in found if each.state is not FoundState.UNUSABLE]
    if list(chosen) == [_EVERYTHING]:
        if not usable:
            refuse("--all", "the account holds nothing that can be connected")
        return usable
    picked: dict[str, Found] = {}
    for text in chosen:
        each = _one(found, text)
        picked[each.id] = each
    return list(picked.values())


def _one(found: Sequence[Found], text: str) -> Found:
    matching = [each for each in found if text in (each.name, each.id)]
    if not matching and text.isdecimal() and 1 <= int(text) <= len(found):
        matching = [found[int(text) - 1]]
    if not matching:
        refuse("--service", unknown_name(text, [each.name for each in found]))
    if len(matching) > 1:
        ids = ", ".join(each.id for each in matching)
        refuse("--service", f"{text!r} is there several times; name one by its id: {ids}")
    if matching[0].state is FoundState.UNUSABLE:
        refuse("--service", f"{text!r} cannot be connected: {matching[0].detail}")
    return matching[0]


def _ask(found: Sequence[Found], screen: Screen) -> Sequence[Found]:
    if not prompts.can_ask():
        refuse("--service", "missing, and --all as well; at a terminal it is asked for")
    screen.table(_table(found))
    screen.complain("Numbers or names, with commas between them; or all.", "dim")
    while True:
        answer = str(click.prompt("Connect which", type=str, err=True))
        try:
            return pick(found, [each.strip() for each in answer.split(",")])
        except ConfigurationError as error:
            screen.complain(printable(error.faults[0].reason))


def _table(found: Sequence[Found]) -> Table:
    rows = tuple(
        (str(number), printable(each.name), each.id, str(each.state), printable(each.detail))
        for number, each in enumerate(found, start=1)
    )
    return Table("Found", ("no.", "name", "id", "state", ""), rows)
