"""The installations that people connected, kept in the database beside those in the TOML."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.sealing import Sealed, check_key, is_sealed_for, reseal, seal
from alerthost.store.tables import installations
from hostspec.provider import Installation
from hostspec.secret import Secret, SecretUnavailableError
from hostspec.structuring import settings_to_json

_SEALED: Final = "$sealed"

_BINDING: Final = "$binding"
"""The key of a row's seal beside its settings, whose own names never begin with a single $."""


@attrs.frozen
class Binding:
    """The seal of a row.

    Attributes:
        token: what sealing gave; None where the row has none.
        key: where the key is; None for a store without one.
        context: the digest of all that the row says.
    """

    token: str | None
    key: Secret | None
    context: str


@attrs.frozen
class StoredInstallation:
    """An installation as it was read; to change it says that this state is the one meant.

    Attributes:
        id: names it for good, whatever it is called.
        provider: the provider's name.
        name: its own.
        settings: raw, for `hostspec.Provider.installation`; a sealed secret is a `Sealed`.
        version: counts its changes.
        created_at: when it was added, in UTC.
        updated_at: when it was changed last.
        binding: checks that no other program changed the row.
    """

    id: int
    provider: str
    name: str
    settings: Mapping[str, Any]
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    binding: Binding = attrs.field(eq=False, repr=False)

    def distrust(self, *, strict: bool = False) -> str:
        """Return why the settings must not be used; empty where they are as they were stored.

        References are stored as they are, so that another address in the row would have the
        secret sent there. Where the store has no key, nothing is checked.

        Args:
            strict: a key that cannot be read is a reason, too.
        """
        if self.binding.key is None:
            return ""
        if self.binding.token is None:
            return (
                "an older version stored it, without a seal of its settings; compare them with "
                "those entered, and run `alerthost reseal`"
            )
        try:
            if is_sealed_for(self.binding.token, self.binding.key, self.binding.context):
                return ""
        except SecretUnavailableError as error:
            return f"its settings cannot be checked: {error}" if strict else ""
        return (
            "another program changed it in the database, or another key sealed it, so it is not "
            f"used; give the key that sealed it, or run `alerthost disconnect {self.name}`, and "
            "connect it again"
        )


class Installations:
    """The stored installations.

    Args:
        database: where they are.
        key: where the key is that seals their secrets; None for none: then secrets have to be
            given by reference, and what is sealed already is listed, but cannot be revealed.

    Raises:
        LiteralSecretError: the key was given as itself.
    """

    def __init__(self, database: Database, key: Secret | None) -> None:
        check_key(key)
        self._database = database
        self._key = key

    def all(self) -> tuple[StoredInstallation, ...]:
        """Return them in the order in which they were added; needs no key.

        Raises:
            StoreError: the database cannot be read.
        """
        if not self._database.exists:
            return ()
        with self._database.read() as connection:
            rows = connection.execute(sa.select(installations).order_by(installations.c.id))
            return tuple(self._stored(row) for row in rows)

    def add(self, installation: Installation[Any]) -> StoredInstallation:
        """Add one.

        Raises:
            StoreError: the name cannot be or is taken, a secret cannot be sealed, or the database
                fails.
        """
        values = self._values(installation)
        statement = sa.insert(installations).values(
            **values, version=1, created_at=values["updated_at"]
        )
        with self._naming(installation.name) as connection:
            connection.execute(statement)
            return self._named(installation.name, connection)

    def replace(
        self, stored: StoredInstallation, installation: Installation[Any]
    ) -> StoredInstallation:
        """Put an installation in the place of one that was read; its name may be another.

        Raises:
            StoreError: it was changed since it was read, by another program perhaps, the name
                cannot be or is taken, a secret cannot be sealed, or the database fails.
        """
        statement = (
            sa.update(installations)
            .where(*_unchanged(stored))
            .values(**self._values(installation), version=stored.version + 1)
        )
        with self._naming(installation.name) as connection:
            _expect_one(connection.execute(statement), stored)
            if reason := stored.distrust():
                message = f"the installation {stored.name!r}: {reason}"
                raise StoreError(message)
            return self._named(installation.name, connection)

    def remove(self, stored: StoredInstallation) -> None:
        """Remove one that was read, with its secrets.

        Raises:
            StoreError: it was changed since it was read, or the database fails.
        """
        statement = sa.delete(installations).where(*_unchanged(stored))
        with self._database.begin() as connection:
            _expect_one(connection.execute(statement), stored)

    def reseal(self, old: Secret | None = None) -> int:
        """Seal every secret again with the newest key, so that older keys can go; all or none.

        Args:
            old: where the key is that sealed them, where it does not stand beside the newest.

        Returns:
            how many secrets.

        Raises:
            StoreError: one cannot be unsealed, or the database fails.
            LiteralSecretError: the old key was given as itself.
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
                binding = stored.binding
                if binding.token is None:
                    token = seal(_WHOLE, self._key, binding.context).token
                else:
                    token = again(Sealed(binding.token, self._key, binding.context), (_BINDING,))
                resealed = _replace_seals(packed, again) | {_BINDING: token}
                settings = json.dumps(resealed)
                # who read the old seals must not write them back
                changes = {"settings": settings, "version": stored.version + 1}
                connection.execute(
                    sa.update(installations).where(*_unchanged(stored)).values(changes)
                )
        return count

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[sa.Connection]:
        try:
            with self._database.begin() as connection:
                yield connection
        except IntegrityError:
            message = f"there is an installation {name!r} already; names are unique"
            raise StoreError(message) from None

    def _named(self, name: str, connection: sa.Connection) -> StoredInstallation:
        statement = sa.select(installations).where(installations.c.name == name)
        return self._stored(connection.execute(statement).one())

    def _values(self, installation: Installation[Any]) -> dict[str, Any]:
        _check_name(installation.name)
        provider, name = installation.provider, installation.name
        packed = _packed(settings_to_json(installation.settings, write=_by_reference))
        context = _Context(provider, name, packed)

        def sealed(secret: Secret, path: _Path) -> str:
            return seal(secret, self._key, context.at(path)).token

        settings = _replace_seals(packed, sealed)
        if self._key is not None:
            settings[_BINDING] = seal(_WHOLE, self._key, context.at((_BINDING,))).token
        return {
            "provider": provider,
            "name": name,
            "settings": json.dumps(settings),
            "updated_at": dt.datetime.now(dt.UTC),
        }

    def _stored(self, row: sa.Row[Any]) -> StoredInstallation:
        values = dict(zip(installations.c.keys(), row, strict=True))
        packed = json.loads(values["settings"])
        token = packed.pop(_BINDING, None) if isinstance(packed, dict) else None
        context = _Context(values["provider"], values["name"], packed)

        def sealed(token: str, path: _Path) -> Sealed:
            return Sealed(token, self._key, context.at(path))

        values["settings"] = _unpacked(_replace_seals(packed, sealed))
        binding = Binding(token, self._key, context.at((_BINDING,)))
        return StoredInstallation(**values, binding=binding)


_WHOLE: Final = Secret("the row")
"""What the seal of a row holds, for what counts is its context."""

_Path: TypeAlias = tuple[str | int, ...]


class _Context:
    """What the seals of an installation are valid for: its name, provider and other settings.

    Whoever can write the database could otherwise have a secret sent to an address of their own,
    or to another account.
    """

    def __init__(self, provider: str, name: str, packed: Any) -> None:
        rest = _replace_seals(packed, lambda *_: None)
        self._rest = _digest([provider, name, rest])

    def at(self, path: _Path) -> str:
        """Return the context of the secret at a path."""
        return _digest([self._rest, *path])


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _by_reference(secret: Secret) -> str | Secret:
    return secret.reference or secret


def _check_name(name: str) -> None:
    # what SQLite or PostgreSQL cannot keep as text
    if not name.strip() or "\0" in name or name != name.encode(errors="replace").decode():
        message = f"an installation cannot be called {name!r}"
        raise StoreError(message)


def _unchanged(stored: StoredInstallation) -> tuple[sa.ColumnElement[bool], ...]:
    return installations.c.id == stored.id, installations.c.version == stored.version


def _expect_one(result: sa.CursorResult[Any], stored: StoredInstallation) -> None:
    if not result.rowcount:
        message = f"the installation {stored.name!r} was changed or removed meanwhile; look again"
        raise StoreError(message)


def _packed(raw: Any) -> Any:
    """Mark secrets for JSON; other names that begin with $ get one more."""
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
    """Put something else in the place of each secret that `_packed` marked."""
    match packed:
        case dict() if _SEALED in packed:
            return {_SEALED: new(packed[_SEALED], path)}
        case dict():
            return {name: _replace_seals(item, new, (*path, name)) for name, item in packed.items()}
        case list():
            return [_replace_seals(item, new, (*path, index)) for index, item in enumerate(packed)]
    return packed
