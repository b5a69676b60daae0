"""Removes a service of a stored account, and records it: its incidents may still be open."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from alerthost.config.document import refuse

if TYPE_CHECKING:
    from alerthost.config.accounts import Accounts
    from alerthost.outbox.activity import Actor

REMOVED: Final = "removed"
"""The verb of the activity that a service was removed; its masked row is the state before."""


def remove_service(accounts: Accounts, account: str, number: str, actor: Actor) -> None:
    """Remove a service by its id, with its secret.

    Raises:
        ConfigurationError: it does not exist, or the account would have a fault without it.
        StoreError: the store fails.
    """
    from alerthost.outbox.activity import Change  # noqa: PLC0415 -- slow imports
    from alerthost.outbox.admin import Admin  # noqa: PLC0415 -- slow imports

    installation = accounts.find_valid(account)
    table = accounts.provider(installation.provider).table()
    rows = table.rows(installation.settings) if table else ()
    row = next((each for each in rows if each["id"] == number), None)
    if table is None or row is None:
        refuse("", f"there is no service {number!r} in {account}")

    def without(settings: Any) -> Any:
        return table.save(settings, [each for each in table.rows(settings) if each["id"] != number])

    accounts.change(account, without)
    change = Change(REMOVED, f"{account}/{row['name']}", json.dumps(row, ensure_ascii=False))
    Admin(accounts.store.database, accounts.plugins, time.time).record(actor, change)
