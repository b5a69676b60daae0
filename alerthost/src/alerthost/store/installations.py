"""The repository of installations in the database, which add to those of the configuration."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from alerthost.store.columns import read_json
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.sealing import Sealed, check_key, is_valid, reseal, seal
from alerthost.store.tables import installations
from hostspec.provider import Installation
from hostspec.secret import Secret, SecretUnavailableError
from hostspec.structuring import settings_to_json

_SEALED: Final = "$sealed"

_BINDING: Final = "$binding"
"""The row's own seal among its settings, whose names never begin with a single $."""


@attrs.frozen
class StoredInstallation:
    """An installation as it was read; changing it fails if the row was changed since.

    Attributes:
        id: stays the same when it is renamed.
        settings: raw, for `hostspec.Provider.installation`; a sealed secret is a `Sealed`. A table,
            unless another program changed them.
        seal: the row's own seal; its token is empty if the row has none.
    """

    id: int
    provider: str
    name: str
    settings: Any
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    seal: Sealed = attrs.field(eq=False, repr=False)

    def distrust_reason(self, *, strict: bool = False) -> str:
        """Return why the settings must not be used; empty if they are as they were stored.

        Without this check, a changed address in the row would get the secret of a reference.
        A store without a key checks nothing.

        Args:
            strict: a key that cannot be read is a reason, too.
        """
        if self.seal.key is None:
            return ""
        if not self.seal.token:
            return (
                "its settings are not sealed: they were stored before the store had a key, or "
                "changed by another program; check them, then run `alerthost reseal`"
            )
        try:
            if is_valid(self.seal):
                return ""
        except SecretUnavailableError as error:
            return f"its settings cannot be checked: {error}" if strict else ""
        return (
            "another program changed it in the database, or another key sealed it, so it is not "
            "used; set [store] key to the key that sealed it, or run "
            f"`alerthost disconnect {self.name}` and connect it again"
        )


class Installations:
    """The stored installations; every method raises StoreError if the database fails.

    Args:
        key: the reference of the key that seals secrets; with None every secret must be given by
            reference, and sealed ones are listed but cannot be revealed.

    Raises:
        LiteralSecretError: the key is not a reference.
    """

    def __init__(self, database: Database, key: Secret | None) -> None:
        check_key(key)
        self._database = database
        self._key = key

    def all(self) -> tuple[StoredInstallation, ...]:
        """Return all in the order in which they were added; needs no key."""
        if not self._database.exists:
            return ()
        with self._database.read() as connection:
            rows = connection.execute(sa.select(installations).order_by(installations.c.id))
            return tuple(self._stored(row) for row in rows)

    def add(self, installation: Installation[Any]) -> StoredInstallation:
        """Add an installation.

        Raises:
            StoreError: the name is invalid or taken, or a secret cannot be sealed.
        """
        values = self._values(installation)
        statement = sa.insert(installations).values(
            **values, version=1, created_at=values["updated_at"]
        )
        return self._write(statement, installation.name)

    def replace(
        self, stored: StoredInstallation, installation: Installation[Any]
    ) -> StoredInstallation:
        """Replace an installation that was read; the name may change.

        Raises:
            StoreError: it was changed since it was read, by another program perhaps, the name
                cannot be or is taken, or a secret cannot be sealed.
        """
        statement = (
            sa.update(installations)
            .where(*_unchanged(stored))
            .values(**self._values(installation), version=stored.version + 1)
        )
        return self._write(statement, installation.name, replaced=stored)

    def remove(self, stored: StoredInstallation) -> None:
        """Remove an installation that was read, with its secrets.

        Raises:
            StoreError: it was changed since it was read.
        """
        statement = sa.delete(installations).where(*_unchanged(stored))
        with self._database.begin() as connection:
            _expect_one(connection.execute(statement), stored)

    def reseal(self, old: Secret | None = None) -> int:
        """Seal every secret again with the newest key, so that older keys can be removed.

        Seals all secrets or none.

        Args:
            old: the reference of the key that sealed them, unless `key` still holds it.

        Returns:
            the number of secrets.

        Raises:
            StoreError: a secret cannot be unsealed.
            LiteralSecretError: the old key is not a reference.
        """
        check_key(old)
        count = 0

        def again(sealed: Sealed, path: _Path) -> str:
            nonlocal count
            count += path != (_BINDING,)
            try:
                return reseal(sealed, self._key).token
            except StoreError:
                if old is None:
                    raise
            return reseal(Sealed(sealed.token, old, sealed.context), self._key).token

        if not self._database.exists:
            return count
        with self._database.begin() as connection:
            for row in connection.execute(sa.select(installations)).all():
                stored = self._stored(row)
                packed = _packed(settings_to_json(stored.settings, write=_by_reference))
                if not isinstance(packed, dict):
                    message = (
                        f"installation {stored.name!r}: another program changed it in the "
                        "database, and its settings are no table; run "
                        f"`alerthost disconnect {stored.name}`"
                    )
                    raise StoreError(message)
                if stored.seal.token:
                    token = again(stored.seal, (_BINDING,))
                else:
                    token = seal(_WHOLE, self._key, stored.seal.context).token
                resealed = _replace_seals(packed, again) | {_BINDING: token}
                settings = json.dumps(resealed)
                # a caller that read the old seals must not write them back
                changes = {"settings": settings, "version": stored.version + 1}
                connection.execute(
                    sa.update(installations).where(*_unchanged(stored)).values(changes)
                )
        return count

    def _write(
        self, statement: sa.UpdateBase, name: str, replaced: StoredInstallation | None = None
    ) -> StoredInstallation:
        """Insert or replace an installation, and return it as it is stored."""
        try:
            with self._database.begin() as connection:
                result = connection.execute(statement)
                if replaced is not None:
                    _expect_one(result, replaced)
                    if reason := replaced.distrust_reason():
                        message = f"installation {replaced.name!r}: {reason}"
                        raise StoreError(message)
                named = sa.select(installations).where(installations.c.name == name)
                return self._stored(connection.execute(named).one())
        except IntegrityError:
            message = f"installation {name!r} already exists; choose another name"
            raise StoreError(message) from None

    def _values(self, installation: Installation[Any]) -> dict[str, Any]:
        _check_name(installation.name)
        provider, name = installation.provider, installation.name
        packed = _packed(settings_to_json(installation.settings, write=_by_reference))
        context_at = _contexts(provider, name, packed)

        def sealed(secret: Secret, path: _Path) -> str:
            return seal(secret, self._key, context_at(path)).token

        settings = _replace_seals(packed, sealed)
        if self._key is not None:
            settings[_BINDING] = seal(_WHOLE, self._key, context_at((_BINDING,))).token
        return {
            "provider": provider,
            "name": name,
            "settings": json.dumps(settings),
            "updated_at": dt.datetime.now(dt.UTC),
        }

    def _stored(self, row: sa.Row[Any]) -> StoredInstallation:
        values = dict(zip(installations.c.keys(), row, strict=True))
        packed = read_json(values["settings"])
        token = (isinstance(packed, dict) and packed.pop(_BINDING, None)) or ""
        context_at = _contexts(values["provider"], values["name"], packed)

        def sealed(token: Any, path: _Path) -> Sealed:
            return Sealed(str(token), self._key, context_at(path))

        values["settings"] = _unpacked(_replace_seals(packed, sealed))
        row_seal = Sealed(str(token), self._key, context_at((_BINDING,)))
        return StoredInstallation(**values, seal=row_seal)


_WHOLE: Final = Secret("the row")
"""The content of a row's seal; only its context matters."""

_Path: TypeAlias = tuple[str | int, ...]


def _contexts(provider: str, name: str, packed: Any) -> Callable[[_Path], str]:
    """Return the context of the seal at each path: name, provider and all other settings.

    Otherwise a program that can write the database could have a secret sent to another address
    or account.
    """
    rest = _digest([provider, name, _replace_seals(packed, lambda *_: None)])
    return lambda path: _digest([rest, *path])


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _by_reference(secret: Secret) -> str | Secret:
    return secret.reference or secret


def _check_name(name: str) -> None:
    # SQLite or PostgreSQL cannot store the rest as text
    if not name.strip() or "\0" in name or name != name.encode(errors="replace").decode():
        message = f"{name!r} cannot name an installation; use visible text without NUL"
        raise StoreError(message)


def _unchanged(stored: StoredInstallation) -> tuple[sa.ColumnElement[bool], ...]:
    return installations.c.id == stored.id, installations.c.version == stored.version


def _expect_one(result: sa.CursorResult[Any], stored: StoredInstallation) -> None:
    if not result.rowcount:
        message = f"installation {stored.name!r} was changed or removed meanwhile; try again"
        raise StoreError(message)


def _packed(raw: Any) -> Any:
    """Mark secrets for JSON; escape other names that begin with $ by another $."""
    match raw:
        case Secret():
            return {_SEALED: raw}
        case dict():
            return {
                f"${name}" if name.startswith("$") else name: _packed(item)
                for name, item in raw.items()
            }
        case list():
            return [_packed(item) for item in raw]
    return raw


def _unpacked(packed: Any) -> Any:
    """Undo `_packed`."""
    match packed:
        case dict() if _SEALED in packed:
            return packed[_SEALED]
        case dict():
            return {name.removeprefix("$"): _unpacked(item) for name, item in packed.items()}
        case list():
            return [_unpacked(item) for item in packed]
    return packed


def _replace_seals(packed: Any, new: Callable[[Any, _Path], object], path: _Path = ()) -> Any:
    """Replace each secret that `_packed` marked."""
    match packed:
        case dict() if _SEALED in packed:
            return {_SEALED: new(packed[_SEALED], path)}
        case dict():
            return {name: _replace_seals(item, new, (*path, name)) for name, item in packed.items()}
        case list():
            return [_replace_seals(item, new, (*path, index)) for index, item in enumerate(packed)]
    return packed
