"""Only `reveal` unseals a secret; it is shown nowhere else."""

from __future__ import annotations

import copy
import pickle
import traceback
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from stored import CANARY

from alerthost.store.errors import StoreError
from alerthost.store.sealing import Sealed, check_key, new_key, reseal, seal
from hostspec import Secret, SecretUnavailableError
from hostspec.secret import LiteralSecretError
from hostspec.structuring import settings_to_json

CONTEXT = "acme's token"


def test_a_sealed_secret_is_revealed_with_the_key(key: Secret) -> None:
    sealed = seal(Secret(CANARY), key, CONTEXT)
    assert sealed.reveal() == CANARY
    assert CANARY not in sealed.token


def test_any_text_is_sealed(key: Secret) -> None:
    assert seal(Secret("ключ \0 \U0001f511"), key, CONTEXT).reveal() == "ключ \0 \U0001f511"


def test_the_key_is_read_at_each_use(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(new_key() + "\n")
    sealed = seal(Secret(CANARY), Secret(f"file:{file}"), CONTEXT)
    file.unlink()
    with pytest.raises(
        SecretUnavailableError,
        match=r"^the store's key cannot be read: the file .*key cannot be read: No such file",
    ):
        sealed.reveal()


def test_creating_and_showing_a_seal_needs_no_key() -> None:
    sealed = Sealed("gAAAA", None, CONTEXT)
    assert sealed.reference is None
    assert sealed.masked() == "********"
    assert repr(sealed) == str(sealed) == "Secret('********')"
    assert f"{[sealed]}" == "[Secret('********')]"


def test_a_missing_key_is_reported(key: Secret) -> None:
    sealed = Sealed(seal(Secret(CANARY), key, CONTEXT).token, None, CONTEXT)
    with pytest.raises(
        SecretUnavailableError, match=r"^it is sealed, and the store has no key: set \[store\] key"
    ):
        sealed.reveal()


def test_another_key_is_reported(key: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = seal(Secret(CANARY), key, CONTEXT)
    monkeypatch.setenv("STORE_KEY", new_key())
    with pytest.raises(
        SecretUnavailableError,
        match=r"^it was sealed with another key than env:STORE_KEY holds now, or is damaged$",
    ):
        sealed.reveal()


@pytest.mark.parametrize("token", ["", "gAAAA", "no token", "ключ"])
def test_a_damaged_token_is_reported(token: str, key: Secret) -> None:
    with pytest.raises(SecretUnavailableError, match=r"or is damaged$"):
        Sealed(token, key, CONTEXT).reveal()


@pytest.mark.parametrize("text", ["short", CANARY, "ключ" * 11, "A" * 44, "A" * 45])
def test_an_invalid_key_is_reported_without_quoting_it(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_KEY", text)
    with pytest.raises(
        SecretUnavailableError,
        match=r"^the key in env:STORE_KEY is not a valid Fernet key; create one with `alerthost",
    ) as raised:
        Sealed("gAAAA", Secret("env:STORE_KEY"), CONTEXT).reveal()
    assert text not in "".join(traceback.format_exception(raised.value))


def test_the_invalid_key_of_several_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_KEY", f"{new_key()}, oops")
    with pytest.raises(
        SecretUnavailableError, match=r"^key 2 of 2 in env:STORE_KEY is not a valid Fernet key"
    ):
        Sealed("gAAAA", Secret("env:STORE_KEY"), CONTEXT).reveal()


def test_commas_alone_are_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_KEY", ", ,")
    with pytest.raises(
        SecretUnavailableError, match=r"^the key in env:STORE_KEY is not a valid Fernet key"
    ):
        Sealed("gAAAA", Secret("env:STORE_KEY"), CONTEXT).reveal()


@pytest.mark.parametrize("joint", [" ", "\n", ",", ", ", "\r\n"])
def test_the_newest_key_seals_and_older_ones_still_unseal(
    joint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, key = new_key(), new_key(), Secret("env:STORE_KEY")
    monkeypatch.setenv("STORE_KEY", old)
    sealed = seal(Secret(CANARY), key, CONTEXT)
    monkeypatch.setenv("STORE_KEY", f"{new}{joint}{old}")

    assert sealed.reveal() == CANARY
    assert Fernet(new).decrypt(seal(Secret("later"), key, CONTEXT).token).endswith(b"\nlater")
    assert Fernet(new).decrypt(reseal(sealed, key).token).endswith(f"\n{CANARY}".encode())


def test_a_secret_sealed_with_this_key_is_returned_unchanged() -> None:
    for key in (None, Secret("env:NOT_THERE")):
        sealed = Sealed("gAAAA", key, CONTEXT)
        assert seal(sealed, key, CONTEXT) is sealed


def test_a_secret_of_another_key_is_resealed(key: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = seal(Secret(CANARY), key, CONTEXT)
    monkeypatch.setenv("OTHER_KEY", new_key())
    again = seal(sealed, Secret("env:OTHER_KEY"), CONTEXT)
    monkeypatch.delenv("STORE_KEY")
    assert again.reveal() == CANARY


def test_sealing_without_a_key_names_the_remedy() -> None:
    with pytest.raises(StoreError) as raised:
        seal(Secret(CANARY), None, CONTEXT)
    assert str(raised.value) == (
        "secrets are never stored in plain text: give a reference, or create a key with "
        "`alerthost new-key`, keep it in the environment, a file or the keyring, and set "
        "[store] key to its reference"
    )


def test_an_unreadable_key_seals_nothing() -> None:
    with pytest.raises(
        StoreError,
        match=r"^a secret cannot be sealed: the store's key cannot be read: the environment "
        r"variable NOT_THERE is not set$",
    ):
        seal(Secret(CANARY), Secret("env:NOT_THERE"), CONTEXT)


def test_a_literal_key_is_refused() -> None:
    text = new_key()
    with pytest.raises(
        LiteralSecretError,
        match=r"^the store's key must not be a literal; give a reference: env:NAME, ",
    ) as raised:
        check_key(Secret(text))
    assert text not in str(raised.value)


def test_new_keys_differ() -> None:
    assert len({new_key() for _ in range(100)}) == 100


def test_seals_with_the_same_token_and_key_are_equal(key: Secret) -> None:
    sealed = seal(Secret(CANARY), key, CONTEXT)
    same = Sealed(sealed.token, Secret("env:STORE_KEY"), CONTEXT)
    assert sealed == same
    assert hash(sealed) == hash(same)
    assert sealed != seal(Secret(CANARY), key, CONTEXT)
    assert sealed != Sealed(sealed.token, None, CONTEXT)
    assert sealed != Secret(sealed.token)
    assert Secret(sealed.token) != sealed
    assert sealed != Secret(CANARY)


def test_it_is_not_pickled_nor_written_as_plain_json(key: Secret) -> None:
    sealed = seal(Secret(CANARY), key, CONTEXT)
    for way in (pickle.dumps, settings_to_json):
        with pytest.raises(LiteralSecretError):
            way(sealed)


def test_copies_are_the_same_secret(key: Secret) -> None:
    sealed = seal(Secret(CANARY), key, CONTEXT)
    assert copy.copy(sealed) is copy.deepcopy(sealed) is sealed


# --- what a seal is valid for ----------------------------------------------------------------


def test_a_seal_reveals_nothing_in_another_context(key: Secret) -> None:
    sealed = seal(Secret(CANARY), key, CONTEXT)
    moved = Sealed(sealed.token, key, "another")
    with pytest.raises(
        SecretUnavailableError,
        match=r"^another program changed the installation in the database after the secret was "
        r"sealed, so it is not used; correct the settings, and enter the secret again$",
    ):
        moved.reveal()
    with pytest.raises(StoreError, match="another program changed the installation"):
        seal(moved, key, CONTEXT)
    assert moved != sealed
