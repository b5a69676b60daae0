"""Stored rules keep their order, and no change is lost between two operators."""

from __future__ import annotations

import itertools
from pathlib import Path

import attrs
import pytest
from stored import Account

from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.installations import Installations
from alerthost.store.revision import read_revision
from alerthost.store.rules import RuleConflictError, Rules, StoredRule
from hostspec import Installation, structure

BODY = {"match": ['team="data"'], "actions": [{"use": "page", "note": "\0 \N{FIRE}"}]}


@pytest.fixture
def rules(database: Database) -> Rules:
    return Rules(database)


def names(rules: Rules) -> list[str]:
    return [each.name for each in rules.all()]


def find(rules: Rules, name: str) -> StoredRule:
    return next(each for each in rules.all() if each.name == name)


def test_empty_store_has_no_rules(rules: Rules) -> None:
    assert rules.all() == ()


def test_rule_is_read_back_as_a_table_of_the_file(rules: Rules) -> None:
    rules.add("Pages", BODY)
    (stored,) = rules.all()
    assert stored.table == {"name": "Pages", **BODY}
    assert stored.is_enabled


def test_rules_are_moved_within_their_order(rules: Rules) -> None:
    for name in ("a", "b", "c"):
        rules.add(name, BODY)
    rules.move(find(rules, "c"), up=True)
    assert names(rules) == ["a", "c", "b"]
    rules.move(find(rules, "a"), up=False)
    assert names(rules) == ["c", "a", "b"]
    rules.move(find(rules, "c"), up=True)
    rules.move(find(rules, "b"), up=False)
    assert names(rules) == ["c", "a", "b"]
    rules.remove(find(rules, "a"))
    rules.add("d", BODY)
    assert names(rules) == ["c", "b", "d"]


def test_second_of_two_changes_of_one_rule_is_refused(rules: Rules) -> None:
    rules.add("Pages", BODY)
    (read,) = rules.all()
    rules.switch(read, is_enabled=False)
    for change in (
        lambda: rules.replace(read, "Pages", {}),
        lambda: rules.switch(read, is_enabled=True),
        lambda: rules.move(read, up=True),
        lambda: rules.remove(read),
    ):
        with pytest.raises(RuleConflictError, match="rule 'Pages' was changed or removed"):
            change()
    (kept,) = rules.all()
    assert kept == attrs.evolve(read, is_enabled=False, version=read.version + 1)


def test_name_is_used_once(rules: Rules) -> None:
    rules.add("a", BODY)
    rules.add("b", BODY)
    with pytest.raises(RuleConflictError, match="has a rule 'a' already"):
        rules.add("a", {})
    with pytest.raises(RuleConflictError, match="has a rule 'a' already"):
        rules.replace(find(rules, "b"), "a", {})
    rules.replace(find(rules, "b"), "c", {})
    assert names(rules) == ["a", "c"]


def test_every_change_makes_a_revision_of_its_own(rules: Rules, database: Database) -> None:
    installations = Installations(database, None)
    acme = Installation("paging", "acme", structure(Account, {}))
    changes = (
        database.migrate,
        lambda: rules.add("a", BODY),
        lambda: rules.add("b", BODY),
        lambda: rules.replace(find(rules, "a"), "a", {}),
        lambda: rules.switch(find(rules, "a"), is_enabled=False),
        lambda: rules.move(find(rules, "a"), up=False),
        lambda: rules.remove(find(rules, "b")),
        lambda: rules.add("b", BODY),
        lambda: installations.add(acme),
        lambda: installations.replace(installations.all()[0], acme),
        lambda: installations.remove(installations.all()[0]),
        lambda: installations.add(acme),
    )
    seen = []
    for change in changes:
        change()
        seen.append(read_revision(database))
    assert all(before != after for before, after in itertools.pairwise(seen))
    assert seen[-1] not in seen[:-1]


def test_failing_database_is_reported(rules: Rules, tmp_path: Path) -> None:
    (tmp_path / "alerthost.db").write_bytes(b"this is no database" * 100)
    with Database("sqlite:///alerthost.db", tmp_path) as broken, pytest.raises(StoreError):
        Rules(broken).all()
    assert rules
