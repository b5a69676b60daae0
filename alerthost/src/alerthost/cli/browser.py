"""``connect --install-flow``: a browser goes to the provider, and its callback is caught."""

from __future__ import annotations

import threading
import webbrowser
from typing import Any, Final

from alerthost.cli.callback import CallbackServer, Page
from alerthost.cli.screen import Screen, printable
from alerthost.config.accounts import Accounts
from alerthost.config.document import ConfigurationError
from alerthost.store.errors import StoreError
from hostspec.connect.install_flow import Connected, InstallError, InstallFlow, InstallProblem

_CLOSE: Final = "You may close this window; the terminal says the rest."
_CONNECTED: Final = Page("/connected", "Connected", _CLOSE)
_FAILED: Final = Page("/failed", "Not connected", _CLOSE)
_IGNORED: Final = Page("/ignored", "Nothing happened", "This is not what is waited for here.")


def connect(  # noqa: PLR0913 -- what is connected, and how the person is led
    accounts: Accounts,
    setup: InstallFlow[Any, Any],
    settings: Any,
    screen: Screen,
    *,
    name: str = "",
    port: int = 0,
    opens: bool = True,
) -> Connected[Any]:
    """Send a person's browser to the provider, wait for it to come back, and store what it brings.

    Args:
        accounts: where the account is stored.
        setup: the provider's.
        settings: what the setup has to know.
        screen: for what the person has to know.
        name: for a new account; empty for the one that the provider gives.
        port: on loopback, for the callback; 0 takes a free one.
        opens: the browser is opened, not just told of.

    Raises:
        InstallError: the provider sent something that will not do.
        ConfigurationError: the account cannot be stored beside what is there.
        StoreError: it cannot be stored.
        OSError: the port cannot be had.
    """
    with CallbackServer(port) as server:
        begun = setup.begin(server.url, settings)
        screen.say("Go on in your browser, at this address:")
        screen.give(begun.url)
        if opens:
            # a browser in a terminal comes back only when it is closed
            threading.Thread(target=webbrowser.open, args=(begun.url,), daemon=True).start()
        screen.say("Waiting for it to come back; Ctrl-C gives up.", "dim")
        while True:
            callback = server.next()

            def finish(parameters: dict[str, str] = callback.parameters) -> Connected[Any]:
                there = accounts.installations()
                return setup.finish(parameters, begun.pending, installations=there)

            try:
                connected = accounts.connect(finish, name)
            except (InstallError, ConfigurationError, StoreError) as error:
                if isinstance(error, InstallError) and error.problem is InstallProblem.WRONG_STATE:
                    callback.show(_IGNORED)
                    screen.complain(printable(f"passed over: {error.reason}"), "yellow")
                    continue
                server.finish(callback, _FAILED)
                raise
            server.finish(callback, _CONNECTED)
            return connected
