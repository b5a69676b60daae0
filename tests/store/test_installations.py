"""Installations are read as they were stored; a failed change has no effect."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import CANARY, Account

from alerthost.store import tables
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.installations import Installations, StoredInstallation
from alerthost.store.sealing import Sealed, new_key
from alerthost.store.tables import installations as table
from hostspec import Installation, Secret, SecretUnavailableError, structure
from hostspec.secret import LiteralSecretError
from hostspec.settings import secrets


def structured(stored: StoredInstallation) -> Account:
    return structure(Account, stored.settings)


def revealed(stored: StoredInstallation) -> dict[str, str]:
    return {
        path: secret.reveal()
        for path, secret in secrets(structured(stored))
        if secret.reference is None
    }


def named(name: str, **raw: Any) -> Installation[Account]:
    return Installation("paging", name, structure(Account, raw))


ALL_REVEALED = {"token": CANARY, "keys[1]": CANARY, "headers.$sealed": CANARY}


def test_an_empty_store_has_no_installations(installations: Installations) -> None:
    assert installations.all() == ()


def test_an_added_installation_is_read_back(
    installations: Installations, acme: Installation[Account]
) -> None:
    added = installations.add(acme)

    (stored,) = installations.all()
    assert stored == added
    assert (stored.provider, stored.name, stored.version) == ("paging", "acme", 1)
    assert stored.created_at == stored.updated_at
    assert stored.created_at.tzinfo == dt.UTC
    assert revealed(stored) == ALL_REVEALED
    assert structured(stored).keys[0] == Secret("env:PD_KEY")


def test_installations_are_in_the_order_of_their_addition(installations: Installations) -> None:
    for name in ("b", "a", "c"):
        installations.add(named(name))
    assert [stored.name for stored in installations.all()] == ["b", "a", "c"]


@pytest.mark.parametrize(
    "raw",
    [
        {"labels": {"$sealed": "no seal"}},
        {"labels": {"$": "", "$$sealed": "", "": "$sealed"}},
        {"headers": {"$sealed": "env:A", "$$sealed": CANARY}},
        {"labels": {"\0\ud800": "\0\ud800"}},
        {"keys": ()},
    ],
)
def test_any_settings_are_read_back(raw: Mapping[str, Any], installations: Installations) -> None:
    installation = named("acme", **raw)
    (stored,) = [installations.add(installation)]
    back = structured(stored)
    assert back.labels == installation.settings.labels
    assert {path: secret.reveal() for path, secret in secrets(back) if not secret.reference} == {
        path: secret.reveal()
        for path, secret in secrets(installation.settings)
        if not secret.reference
    }


texts = st.text(st.characters(), max_size=8) | st.sampled_from(["$sealed", "$", "$$sealed"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(labels=st.dictionaries(texts, texts))
def test_any_names_and_texts_are_read_back(
    labels: dict[str, str], installations: Installations
) -> None:
    for stored in installations.all():
        installations.remove(stored)
    assert structured(installations.add(named("acme", labels=labels))).labels == labels


def test_a_taken_name_is_refused(installations: Installations) -> None:
    first = installations.add(named("acme"))
    other = installations.add(named("other"))
    taken = r"^installation 'acme' already exists; choose another name$"
    with pytest.raises(StoreError, match=taken):
        installations.add(named("acme", region="eu"))
    with pytest.raises(StoreError, match=taken):
        installations.replace(other, named("acme", region="eu"))
    assert installations.all() == (first, other)


@pytest.mark.parametrize("name", ["", " ", "a\0b", "a\ud800"])
def test_an_invalid_name_is_refused(name: str, installations: Installations) -> None:
    with pytest.raises(StoreError, match=" cannot name an installation; "):
        installations.add(named(name))
    assert installations.all() == ()


def test_an_installation_is_replaced_and_renamed(
    installations: Installations, acme: Installation[Account]
) -> None:
    added = installations.add(acme)
    changed = attrs.evolve(structured(added), region="eu", token=Secret("new"))
    replaced = installations.replace(added, Installation("paging", "acme-eu", changed))

    assert installations.all() == (replaced,)
    assert (replaced.id, replaced.name, replaced.version) == (added.id, "acme-eu", 2)
    assert replaced.created_at == added.created_at
    assert replaced.updated_at >= added.updated_at
    assert structured(replaced).region == "eu"
    assert revealed(replaced) == ALL_REVEALED | {"token": "new"}


def test_unchanged_secrets_keep_their_seals(
    installations: Installations, acme: Installation[Account]
) -> None:
    added = installations.add(acme)
    replaced = installations.replace(added, Installation("paging", "acme", structured(added)))
    assert replaced.settings == added.settings


def test_a_change_seals_for_the_new_name_and_settings(
    installations: Installations, acme: Installation[Account]
) -> None:
    added = installations.add(acme)
    settings = attrs.evolve(structured(added), region="eu", keys=())
    installations.replace(added, Installation("paging", "new", settings))
    (replaced,) = installations.all()
    assert revealed(replaced) == {"token": CANARY, "headers.$sealed": CANARY}


def write(database: Database, **values: object) -> None:
    with database.begin() as connection:
        connection.execute(sa.update(table).where(table.c.name == "acme").values(values))


def swap(settings: Any) -> None:
    settings["token"], settings["headers"]["$$sealed"] = (
        settings["headers"]["$$sealed"],
        settings["token"],
    )


@pytest.mark.parametrize(
    "change",
    [
        swap,
        lambda settings: settings.update(region="eu"),
        lambda settings: settings["labels"].update(address="http://127.0.0.1:6666"),
        lambda settings: settings["keys"].pop(0),
    ],
)
def test_a_row_changed_by_another_program_reveals_no_secret(
    change: Callable[[Any], object],
    database: Database,
    installations: Installations,
    acme: Installation[Account],
) -> None:
    installations.add(acme)
    with database.read() as connection:
        settings = json.loads(connection.execute(sa.select(table.c.settings)).scalar_one())
    change(settings)
    write(database, settings=json.dumps(settings))

    (stored,) = installations.all()
    account = structured(stored)
    assert account.token
    for secret in (account.token, account.headers["$sealed"]):
        with pytest.raises(SecretUnavailableError, match="another program changed"):
            secret.reveal()
    with pytest.raises(StoreError, match="another program changed"):
        installations.reseal()
    with pytest.raises(StoreError, match="another program changed"):
        installations.replace(stored, named("acme", token=account.token))


def changed(change: Callable[[Any], object], database: Database) -> None:
    """Change the settings of a row as another program would."""
    with database.read() as connection:
        settings = json.loads(connection.execute(sa.select(table.c.settings)).scalar_one())
    change(settings)
    write(database, settings=json.dumps(settings))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.update(headers={"x": "env:ANOTHER"}),
        lambda raw: raw.update(token="env:ANOTHER"),
        lambda raw: raw.update({"$binding": "gAAAAA"}),
        lambda raw: raw.pop("$binding"),
    ],
)
def test_a_changed_row_of_references_is_distrusted(
    change: Callable[[Any], object], database: Database, installations: Installations
) -> None:
    added = installations.add(named("acme", token="env:TOKEN"))
    assert (added.distrust_reason(), added.distrust_reason(strict=True)) == ("", "")
    changed(change, database)

    (stored,) = installations.all()

    assert stored.distrust_reason()
    with pytest.raises(StoreError, match="installation 'acme': "):
        installations.replace(stored, named("acme", token="env:TOKEN"))


def test_an_unsealed_row_is_trusted_after_a_reseal(
    database: Database, installations: Installations, acme: Installation[Account]
) -> None:
    installations.add(acme)
    changed(lambda raw: raw.pop("$binding"), database)
    assert "run `alerthost reseal`" in installations.all()[0].distrust_reason()

    assert installations.reseal() == len(ALL_REVEALED)

    (stored,) = installations.all()
    assert stored.distrust_reason() == ""
    assert revealed(stored) == ALL_REVEALED


def test_a_changed_row_is_not_resealed(database: Database, installations: Installations) -> None:
    installations.add(named("acme", token="env:TOKEN"))
    changed(lambda raw: raw.update(token="env:ANOTHER"), database)

    with pytest.raises(StoreError, match="another program changed"):
        installations.reseal()


def test_an_unreadable_key_is_a_reason_only_when_strict(
    database: Database, installations: Installations, monkeypatch: pytest.MonkeyPatch
) -> None:
    installations.add(named("acme", token="env:TOKEN"))
    keyless = Installations(database, Secret("env:NO_KEY_HERE"))

    (stored,) = keyless.all()

    assert stored.distrust_reason() == ""
    assert "its settings cannot be checked: " in stored.distrust_reason(strict=True)


def test_without_a_key_nothing_is_checked(database: Database) -> None:
    keyless = Installations(database, None)
    keyless.add(named("acme", token="env:TOKEN"))
    changed(lambda raw: raw.update(token="env:ANOTHER"), database)

    assert keyless.all()[0].distrust_reason(strict=True) == ""


def test_a_seal_is_invalid_in_another_installation(
    database: Database, installations: Installations
) -> None:
    installations.add(named("acme", token=CANARY))
    for names in ({"provider": "other"}, {"provider": "paging", "name": "another"}):
        write(database, **names)
        with pytest.raises(SecretUnavailableError, match="another program changed"):
            revealed(installations.all()[0])


def test_a_concurrent_change_is_not_overwritten(installations: Installations) -> None:
    read = installations.add(named("acme"))
    changed = installations.replace(read, named("acme", region="eu"))
    meanwhile = r"^installation 'acme' was changed or removed meanwhile; try again$"
    with pytest.raises(StoreError, match=meanwhile):
        installations.replace(read, named("renamed"))
    with pytest.raises(StoreError, match=meanwhile):
        installations.remove(read)
    assert installations.all() == (changed,)


def test_an_installation_added_again_is_another_one(installations: Installations) -> None:
    read = installations.add(named("acme"))
    installations.remove(read)
    again = installations.add(named("acme"))
    with pytest.raises(StoreError, match="try again"):
        installations.replace(read, named("acme", region="eu"))
    assert installations.all() == (again,)


def test_an_installation_is_removed(installations: Installations) -> None:
    kept, gone = installations.add(named("kept")), installations.add(named("gone"))
    installations.remove(gone)
    assert installations.all() == (kept,)


# --- secrets ---------------------------------------------------------------------------------


def test_without_a_key_a_literal_secret_is_refused(
    database: Database, acme: Installation[Account]
) -> None:
    kept = Installations(database, None)
    with pytest.raises(StoreError, match=r"^secrets are never stored in plain text: .*new-key"):
        kept.add(acme)
    assert kept.all() == ()


def test_without_a_key_references_are_stored(database: Database) -> None:
    kept = Installations(database, None)
    added = kept.add(named("acme", token="env:PD_KEY", keys="file:/key"))
    assert added.settings["token"] == "env:PD_KEY"
    assert structured(added).keys == Secret("file:/key")


def test_without_a_key_a_change_with_a_literal_secret_is_refused(database: Database) -> None:
    kept = Installations(database, None)
    added = kept.add(named("acme"))
    with pytest.raises(StoreError, match="never stored in plain text"):
        kept.replace(added, named("acme", token=CANARY))
    assert kept.all() == (added,)


def test_listing_needs_no_key(
    database: Database, installations: Installations, acme: Installation[Account]
) -> None:
    installations.add(acme)
    (stored,) = Installations(database, None).all()
    account = structured(stored)
    assert isinstance(account.token, Sealed)
    assert account.token.masked() == "********"


def test_a_literal_key_is_refused(database: Database) -> None:
    with pytest.raises(LiteralSecretError, match=r"^the store's key must not be a literal"):
        Installations(database, Secret(new_key()))


def test_after_a_reseal_the_old_key_can_be_removed(
    installations: Installations, acme: Installation[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = new_key(), new_key()
    monkeypatch.setenv("STORE_KEY", old)
    before = installations.add(acme)
    installations.add(named("bare"))
    monkeypatch.setenv("STORE_KEY", f"{new} {old}")

    assert installations.reseal() == 3
    monkeypatch.setenv("STORE_KEY", new)
    assert revealed(installations.all()[0]) == ALL_REVEALED
    with pytest.raises(StoreError, match="try again"):  # it would bring back the old seals
        installations.replace(before, acme)


def test_an_empty_store_has_nothing_to_reseal(installations: Installations) -> None:
    assert installations.reseal() == 0


def test_a_reseal_changes_all_or_none(
    installations: Installations, acme: Installation[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    installations.add(acme)
    new = new_key()
    monkeypatch.setenv("STORE_KEY", new)
    installations.add(named("later", token=CANARY))
    before = installations.all()
    with pytest.raises(StoreError, match=r"^a secret cannot be sealed: it was sealed with another"):
        installations.reseal()
    assert installations.all() == before


def test_without_a_key_nothing_is_resealed(
    database: Database, installations: Installations, acme: Installation[Account]
) -> None:
    installations.add(acme)
    with pytest.raises(StoreError, match="never stored in plain text"):
        Installations(database, None).reseal()


# --- what lies in the database ---------------------------------------------------------------


def test_references_are_stored_as_text_and_secrets_sealed(
    database: Database, installations: Installations
) -> None:
    installations.add(named("acme", token=CANARY, keys="env:PD_KEY"))
    with database.read() as connection:
        text = connection.scalar(sa.select(tables.installations.c.settings))
    raw = json.loads(text)
    assert raw["keys"] == "env:PD_KEY"
    assert list(raw["token"]) == ["$sealed"]
    assert raw["token"]["$sealed"].startswith("gAAAA")


def test_times_are_stored_as_text_in_utc(database: Database, installations: Installations) -> None:
    added = installations.add(named("acme"))
    with database.read() as connection:
        column = sa.type_coerce(tables.installations.c.created_at, sa.Text)
        text = connection.scalar(sa.select(column))
        missing = connection.scalar(sa.select(sa.literal(None, tables.UtcTime)))
    assert missing is None
    assert len(text) == 32
    assert dt.datetime.fromisoformat(text) == added.created_at
    assert text.endswith("+00:00")


def test_the_file_is_readable_with_sqlite(
    open_database: Callable[..., Database], key: Secret, tmp_path: Path
) -> None:
    Installations(open_database(), key).add(named("acme"))
    connection = sqlite3.connect(tmp_path / "alerthost.db")
    assert connection.execute("SELECT provider, name FROM installations").fetchall() == [
        ("paging", "acme")
    ]
    connection.close()
