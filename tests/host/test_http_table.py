"""The table ``[http]``: addresses, loopback, and rejected values."""

from __future__ import annotations

import jsonschema
import pytest
from workspace import Workspace

from alerthost.config.tables import Address, HttpTable
from hostspec import json_schema
from hostspec.settings import SettingsError
from hostspec.structuring import structure


@pytest.mark.parametrize(
    ("text", "host", "port", "url"),
    [
        ("127.0.0.1:9095", "127.0.0.1", 9095, "http://127.0.0.1:1"),
        ("[::1]:0", "::1", 0, "http://[::1]:1"),
        ("alerts.example:65535", "alerts.example", 65535, "http://alerts.example:1"),
    ],
)
def test_address_is_host_and_port(text: str, host: str, port: int, url: str) -> None:
    address = Address.read(text)
    assert address == Address(host, port)
    assert address.url(1) == url
    assert address.is_ipv6 is (host == "::1")


@pytest.mark.parametrize(
    "text",
    ["", "9095", ":9095", "localhost", "::1:9095", "[::1]", "a:65536", "a b:1", "http://a:1"],
)
def test_other_texts_are_rejected(text: str) -> None:
    assert Address.read(text) is None
    with pytest.raises(SettingsError, match=r"^listen: is not HOST:PORT; use for example"):
        structure(HttpTable, {"listen": text})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"])
def test_loopback_addresses_are_local(host: str) -> None:
    assert Address(host, 0).is_local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", ""])
def test_other_addresses_are_not_local(host: str) -> None:
    assert not Address(host, 0).is_local


def test_all_faults_are_reported_without_the_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        structure(HttpTable, {"listen": "x", "token": "hunter2", "largest_body": 1, "backlog": 0})
    assert [fault.path for fault in caught.value.faults] == [
        "listen",
        "token",
        "largest_body",
        "backlog",
    ]
    assert "hunter2" not in str(caught.value)


def test_json_schema_accepts_the_same_values() -> None:
    schema = json_schema(HttpTable)
    jsonschema.validate({"listen": "0.0.0.0:1", "token": "env:TOKEN", "backlog": 1}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"backlog": 0}, schema)


def test_faulty_table_has_no_fault_of_its_token(workspace: Workspace) -> None:
    workspace.configure(("[plugins]", '[http]\nlisten = 1\ntoken = "env:NOWHERE"\n[plugins]'))
    run = workspace.alerthost("run")
    assert run.returncode == 2
    assert [line.split(": ", 1)[1] for line in run.stderr.splitlines()] == [
        "http.listen: must be text, not the number 1"
    ]


@pytest.mark.parametrize(
    "url", ["https://alerts.example.org", "http://127.0.0.1:9095", "http://[::1]:80", ""]
)
def test_public_url_is_an_address(url: str) -> None:
    assert structure(HttpTable, {"public_url": url}).public_url == url


@pytest.mark.parametrize(
    "url",
    ["alerts.example.org", "https://alerts.example.org/", "ftp://x", "https://a@b", "https://"],
)
def test_public_url_with_a_path_is_rejected(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^public_url: is not an address without a path; use"):
        structure(HttpTable, {"public_url": url})


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"viewer_token": "env:V"}, "does not limit anyone without a token; set token too"),
        (
            {"viewer_token": "env:V", "token": "env:V"},
            "is the same as token; use another one",
        ),
    ],
)
def test_viewer_token_needs_another_token(table: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=f"^viewer_token: {reason}$"):
        structure(HttpTable, table)
