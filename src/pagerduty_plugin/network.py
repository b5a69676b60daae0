"""What the way out needs: the proxy, and the files of TLS. Reads them, and says what is wrong."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from hostspec import Fault, SecretUnavailableError
from pagerduty_plugin.settings import NetworkSettings, proxy_fault

_PROXY_VARIABLES: Final = {"http_proxy": "http", "https_proxy": "https", "all_proxy": "all"}
_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class NetworkSettingError(Exception):
    """A setting of the network that cannot be used now.

    Attributes:
        fault: which one, and why; without secrets.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.below('network')}")
        self.fault = fault


@attrs.frozen(repr=False)
class Surroundings:
    """What the environment says of the way out; a proxy's address may hold a password.

    Attributes:
        proxies: addresses by scheme.
        no_proxy: hosts that are reached without.
        ca_bundle: a file or folder of certificates; empty for the built-in ones.
        ca_variable: the variable that names it; empty where none does.
    """

    proxies: Mapping[str, str]
    no_proxy: str
    ca_bundle: str
    ca_variable: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Surroundings:
        """Read the variables that curl and requests read."""
        lower = {name.lower(): value for name, value in environment.items() if value}
        # as in curl, the lower-case spelling wins where both are there
        lower |= {name: value for name, value in environment.items() if name.islower() and value}
        variable = next((name for name in _CA_VARIABLES if environment.get(name)), "")
        return cls(
            {scheme: lower[name] for name, scheme in _PROXY_VARIABLES.items() if name in lower},
            lower.get("no_proxy", ""),
            environment.get(variable, ""),
            variable,
        )


def network_faults(settings: NetworkSettings, surroundings: Surroundings) -> Iterator[Fault]:
    """Find what cannot be used now; reads the secret and the files."""
    scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for step in (
        lambda: reveal_proxy(settings),
        lambda: load_authorities(scratch, settings, surroundings),
        lambda: load_client(scratch, settings),
    ):
        try:
            step()
        except NetworkSettingError as error:
            yield error.fault


def reveal_proxy(settings: NetworkSettings) -> str:
    """Read the proxy that the settings name; empty where they leave it to the environment.

    Raises:
        NetworkSettingError: it cannot be read, or is no proxy.
    """
    if settings.proxy is None:
        return ""
    try:
        proxy = settings.proxy.reveal()
    except SecretUnavailableError as error:
        raise NetworkSettingError(Fault("proxy", str(error))) from None
    if reason := proxy_fault(proxy):
        raise NetworkSettingError(Fault("proxy", reason))
    return proxy


def load_authorities(
    context: ssl.SSLContext,
    settings: NetworkSettings,
    surroundings: Surroundings,
    built_in: str = "",
) -> None:
    """Let a context trust the CA bundle of the settings, else the environment's, else the last.

    Raises:
        NetworkSettingError: it cannot be read, or holds no certificates.
    """
    if bundle := settings.ca_bundle:
        _load_certificates(context, bundle, "ca_bundle")
    elif bundle := surroundings.ca_bundle:
        _load_certificates(context, bundle, "ca_bundle", f"{surroundings.ca_variable}: ")
    elif built_in:
        context.load_verify_locations(built_in)


def load_client(context: ssl.SSLContext, settings: NetworkSettings) -> None:
    """Give a context the client certificate and its key, where the settings name one.

    Raises:
        NetworkSettingError: one of them cannot be read, or they do not belong together.
    """
    certificate = settings.client_certificate
    if not certificate:
        return
    path, key = "client_key", settings.client_key
    if not key:
        path, key = "client_certificate", certificate
    for place, file in (("client_certificate", certificate), (path, key)):
        try:
            Path(file).open("rb").close()
        except OSError as error:
            raise _unreadable(place, file, error) from None
    _load_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, "client_certificate")
    try:
        # without a passphrase of ours, OpenSSL would ask for one at the terminal
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        reason = f"{key} holds no private key in PEM form without a passphrase"
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
        reason = f"{whose}{file} holds no certificates in PEM form"
        raise NetworkSettingError(Fault(path, reason)) from None
    except OSError as error:
        raise _unreadable(path, f"{whose}{file}", error) from None


def _unreadable(path: str, file: str, error: OSError) -> NetworkSettingError:
    return NetworkSettingError(Fault(path, f"{file} cannot be read: {error.strerror}"))
