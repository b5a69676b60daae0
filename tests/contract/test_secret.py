"""A secret is read at each use, and shown nowhere."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import attrs
import pytest

from hostspec import Installation, Secret, SecretUnavailableError, setting, structure, to_json
from hostspec.normalisation import normalise
from hostspec.secret import LiteralSecretError
from hostspec.settings import secrets
from hostspec.structuring import settings_to_json

CANARY = "c4n4ry-0123456789abcdef"


@attrs.frozen(kw_only=True)
class Service:
    name: str = setting("Name")
    key: Secret = setting("Key")


@attrs.frozen(kw_only=True)
class Account:
    token: Secret | None = setting("Token", default=None)
    services: tuple[Service, ...] = setting("Services", default=())
    headers: Mapping[str, Secret] = setting("Headers", default=attrs.Factory(dict))
    region: str = setting("Region", default="us", choices=("us", "eu"))


# --- reading ---------------------------------------------------------------------------------


def test_variable_is_read_at_each_use(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret("env:PD_KEY")
    monkeypatch.setenv("PD_KEY", "old")
    assert secret.reveal() == "old"
    monkeypatch.setenv("PD_KEY", " new\n")
    assert secret.reveal() == "new"
    monkeypatch.delenv("PD_KEY")
    with pytest.raises(
        SecretUnavailableError, match=r"^the environment variable PD_KEY is not set$"
    ):
        secret.reveal()


def test_file_is_read_at_each_use(tmp_path: Path) -> None:
    file = tmp_path / "key"
    secret = Secret(f"file:{file}")
    file.write_text("old\n")
    assert secret.reveal() == "old"
    file.write_bytes(b"\xef\xbb\xbf new \r\n")
    assert secret.reveal() == "new"


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailableError, match=r"cannot be read: No such file or directory$"):
        Secret(f"file:{tmp_path}/key").reveal()


def test_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailableError, match=r"cannot be read: Is a directory$"):
        Secret(f"file:{tmp_path}").reveal()


def test_binary_file_is_reported_without_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(CANARY.encode() + b"\xff")
    with pytest.raises(SecretUnavailableError, match=r"is not text$") as raised:
        Secret(f"file:{file}").reveal()
    assert CANARY not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("reference", ["file:a\0b", "env:a\0b", "env:\ud800"])
def test_impossible_path_is_reported(reference: str) -> None:
    with pytest.raises(SecretUnavailableError):
        Secret(reference).reveal()


@pytest.mark.parametrize("blank", ["", " ", "\n", "\ufeff"])
def test_empty_secret_is_reported(blank: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(blank, encoding="utf-8")
    with pytest.raises(SecretUnavailableError, match=f"^file:{file} is empty$"):
        Secret(f"file:{file}").reveal()


def test_empty_literal_secret_is_reported() -> None:
    with pytest.raises(SecretUnavailableError, match=r"^the secret is empty$"):
        Secret(" ").reveal()


@pytest.mark.parametrize("reference", ["env:", "file:", "keyring:"])
def test_reference_without_a_name_is_not_a_secret(reference: str) -> None:
    secret = Secret(reference)
    assert secret.reference == reference
    with pytest.raises(SecretUnavailableError, match=f"^{reference} names nothing; the forms are "):
        secret.reveal()


@pytest.mark.parametrize("text", [CANARY, "vault:x", ":x", "env", " env:X"])
def test_other_text_is_a_literal_secret(text: str) -> None:
    secret = Secret(text)
    assert secret.reference is None
    assert secret.reveal() == text.strip()


# --- keyring ---------------------------------------------------------------------------------


def keyring(monkeypatch: pytest.MonkeyPatch, get: Callable[[str, str], Any]) -> None:
    module = ModuleType("keyring")
    module.get_password = get  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)


def test_keyring_is_read_at_each_use(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {("pagerduty", "team/checkout"): "old"}
    keyring(monkeypatch, lambda service, name: held.get((service, name)))
    secret = Secret("keyring:pagerduty/team/checkout")
    assert secret.reveal() == "old"
    held["pagerduty", "team/checkout"] = "new\n"
    assert secret.reveal() == "new"
    held.clear()
    with pytest.raises(
        SecretUnavailableError, match=r"^the keyring holds nothing for pagerduty/team/checkout$"
    ):
        secret.reveal()


def test_failing_keyring_is_reported_without_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(service: str, name: str) -> str:
        message = f"locked, {CANARY}"
        raise RuntimeError(message)

    keyring(monkeypatch, fail)
    with pytest.raises(
        SecretUnavailableError, match=r"^the keyring cannot be read for a/b; check that it"
    ) as raised:
        Secret("keyring:a/b").reveal()
    assert CANARY not in "".join(traceback.format_exception(raised.value))


def _locked(service: str, name: str) -> str:
    raise OSError


@pytest.mark.parametrize("get", [None, lambda *_: None, _locked])
@pytest.mark.parametrize("scheme", ["env", "file", "keyring"])
def test_key_in_place_of_a_name_is_masked(
    scheme: str, get: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", get and SimpleNamespace(get_password=get))
    key = "0123456789abcdefghijABCDEFGHIJ01"
    with pytest.raises(SecretUnavailableError, match=r"\*{8}") as raised:
        Secret(f"{scheme}:{key}").reveal()
    assert key not in str(raised.value)


def test_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SecretUnavailableError, match=r"pip install 'hostspec\[keyring\]'"):
        Secret("keyring:a/b").reveal()


# --- showing ---------------------------------------------------------------------------------


def test_reference_is_shown() -> None:
    secret = Secret("env:PD_KEY")
    assert secret.masked() == "env:PD_KEY"
    assert repr(secret) == str(secret) == "Secret('env:PD_KEY')"


def test_secrets_compare_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_references_survive_pickling_and_copying() -> None:
    secret = Secret("env:PD_KEY")
    assert pickle.loads(pickle.dumps(secret)) == secret
    assert copy.copy(secret) == copy.deepcopy(secret) == secret


def literal_account() -> Account:
    raw = {
        "token": CANARY,
        "services": [{"name": "checkout", "key": CANARY}],
        "headers": {"x-key": CANARY},
    }
    return structure(Account, raw)


def raised_by(call: Callable[[], object]) -> str:
    """Return the traceback of a call that raises, as it would be printed."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- whatever it raises
        call()
    return "".join(traceback.format_exception(raised.value)) + repr(raised.value.args)


SHOWINGS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "format": lambda it: f"{it}{it!r}{it!s}",
    "percent": lambda it: "%s %r" % (it, it),  # noqa: UP031 -- one more way
    "copy": lambda it: repr(copy.copy(it)),
    "deepcopy": lambda it: repr(copy.deepcopy(it)),
    "asdict": lambda it: repr(attrs.asdict(it)),
    "astuple": lambda it: repr(attrs.astuple(it)),
    "evolve": lambda it: repr(attrs.evolve(it)),
    "normalise": lambda it: repr(normalise({"it": it, "asdict": attrs.asdict(it)}, "")),
    "secrets": lambda it: repr(list(secrets(it))),
    "json": lambda it: raised_by(lambda: json.dumps(attrs.asdict(it))),
    "json repr": lambda it: json.dumps(attrs.asdict(it), default=repr),
    "format spec": lambda it: raised_by(lambda: f"{next(secrets(it))[1]:>40}"),
    "vars": lambda it: raised_by(lambda: vars(next(secrets(it))[1])),
    "dir": lambda it: repr(dir(next(secrets(it))[1])),
    "to_json": lambda it: raised_by(lambda: to_json(it)),
    "settings to_json": lambda it: raised_by(lambda: settings_to_json(it)),
    "type error": lambda it: raised_by(lambda: it + 1),
    **{
        f"pickle {protocol}": lambda it, protocol=protocol: raised_by(
            lambda: pickle.dumps(it, protocol)
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("of", ["settings", "installation"])
@pytest.mark.parametrize("show", SHOWINGS.values(), ids=SHOWINGS)
def test_literal_secret_is_never_shown(show: Callable[[Any], object], of: str) -> None:
    account = literal_account()
    shown = account if of == "settings" else Installation("pagerduty", "acme", account)
    if of == "installation" and show is SHOWINGS["settings to_json"]:
        return  # an installation is no settings class
    assert CANARY not in str(show(shown))


def test_literal_secret_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    account = literal_account()
    logging.getLogger("host").debug("%s %r", account, [account])
    assert "********" in caplog.text
    assert CANARY not in caplog.text


def test_literal_secret_is_revealed() -> None:
    """Without this, the tests with a canary could pass without one."""
    found = dict(secrets(literal_account()))
    assert list(found) == ["token", "services[0].key", "headers.x-key"]
    assert {secret.reveal() for secret in found.values()} == {CANARY}


def test_literal_secret_is_not_written_to_json() -> None:
    installation = Installation("pagerduty", "acme", literal_account())
    with pytest.raises(LiteralSecretError, match="give a reference: env:NAME, file:PATH"):
        to_json(installation)


@pytest.mark.parametrize(
    "raw",
    [
        {"token": CANARY, "region": "xx"},
        {"token": [CANARY]},
        {"token": {CANARY: CANARY}},
        {"token": CANARY.encode()},
        {"services": [{"name": 1, "key": CANARY}]},
        {"services": [CANARY]},
        {"services": CANARY},
        {"services": {"name": CANARY}},
        {"headers": CANARY},
        {"headers": [CANARY]},
        {"region": CANARY},
        {"region": [CANARY]},
        CANARY,
        [CANARY],
    ],
    ids=repr,
)
def test_no_fault_shows_a_secret(raw: object) -> None:
    assert CANARY not in raised_by(lambda: structure(Account, raw))


def test_no_fault_shows_a_number_in_place_of_a_secret() -> None:
    pin = 12345 * 54321  # computed, so that no line of a traceback contains it
    assert str(pin) not in raised_by(lambda: structure(Account, {"token": pin}))


def test_installation_with_references_survives_json() -> None:
    raw = {
        "token": None,
        "services": [{"name": "checkout", "key": "env:PD_CHECKOUT"}],
        "headers": {"x-key": "file:/run/secrets/key"},
        "region": "eu",
    }
    installation = Installation("pagerduty", "acme", structure(Account, raw))
    stored = json.loads(json.dumps(to_json(installation)))
    assert stored == {"provider": "pagerduty", "name": "acme", "settings": raw}
    assert structure(Account, stored["settings"]) == installation.settings


# --- writing settings down -------------------------------------------------------------------


def test_host_may_write_secrets_itself() -> None:
    account = Account(
        token=Secret("env:TOKEN"),
        services=(Service(name="a", key=Secret(CANARY)),),
        headers={"x": Secret(CANARY)},
    )
    assert settings_to_json(account, write=lambda secret: [secret.masked()]) == {
        "token": ["env:TOKEN"],
        "services": [{"name": "a", "key": ["********"]}],
        "headers": {"x": ["********"]},
        "region": "us",
    }
