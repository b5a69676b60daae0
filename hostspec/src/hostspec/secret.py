"""Secrets, given by reference, resolved when they are used, never printed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

REFERENCE_FORMS: Final = "env:NAME, file:PATH or keyring:SERVICE/NAME"
"""The forms a reference may take, for messages to people."""


class SecretUnavailableError(Exception):
    """A secret's reference leads to nothing now; the message says why, without the secret."""


class LiteralSecretError(ValueError):
    """A secret given as itself was about to be written down."""


class Secret:
    """A secret, given by reference or as itself.

    A reference is ``env:NAME``, ``file:PATH`` or ``keyring:SERVICE/NAME``.

    Reading it is `reveal`, at each use, so that a rotated key file just works. Nothing else
    shows it: not ``repr``, not ``str``, not pickling, not its JSON form.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def reference(self) -> str | None:
        """The reference; None where the secret was given as itself."""
        scheme, colon, _ = self._text.partition(":")
        return self._text if colon and scheme in _READERS else None

    def reveal(self) -> str:
        """Read the secret now; blanks, line ends and matching quotes around it are left out.

        Raises:
            SecretUnavailableError: the reference leads to nothing, or the secret is empty.
        """
        reference = self.reference
        secret = _without_quotes(self._text if reference is None else _read(reference))
        if not secret:
            message = f"{reference or 'the secret'} is empty"
            raise SecretUnavailableError(message)
        return secret

    def notes(self) -> Iterator[str]:
        """Yield remarks about a secret that can be used: quotes around it, a key in clear."""
        if self.reference is None:
            if _KEY.fullmatch(_without_quotes(self._text)):
                yield f"is written in clear; a reference is safer: {REFERENCE_FORMS}"
            text = self._text
        else:
            try:
                text = _read(self.reference)
            except SecretUnavailableError:
                return
        if _without_quotes(text) != text.strip():
            yield "is in quotes, which are left out"

    def masked(self) -> str:
        """Show where the secret comes from, or eight stars where it was given as itself."""
        scheme, colon, place = (self.reference or "").partition(":")
        return f"{scheme}{colon}{_shown(place)}" if place else "********"

    def __repr__(self) -> str:
        return f"Secret({self.masked()!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        if self.reference is None:
            message = (
                "a secret given as itself is not pickled; give a reference: " + REFERENCE_FORMS
            )
            raise LiteralSecretError(message)
        return Secret, (self._text,)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: object) -> Secret:
        return self


def _without_quotes(text: str) -> str:
    """Remove blanks around a secret, and quotes, which ``docker --env-file`` leaves there."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].strip()
    return text


def reference_meant(text: str) -> str | None:
    """Return the reference that a text is meant for, such as ``$NAME``; None for none."""
    scheme, colon, place = text.partition(":")
    if colon and scheme not in _READERS and scheme.lower() in _READERS:
        return f"{scheme.lower()}:{_shown(place)}"
    variable = _VARIABLE.fullmatch(text)
    return f"env:{_shown(variable[1] or variable[2])}" if variable else None


def _shown(place: str) -> str:
    """Show where a secret lies, unless somebody put the secret itself there."""
    return "********" if _KEY.fullmatch(place) else place


def _read(reference: str) -> str:
    scheme, _, place = reference.partition(":")
    if not place:
        message = f"{reference} names nothing; the forms are {REFERENCE_FORMS}"
        raise SecretUnavailableError(message)
    return _READERS[scheme](place)


def _from_environment(name: str) -> str:
    try:
        return os.environ[name]
    except (KeyError, UnicodeEncodeError):
        message = f"the environment variable {_shown(name)} is not set"
        raise SecretUnavailableError(message) from None


def _from_file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        message = f"the file {_shown(path)} cannot be read: {error.strerror}"
        raise SecretUnavailableError(message) from None
    except UnicodeDecodeError:
        message = f"the file {_shown(path)} is not text"
        raise SecretUnavailableError(message) from None
    except ValueError:
        message = f"{path!r} cannot be the path of a file"
        raise SecretUnavailableError(message) from None


def _from_keyring(place: str) -> str:
    service, _, name = place.partition("/")
    try:
        # an extra, and slow to import
        import keyring  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except ImportError:
        message = f"keyring:{place} needs the package keyring (pip install 'hostspec[keyring]')"
        raise SecretUnavailableError(message) from None
    try:
        secret = keyring.get_password(service, name)
    except Exception:  # noqa: BLE001 -- every backend has errors of its own
        message = f"the keyring cannot be read for {place}; check that it is unlocked"
        raise SecretUnavailableError(message) from None
    if secret is None:
        message = f"the keyring holds nothing for {place}"
        raise SecretUnavailableError(message)
    return str(secret)


_KEY: Final = re.compile(r"(?=.*[0-9])[A-Za-z0-9]{20,}")
"""What is more likely a key than the name of a variable or file."""

_VARIABLE: Final = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")

_READERS: Final = {"env": _from_environment, "file": _from_file, "keyring": _from_keyring}
