"""A change by another process meanwhile is kept: the change is applied to it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from workspace import Workspace

from alerthost.config.accounts import Accounts, open_accounts
from alerthost.config.document import ConfigurationError
from alerthost.store.errors import StoreError
from hostspec import Installation
from hostspec.connect import Connected


@pytest.fixture
def accounts(workspace: Workspace) -> Iterator[Accounts]:
    workspace.configure_bare()
    with open_accounts(workspace.folder / "alerthost.toml") as accounts:
        add(accounts, "acme", "one")
        yield accounts


def add(accounts: Accounts, name: str, *services: str) -> None:
    raw = {"services": [service(each) for each in services]}
    accounts.add(accounts.provider("pagerduty").installation(name, raw))


def service(name: str) -> dict[str, str]:
    return {"name": name, "integration_key": (name * 32)[:32]}


def adding(accounts: Accounts, name: str) -> Any:
    table = accounts.provider("pagerduty").table()
    assert table
    return lambda settings: table.save(settings, [*table.rows(settings), service(name)])


def names(accounts: Accounts) -> list[str]:
    [installation] = accounts.installations()
    return [each.name for each in installation.settings.services]


def test_a_change_is_applied_to_a_change_of_another_process(accounts: Accounts) -> None:
    rivals = ["two", "three"]

    def change(settings: Any) -> Any:
        changed = adding(accounts, "mine")(settings)
        if rivals:
            rival = rivals.pop()
            accounts.change("acme", adding(accounts, rival))
        return changed

    accounts.change("acme", change)

    assert sorted(names(accounts)) == ["mine", "one", "three", "two"]


def test_connecting_again_keeps_a_change_of_another_process(accounts: Accounts) -> None:
    rivals = ["two"]

    def connect() -> Connected[Any]:
        [before] = accounts.installations()
        if rivals:
            accounts.change("acme", adding(accounts, rivals.pop()))
        settings = adding(accounts, "mine")(before.settings)
        return Connected(attrs.evolve(before, settings=settings), again=True)

    accounts.connect(connect)

    assert names(accounts) == ["one", "two", "mine"]


def test_a_change_of_a_removed_account_is_an_error(accounts: Accounts) -> None:
    def change(settings: Any) -> Any:
        accounts.store.installations.remove(accounts.find_stored("acme"))
        return adding(accounts, "mine")(settings)

    with pytest.raises(ConfigurationError, match="the account 'acme' is unknown"):
        accounts.change("acme", change)
    assert accounts.all() == ()


def test_an_error_of_the_store_is_not_retried(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(accounts.store.installations, "replace", full)
    with pytest.raises(StoreError, match="the disk is full"):
        accounts.change("acme", adding(accounts, "mine"))


def test_a_name_that_another_process_took_is_an_error(accounts: Accounts) -> None:
    [installation] = accounts.installations()

    def connect() -> Connected[Any]:
        return Connected(Installation("pagerduty", "acme", installation.settings))

    with pytest.raises(ConfigurationError, match="account 'acme' already exists"):
        accounts.connect(connect)
