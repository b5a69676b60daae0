"""The network settings: faults at load, faults found by a check, and requests."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import certifi
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hostspec import Alert, Fault, OutcomeKind, Secret, SettingsError, json_schema
from hostspec.structuring import settings_to_json, structure
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.network import (
    NetworkEnvironment,
    find_proxy,
    load_authorities,
    network_faults,
)
from pagerduty_plugin.http.responses import NoReply, Reply
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallationSettings, InstallFlowSettings, NetworkSettings
from pagerduty_plugin.testing import FakePagerDuty, closing
from pagerduty_plugin.trigger import Trigger

from .conftest import Sender, connect
from .wire import ACCEPTED, HTTP_ACCEPTED, KEYS, Proxy, Responder, configuration, post, unsent

WRONG_PROXY = (
    "is not the URL of an http or https proxy; use 'http://user:password@proxy.example:3128', "
    "with special characters of user and password percent-encoded ('#' as '%23')"
)
NO_PROXY_URL = f"{WRONG_PROXY}; or 'direct' for none"
EVENTS = "https://events.pagerduty.com"
SERVICES = [{"name": "checkout", "integration_key": "env:PD_CHECKOUT"}]


def settings_with(**given: object) -> InstallationSettings:
    return structure(InstallationSettings, {"services": SERVICES, **given})


def refused(**given: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings_with(**given)
    return [str(fault) for fault in caught.value.faults]


# rejected settings


@pytest.mark.parametrize(
    "proxy",
    [
        "direct",
        "http://proxy.example:3128",
        "https://proxy.example",
        "http://user:pass%2Fword@proxy.example:3128/",
        "http://user:p@ss@[::1]:3128",
        "env:PD_PROXY",
        "file:/run/secrets/proxy",
    ],
)
def test_a_proxy_setting_is_accepted_and_masked(proxy: str) -> None:
    settings = settings_with(network={"proxy": proxy})
    assert settings.network.proxy == Secret(proxy)
    assert "pass" not in repr(settings)


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy.example:3128",
        "socks5://proxy.example",
        "http://",
        "http://[proxy",
        "http://proxy.example:0x50",
        "http://user:secret/word@proxy.example:3128",
        "http://proxy.example:3128/secret",
        "http://proxy.example:3128?secret",
        "http://proxy.example:3128#secret",
        "http://user:secret word@proxy.example",
        "http://user:secret€@proxy.example",
        "http://user:secret%E2%82%AC@proxy.example",
        "http://*.example:3128",
        "http://proxy..example:3128",
        "http://[nonsense]:3128",
        "Direct",
    ],
)
def test_an_invalid_proxy_is_rejected_and_not_shown(proxy: str) -> None:
    (reported,) = refused(network={"proxy": proxy})
    assert reported == f"network.proxy: {NO_PROXY_URL}"


def test_all_network_faults_are_reported_at_once() -> None:
    assert refused(
        network={
            "proxy": " ",
            "ca_bundle": "a\0b",
            "client_certificate": 7,
            "connect_timeout": 0.9,
            "timeout": 61,
            "retries": 3,
        }
    ) == [
        "network.proxy: is blank; give a reference (env:NAME, file:PATH or keyring:SERVICE/NAME)",
        "network.ca_bundle: contains a NUL, which is invalid in a path",
        "network.client_certificate: must be text, not the number 7",
        "network.connect_timeout: 0.9 is too small; the least is 1",
        "network.timeout: 61.0 is too large; the most is 60",
        "network.retries: unknown; known are proxy, ca_bundle, client_certificate, client_key, "
        "connect_timeout, timeout",
    ]


def test_a_client_key_without_a_certificate_is_rejected() -> None:
    reported = ["network.client_key: needs a client_certificate; configure both"]
    assert refused(network={"client_key": "key.pem"}) == reported


@pytest.mark.parametrize("kind", [InstallationSettings, InstallFlowSettings])
@pytest.mark.parametrize(
    ("region", "url", "right"),
    [
        ({}, "https://events.eu.pagerduty.com", "eu"),
        ({"region": "eu"}, "https://Events.pagerduty.com/", "us"),
    ],
)
def test_an_address_of_another_region_is_rejected(
    kind: type, region: Mapping[str, str], url: str, right: str
) -> None:
    needed = {"services": SERVICES} if kind is InstallationSettings else {"app_id": "PABC123"}
    with pytest.raises(SettingsError) as caught:
        structure(kind, {**needed, **region, "base_url": url})
    reason = f"{url!r} belongs to the region {right!r}; use region = {right!r} instead"
    assert caught.value.faults == (Fault("base_url", reason),)


def test_a_region_may_be_combined_with_its_address_or_a_relay() -> None:
    for url in ("https://events.eu.pagerduty.com", "https://relay.example"):
        assert settings_with(region="eu", base_url=url).events_url == url


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:3128", "env:PD_PROXY"])
def test_a_proxy_for_an_unencrypted_address_is_rejected(proxy: str) -> None:
    assert refused(base_url="http://127.0.0.1:8080", network={"proxy": proxy}) == [
        "network.proxy: could read the events: the base URL is not encrypted; use 'direct'"
    ]
    for allowed in ("direct", None):
        settings_with(base_url="http://127.0.0.1:8080", network={"proxy": allowed})
    settings_with(base_url="https://127.0.0.1:8080", network={"proxy": proxy})


def test_the_settings_are_json_and_have_a_schema() -> None:
    given = {"proxy": "env:PD_PROXY", "timeout": 10}
    written = settings_to_json(settings_with(network=given))["network"]
    assert written == {
        **settings_to_json(NetworkSettings()),
        "proxy": "env:PD_PROXY",
        "timeout": 10.0,
    }
    assert settings_with(network=written) == settings_with(network=given)
    properties: Any = json_schema(InstallationSettings)["properties"]
    assert properties["network"]["properties"]["timeout"]["maximum"] == 60
    assert properties["network"]["default"] == settings_to_json(NetworkSettings())


# faults found by a check


@attrs.frozen
class Files:
    """Valid and invalid TLS files."""

    folder: Path

    def __truediv__(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture(scope="module")
def client_authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(client_authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("client")
    issued = client_authority.issue_cert("alerthost@example.org")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    trustme.CA().issue_cert("other@example.org").private_key_pem.write_to_path(folder / "other.pem")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    (folder / "locked.pem").write_bytes(locked)
    (folder / "text.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense")
    (folder / "empty.pem").touch()
    return Files(folder)


WRONG = [
    (
        {"ca_bundle": "none.pem"},
        "ca_bundle",
        "{}/none.pem cannot be read: No such file or directory",
    ),
    ({"ca_bundle": "text.pem"}, "ca_bundle", "{}/text.pem contains no certificates in PEM form"),
    ({"ca_bundle": "empty.pem"}, "ca_bundle", "{}/empty.pem contains no certificates in PEM form"),
    (
        {"client_certificate": "none.pem"},
        "client_certificate",
        "{}/none.pem cannot be read: No such file or directory",
    ),
    (
        {"client_certificate": "text.pem"},
        "client_certificate",
        "{}/text.pem contains no certificates in PEM form",
    ),
    (
        {"client_certificate": "key.pem"},
        "client_certificate",
        "{}/key.pem contains no certificates in PEM form",
    ),
    (
        {"client_certificate": "certificate.pem"},
        "client_certificate",
        "{}/certificate.pem contains no private key in PEM form without a passphrase",
    ),
    ({"client_certificate": "."}, "client_certificate", "{}/. cannot be read: Is a directory"),
    (
        {"client_certificate": "certificate.pem", "client_key": "none.pem"},
        "client_key",
        "{}/none.pem cannot be read: No such file or directory",
    ),
    (
        {"client_certificate": "certificate.pem", "client_key": "other.pem"},
        "client_key",
        "{0}/other.pem is not the key of {0}/certificate.pem",
    ),
    (
        {"client_certificate": "certificate.pem", "client_key": "locked.pem"},
        "client_key",
        "{}/locked.pem contains no private key in PEM form without a passphrase",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "path", "reason"), WRONG)
def test_an_unusable_tls_file_is_reported_by_check_and_send(
    https_fake: FakePagerDuty, files: Files, given: Mapping[str, str], path: str, reason: str
) -> None:
    reported = Fault(f"network.{path}", reason.format(files.folder))
    paths: dict[str, Any] = {name: f"{files.folder}/{file}" for name, file in given.items()}
    sender = Sender(https_fake, Trigger(Client({})), connect(https_fake.url)).over(**paths)
    assert PagerDuty().check(sender.installation) == [reported]
    outcome = sender.send(Alert("k", "Down"))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.MISCONFIGURED, str(reported))
    assert https_fake.requests == ()


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (None, "the environment variable PD_PROXY is not set"),
        ("ftp://user:proxy-secret@x.invalid", NO_PROXY_URL),
    ],
)
def test_an_unusable_proxy_is_reported_by_check_and_send(
    https_fake: FakePagerDuty, monkeypatch: pytest.MonkeyPatch, secret: str | None, reason: str
) -> None:
    monkeypatch.delenv("PD_PROXY", raising=False)
    if secret:
        monkeypatch.setenv("PD_PROXY", secret)
    sender = Sender(https_fake, Trigger(Client({})), connect(https_fake.url))
    sender = sender.over(proxy=Secret("env:PD_PROXY"))
    assert PagerDuty().check(sender.installation) == [Fault("network.proxy", reason)]
    outcome = sender.send(Alert("k", "Down"))
    assert (outcome.kind, outcome.reason) == (
        OutcomeKind.MISCONFIGURED,
        f"network.proxy: {reason}",
    )


def test_check_reports_exactly_the_faults(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PD_KEY", raising=False)
    monkeypatch.setenv("PD_PROXY", "http://proxy.example:3128")
    right = {
        "proxy": Secret("env:PD_PROXY"),
        "ca_bundle": files / "certificate.pem",
        "client_certificate": files / "certificate.pem",
        "client_key": files / "key.pem",
    }
    at = connect("https://relay.example", checkout="env:PD_KEY")

    def check(**given: Any) -> list[str]:
        changed = attrs.evolve(at.settings, network=NetworkSettings(**given))
        faults = PagerDuty().check(attrs.evolve(at, settings=changed))
        return [fault.path for fault in faults]

    key = "services[0].integration_key"
    assert check(**right) == [key]
    wrong = dict.fromkeys(("ca_bundle", "client_certificate"), files / "none.pem")
    assert check(proxy=Secret("env:PD_KEY"), **wrong) == [
        key, "network.proxy", "network.ca_bundle", "network.client_certificate",
    ]  # fmt: skip


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_broken_ca_bundle_of_the_environment_is_reported(
    https_fake: FakePagerDuty, files: Files, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    broken = files / "text.pem"
    reason = f"{variable}: {broken} contains no certificates in PEM form"
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, broken)
    reported = Fault("network.ca_bundle", reason)
    assert PagerDuty().check(connect(https_fake.url)) == [reported]
    assert post(Client(), https_fake.url) == configuration(str(reported))


def test_the_ca_bundle_of_the_settings_replaces_the_environments(files: Files) -> None:
    environment = NetworkEnvironment.read({"CURL_CA_BUNDLE": files / "text.pem"})
    settings = NetworkSettings(ca_bundle=files / "certificate.pem")
    assert list(network_faults(EVENTS, settings, environment)) == []


def test_without_network_settings_check_finds_nothing() -> None:
    assert list(network_faults(EVENTS, NetworkSettings(), NetworkEnvironment.read({}))) == []


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://user:secret@proxy.example:1080",
        "http://user:sec#ret@proxy.example:3128",
        "http://",
        "http://:3128",
        "http://proxy.example:port",
        "http://proxy.example:99999",
        "odd://proxy.example",
        "http://proxy.example:3128/secret",
        "two words",
    ],
)
def test_an_unusable_proxy_of_the_environment_is_reported(
    monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str
) -> None:
    """The fault names the variable, and does not show its value."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, proxy)
    fault = Fault("network.proxy", f"{variable} {WRONG_PROXY}")
    installation = connect("https://relay.example")
    assert PagerDuty().check(installation) == [fault]
    assert post(Client(), "https://relay.example") == configuration(str(fault))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://relay.example"])
def test_an_unused_proxy_is_not_checked(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("https_proxy", "socks5://proxy.example")
    monkeypatch.setenv("no_proxy", "relay.example")
    assert PagerDuty().check(connect(url)) == []


@pytest.mark.parametrize("proxy", ["proxy.example:3128", "http://proxy.example:3128"])
@pytest.mark.parametrize("around", ["", " ", "\n"])
def test_a_proxy_of_the_environment_may_lack_its_scheme(proxy: str, around: str) -> None:
    environment = NetworkEnvironment.read({"https_proxy": f"{around}{proxy}{around}"})
    found = find_proxy(EVENTS, NetworkSettings(), environment)
    assert found == "http://proxy.example:3128"


def test_blanks_around_a_referenced_proxy_are_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PD_PROXY", "http://proxy.example:3128\r\n")
    settings = NetworkSettings(proxy=Secret("env:PD_PROXY"))
    assert find_proxy(EVENTS, settings, NetworkEnvironment.read({})) == "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("no_proxy", "bypassed"),
    [
        ("events.pagerduty.com", True),
        ("Events.PagerDuty.com", True),
        ("x.example,\n.pagerduty.com", True),
        ("*.pagerduty.com", True),
        ("pagerduty.com:443", True),
        ("pagerduty.com:8443", False),
        ("duty.com", False),
        ("pagerduty.co", False),
        ("10.0.0.0/8, , .", False),
        ("*", True),
    ],
)
def test_no_proxy_matches_hosts_and_domains(no_proxy: str, bypassed: object) -> None:
    environment = NetworkEnvironment.read({"all_proxy": "proxy.example:3128", "NO_PROXY": no_proxy})
    assert (find_proxy(EVENTS, NetworkSettings(), environment) == "") is bypassed


@pytest.mark.parametrize(
    ("url", "no_proxy", "bypassed"),
    [
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3:8443", "10.1.2.3:8443", True),
        ("https://10.1.2.3", "10.2.0.0/16,2.3,example", False),
        ("https://[fd00::1]", "fd00::/8", True),
        ("https://[fd00::1]", "[fd00::1]", True),
        ("https://[fd00::1]", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_matches_addresses_and_networks(url: str, no_proxy: str, bypassed: object) -> None:
    environment = NetworkEnvironment.read({"all_proxy": "proxy.example:3128", "NO_PROXY": no_proxy})
    assert (find_proxy(url, NetworkSettings(), environment) == "") is bypassed


def test_the_environment_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads may read it at the same time."""
    monkeypatch.setattr("requests.utils.set_environ", None)
    dead = {"https_proxy": "http://127.0.0.1:1", "no_proxy": "x.example"}
    assert post(Client(dead), "https://events.invalid") == unsent("no proxy: Connection refused")


# TLS


@pytest.fixture
def bundle(trusting: dict[str, str]) -> str:
    """Return the CA bundle with the fake's authority."""
    return trusting["REQUESTS_CA_BUNDLE"]


@pytest.fixture
def asking_fake(
    server_context: ssl.SSLContext, client_authority: trustme.CA
) -> Iterator[FakePagerDuty]:
    """Return a fake that asks for a client certificate."""
    server_context.verify_mode = ssl.CERT_REQUIRED
    # in TLS 1.3 the refusal would come after the handshake, and might be lost
    server_context.maximum_version = ssl.TLSVersion.TLSv1_2
    client_authority.configure_trust(server_context)
    with FakePagerDuty(services=KEYS, ssl_context=server_context) as fake:
        yield fake


def test_a_configured_ca_bundle_is_trusted_instead_of_the_environments(
    https_fake: FakePagerDuty, bundle: str, files: Files
) -> None:
    client = Client({"REQUESTS_CA_BUNDLE": files / "certificate.pem"})
    assert post(client, https_fake.url, ca_bundle=bundle) == Reply(202, ACCEPTED)
    reported = configuration("TLS failed: unable to get local issuer certificate")
    assert post(client, https_fake.url) == reported


def test_a_folder_of_certificates_is_trusted(
    https_fake: FakePagerDuty, authority: trustme.CA, tmp_path: Path
) -> None:
    """The files are named by the hashes of their subjects, as OpenSSL requires."""
    reported = configuration("TLS failed: unable to get local issuer certificate")
    assert post(Client({}), https_fake.url, ca_bundle=str(tmp_path)) == reported
    authority.cert_pem.write_to_path(tmp_path / f"{subject_hash(authority)}.0")
    client = Client({})
    assert post(client, https_fake.url, ca_bundle=str(tmp_path)) == Reply(202, ACCEPTED)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_of_openssl_variables_are_trusted(
    https_fake: FakePagerDuty, authority: trustme.CA, tmp_path: Path, variable: str
) -> None:
    """They are added to the built-in ones if no CA bundle is named."""
    file = tmp_path / f"{subject_hash(authority)}.0"
    authority.cert_pem.write_to_path(file)
    (tmp_path / "empty").mkdir()
    named = str(file) if variable == "SSL_CERT_FILE" else f"{tmp_path / 'empty'}:{tmp_path}"
    assert post(Client({variable: f"{named}\n"}), https_fake.url) == Reply(202, ACCEPTED)
    loaded = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_authorities(
        loaded, NetworkSettings(), NetworkEnvironment.read({variable: named}), certifi.where()
    )
    assert loaded.cert_store_stats()["x509_ca"] > 100
    answer = configuration("TLS failed: unable to get local issuer certificate")
    client = Client({variable: named, "REQUESTS_CA_BUNDLE": certifi.where()})
    assert post(client, https_fake.url) == answer


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_missing_certificates_of_openssl_variables_are_reported(variable: str) -> None:
    environment = NetworkEnvironment.read({variable: "/nowhere"})
    reason = f"{variable}: /nowhere cannot be read: No such file or directory"
    (answer,) = network_faults(EVENTS, NetworkSettings(), environment)
    assert answer == Fault("ca_bundle", reason)


@pytest.fixture
def as_python_3_13(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make TLS strict about RFC 5280, as urllib3 does with Python 3.13."""
    from urllib3.util.ssl_ import create_urllib3_context as made

    def make(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = made(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr("urllib3.util.ssl_.create_urllib3_context", make)


@pytest.fixture(scope="module")
def old_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate without Authority Key Identifier, as proxies that inspect TLS do."""
    folder = tmp_path_factory.mktemp("old")
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Corp CA")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    builder = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )
    authority = (
        builder.subject_name(name)
        .public_key(authority_key.public_key())
        .serial_number(1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    issued = (
        builder.subject_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(2)
        .add_extension(x509.SubjectAlternativeName([address]), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (folder / "leaf.pem").write_bytes(issued.public_bytes(pem))
    (folder / "server.pem").write_bytes(private + issued.public_bytes(pem))
    return folder


@pytest.mark.usefixtures("as_python_3_13")
@pytest.mark.parametrize("named", ["setting", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("file", ["ca.pem", "leaf.pem"])
def test_a_named_authority_needs_no_strict_extensions(
    old_certificate: Path, named: str, file: str
) -> None:
    """Holds for one that violates RFC 5280, and for the server's own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(old_certificate / "server.pem")
    path = str(old_certificate / file)
    with FakePagerDuty(services=KEYS, ssl_context=context) as fake:
        client = Client({} if named == "setting" else {named: path})
        settings = {"ca_bundle": path} if named == "setting" else {}
        assert post(client, fake.url, **settings) == Reply(202, ACCEPTED)


@pytest.mark.usefixtures("as_python_3_13")
def test_the_built_in_authorities_are_verified_strictly(
    old_certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(old_certificate / "server.pem")
    monkeypatch.setattr("requests.utils.DEFAULT_CA_BUNDLE_PATH", str(old_certificate / "ca.pem"))
    with FakePagerDuty(services=KEYS, ssl_context=context) as fake:
        answer = configuration("TLS failed: Missing Authority Key Identifier")
        assert post(Client({}), fake.url) == answer


def subject_hash(authority: trustme.CA) -> str:
    """Return the file name for which OpenSSL looks in a folder (X509_NAME_hash)."""
    subject = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject
    canonical = b"".join(
        x509.Name([x509.NameAttribute(each.oid, str(each.value).lower())]).public_bytes()[2:]
        for each in subject
    )
    return hashlib.sha1(canonical).digest()[3::-1].hex()


@pytest.mark.parametrize(
    "given",
    [
        {"client_certificate": "certificate.pem", "client_key": "key.pem"},
        {"client_certificate": "both.pem"},
    ],
)
def test_a_requested_client_certificate_is_sent(
    asking_fake: FakePagerDuty, bundle: str, files: Files, given: Mapping[str, str]
) -> None:
    paths = {name: files / file for name, file in given.items()}
    sender = Sender(asking_fake, Trigger(Client({})), connect(asking_fake.url))
    assert sender.over(ca_bundle=bundle, **paths).send(Alert("k", "Down")).delivered


def test_a_missing_client_certificate_is_reported(
    asking_fake: FakePagerDuty, bundle: str, tmp_path: Path
) -> None:
    stranger = trustme.CA().issue_cert("stranger@example.org")
    stranger.private_key_and_cert_chain_pem.write_to_path(tmp_path / "stranger.pem")
    sender = Sender(asking_fake, Trigger(Client({})), connect(asking_fake.url))
    for given in ({}, {"client_certificate": str(tmp_path / "stranger.pem")}):
        outcome = sender.over(ca_bundle=bundle, **given).send(Alert("k", "Down"))
        assert outcome.kind is OutcomeKind.MISCONFIGURED
        assert outcome.reason.startswith("TLS failed: ")
    assert asking_fake.requests == ()


def test_a_renewed_certificate_is_used_by_the_next_connection(
    asking_fake: FakePagerDuty, bundle: str, files: Files, tmp_path: Path
) -> None:
    renewed = tmp_path / "renewed.pem"
    renewed.touch()
    sender = Sender(asking_fake, Trigger(Client({})), connect(asking_fake.url))
    sender = sender.over(ca_bundle=bundle, client_certificate=str(renewed))
    assert sender.send(Alert("k", "Down")).kind is OutcomeKind.MISCONFIGURED
    renewed.write_bytes((files.folder / "both.pem").read_bytes())
    assert sender.send(Alert("k", "Down")).delivered
    asking_fake.misbehave(closing(), times=1)
    sender.send(Alert("k", "Down"))
    renewed.unlink()
    assert sender.send(Alert("k", "Down")).kind is OutcomeKind.MISCONFIGURED


# proxies

DEAD = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:1")


def test_the_proxy_of_the_settings_replaces_the_environments(
    named_fake: FakePagerDuty, bundle: str, proxy_for: Callable[..., Proxy]
) -> None:
    """The credentials are sent to the proxy, and the event through it."""
    proxy = proxy_for(named_fake.port)
    client = Client({**DEAD, "no_proxy": "*"})
    given = {"proxy": Secret(f"http://{proxy.address}"), "ca_bundle": bundle}
    for _ in range(2):
        assert post(client, "https://events.invalid", **given) == Reply(202, ACCEPTED)
    (request,) = proxy.requests
    assert request.startswith(b"CONNECT events.invalid:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic dXNlcjpwcm94eS1zZWNyZXQ=\r\n" in request
    assert named_fake.requests[0].header("Proxy-Authorization") is None


def test_a_proxy_of_the_settings_is_used_for_loopback_too(
    https_fake: FakePagerDuty, bundle: str, proxy_for: Callable[..., Proxy]
) -> None:
    proxy = proxy_for(https_fake.port)
    sender = Sender(https_fake, Trigger(Client({})), connect(https_fake.url))
    sender = sender.over(proxy=Secret(f"http://{proxy.address}"), ca_bundle=bundle)
    assert sender.send(Alert("k", "Down")).delivered
    assert proxy.requests[0].startswith(f"CONNECT 127.0.0.1:{https_fake.port} ".encode())


def test_direct_means_no_proxy(unused_url: str) -> None:
    url = unused_url.replace("127.0.0.1", "127.0.0.1.nip.invalid")
    client = Client(DEAD)
    assert post(client, url) == unsent("no proxy: Connection refused")
    answer = post(client, url, proxy=Secret("direct"))
    assert isinstance(answer, NoReply)
    assert answer.reason.startswith("no connection: ")


def test_plain_http_is_forwarded_by_a_proxy_of_the_settings(
    respond: Callable[..., Responder],
) -> None:
    responder = respond((HTTP_ACCEPTED,))
    proxy = Secret(responder.url.replace("http://", "http://user:proxy-secret@"))
    assert post(Client({}), "http://events.invalid", proxy=proxy) == Reply(202, "{}")
    (request,) = responder.requests
    assert request.startswith(b"POST http://events.invalid/v2/enqueue HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpwcm94eS1zZWNyZXQ=\r\n" in request


def test_a_proxy_that_speaks_tls_is_used(
    named_fake: FakePagerDuty,
    server_context: ssl.SSLContext,
    bundle: str,
    proxy_for: Callable[..., Proxy],
) -> None:
    """The same CA bundle verifies it, and the TLS of the event is nested."""
    proxy = proxy_for(named_fake.port, tls=server_context)
    given = {"proxy": Secret(f"https://{proxy.address}")}
    client = Client({})
    reported = post(client, "https://events.invalid", **given)
    assert reported == configuration("no proxy: unable to get local issuer certificate")
    answer = post(client, "https://events.invalid", **given, ca_bundle=bundle)
    assert answer == Reply(202, ACCEPTED)


def test_a_renewed_proxy_is_used_at_once(respond: Callable[..., Responder], tmp_path: Path) -> None:
    before, after = respond((HTTP_ACCEPTED,)), respond((HTTP_ACCEPTED, HTTP_ACCEPTED))
    file = tmp_path / "proxy"
    client = Client({})
    for responder in (before, after, after):
        file.write_text(f"{responder.url}\n")
        answer = post(client, "http://events.invalid", proxy=Secret(f"file:{file}"))
        assert answer == Reply(202, "{}")
    assert (before.connections, after.connections) == (1, 1)


def test_connections_are_kept_for_each_network_setting(fake: FakePagerDuty) -> None:
    client = Client({})
    for seconds in (10, 20, 10, 20):
        post(client, fake.url, timeout=seconds)
    assert [request.connection for request in fake.requests] == [1, 2, 1, 2]
