"""The proxy and the TLS files of a request: from the settings, else from the environment."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs

from hostspec import Fault, SecretUnavailableError
from hostspec.text import is_loopback
from pagerduty_plugin import validators
from pagerduty_plugin.constants import DIRECT
from pagerduty_plugin.settings import NetworkSettings

_PROXY_VARIABLES: Final = {"http": "http_proxy", "https": "https_proxy", "all": "all_proxy"}
_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_MORE_CA_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PORTS: Final = {"http": 80, "https": 443}


class NetworkSettingError(Exception):
    """A network setting cannot be used now; the fault contains no secrets."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.below('network')}")
        self.fault = fault


@attrs.frozen(repr=False)
class NetworkEnvironment:
    """The environment's network settings; the address of a proxy may contain a password.

    Attributes:
        proxies: for each scheme, the variable that names a proxy, and its value.
        bundle: the variable for certificates that replace the built-in ones, and its value;
            None if it is not set.
        more: variables and values for certificates beside the built-in ones.
    """

    proxies: Mapping[str, tuple[str, str]]
    no_proxy: tuple[str, ...]
    bundle: tuple[str, str] | None
    more: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> NetworkEnvironment:
        """Read the variables of curl, requests and OpenSSL, and strip their values.

        The lower-case spelling of a variable wins, as in curl. ``SSL_CERT_FILE`` and
        ``SSL_CERT_DIR`` replace nothing, as each leaves OpenSSL the default of the other; they
        count if no CA bundle is named.
        """

        def read(*names: str) -> Iterator[tuple[str, str]]:
            for name in names:
                if value := variables.get(name, "").strip():
                    yield name, value

        bundle = next(read(*_CA_VARIABLES), None)
        proxies = {
            scheme: next(read(name, name.upper()), None)
            for scheme, name in _PROXY_VARIABLES.items()
        }
        _, no_proxy = next(read("no_proxy", "NO_PROXY"), ("", ""))
        return cls(
            {scheme: proxy for scheme, proxy in proxies.items() if proxy},
            tuple(no_proxy.lower().replace(",", " ").split()),
            bundle,
            () if bundle else tuple(read(*_MORE_CA_VARIABLES)),
        )


def network_faults(
    url: str, settings: NetworkSettings, environment: NetworkEnvironment
) -> Iterator[Fault]:
    """Yield the settings that cannot be used now for a URL; reads the secret and the files."""
    scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for step in (
        lambda: find_proxy(url, settings, environment),
        lambda: load_authorities(scratch, settings, environment),
        lambda: load_client(scratch, settings),
    ):
        try:
            step()
        except NetworkSettingError as error:
            yield error.fault


def find_proxy(url: str, settings: NetworkSettings, environment: NetworkEnvironment) -> str:
    """Return the URL of the proxy for a URL; empty for none.

    The settings' proxy is used for every address, the environment's not for loopback.

    Raises:
        NetworkSettingError: it cannot be read, or is not a proxy's URL.
    """
    if settings.proxy is not None:
        try:
            proxy = settings.proxy.reveal().strip()
        except SecretUnavailableError as error:
            raise NetworkSettingError(Fault("proxy", str(error))) from None
        if reason := validators.proxy(proxy):
            raise NetworkSettingError(Fault("proxy", reason))
        return "" if proxy == DIRECT else proxy
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    named = environment.proxies.get(parts.scheme) or environment.proxies.get("all")
    if not named or is_loopback(host) or _is_bypassed(host, port, environment.no_proxy):
        return ""
    variable, proxy = named
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if reason := validators.proxy_url(proxy):
        raise NetworkSettingError(Fault("proxy", f"{variable} {reason}"))
    return proxy


def _is_bypassed(host: str, port: int | None, no_proxy: tuple[str, ...]) -> bool:
    """Check whether ``NO_PROXY`` contains ``*``, the host, its domain or its network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    spelled = (host, f"{host}:{port}")
    for name in no_proxy:
        if name == "*" or name in spelled:
            return True
        if address is None:
            domain = f".{name.removeprefix('*').lstrip('.')}"
            if any(f".{each}".endswith(domain) for each in spelled):
                return True
        else:
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(name.strip("[]"), strict=False):
                    return True
    return False


def load_authorities(
    context: ssl.SSLContext,
    settings: NetworkSettings,
    environment: NetworkEnvironment,
    built_in: str = "",
) -> None:
    """Load the CA bundle of the settings into a context, else the environment's, else the built-in.

    A certificate that the operator names is trusted even if its issuer is unknown, or if it lacks
    an extension that RFC 5280 requires and Python checks since 3.13.

    Raises:
        NetworkSettingError: it cannot be read, or contains no certificates.
    """
    if settings.ca_bundle:
        named = [("", settings.ca_bundle)]
    elif environment.bundle:
        named = [environment.bundle]
    else:
        named = list(environment.more)
        if built_in:
            context.load_verify_locations(built_in)
    for variable, paths in named:
        # a list of folders, as OpenSSL splits it
        for path in paths.split(os.pathsep) if variable == "SSL_CERT_DIR" else (paths,):
            _load_certificates(context, path, "ca_bundle", f"{variable}: " if variable else "")
    if named:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def load_client(context: ssl.SSLContext, settings: NetworkSettings) -> None:
    """Load the client certificate of the settings and its key into a context, if there is one.

    Raises:
        NetworkSettingError: one of them cannot be read, or they do not match.
    """
    certificate = settings.client_certificate
    if not certificate:
        return
    path, key = "client_key", settings.client_key
    if not key:
        path, key = "client_certificate", certificate
    for setting, file in (("client_certificate", certificate), (path, key)):
        try:
            Path(file).open("rb").close()
        except OSError as error:
            raise _unreadable(setting, file, error) from None
    _load_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, "client_certificate")
    try:
        # without a passphrase, OpenSSL would ask for one at the terminal
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        reason = f"{key} contains no private key in PEM form without a passphrase"
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = f"{key} is not the key of {certificate}"
        raise NetworkSettingError(Fault(path, reason)) from None


def _load_certificates(context: ssl.SSLContext, file: str, path: str, whose: str = "") -> None:
    try:
        if os.path.isdir(file):  # noqa: PTH112 -- Path.is_dir may raise
            context.load_verify_locations(capath=file)
        else:
            context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        reason = f"{whose}{file} contains no certificates in PEM form"
        raise NetworkSettingError(Fault(path, reason)) from None
    except OSError as error:
        raise _unreadable(path, f"{whose}{file}", error) from None


def _unreadable(path: str, file: str, error: OSError) -> NetworkSettingError:
    return NetworkSettingError(Fault(path, f"{file} cannot be read: {error.strerror}"))
