"""Secrets: given by reference, read at each use, never printed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

REFERENCE_FORMS: Final = "env:NAME, file:PATH or keyring:SERVICE/NAME"
"""The forms of a reference, for messages."""


class SecretUnavailableError(Exception):
    """A secret cannot be read now; the message gives the reason, without the secret."""


class LiteralSecretError(ValueError):
    """A literal secret would have been serialised."""


class Secret:
    """A secret, given by reference or literally.

    A reference is ``env:NAME``, ``file:PATH`` or ``keyring:SERVICE/NAME``.

    Call `reveal` at each use, so that a rotated key file takes effect at once. Nothing else shows
    the secret: not ``repr``, not ``str``, not pickling, not its JSON form.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def reference(self) -> str | None:
        """The reference; None for a literal secret."""
        scheme, colon, _ = self._text.partition(":")
        return self._text if colon and scheme in _READERS else None

    def reveal(self) -> str:
        """Read the secret, without surrounding blanks, line ends and matching quotes.

        Raises:
            SecretUnavailableError: the reference cannot be read, or the secret is empty.
        """
        reference = self.reference
        secret = _without_quotes(self._text if reference is None else _read(reference))
        if not secret:
            message = f"{reference or 'the secret'} is empty"
            raise SecretUnavailableError(message)
        return secret

    def notes(self) -> Iterator[str]:
        """Yield remarks about a usable secret: it is in clear, or in quotes."""
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
        """Return the reference, or eight stars for a literal secret."""
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
            message = f"a literal secret cannot be pickled; give a reference: {REFERENCE_FORMS}"
            raise LiteralSecretError(message)
        return Secret, (self._text,)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: object) -> Secret:
        return self


def _without_quotes(text: str) -> str:
    """Return a secret without surrounding blanks and quotes (``docker --env-file`` keeps them)."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].strip()
    return text


def reference_fault(text: str) -> str | None:
    """Return the fault of a stripped text that looks like a misspelt reference, otherwise None.

    The fault does not quote a key.
    """
    bare = text.strip(_QUOTES).strip()
    meant = _reference_meant(bare)
    if meant is None and bare != text and Secret(bare).reference:
        meant = bare
    if meant is None:
        return None
    quote = quote_around(text)
    fault = f"has the quote {quote} around it" if quote else "not a reference"
    return f"{fault}; write {meant}"


def _reference_meant(text: str) -> str | None:
    scheme, colon, place = text.partition(":")
    known = scheme.strip().lower()
    if colon and known in _READERS and (scheme != known or place != place.strip()):
        return f"{known}:{_shown(place.strip())}"
    variable = _VARIABLE.fullmatch(text)
    return f"env:{_shown(variable[variable.lastindex or 0])}" if variable else None


def quote_around(text: str) -> str:
    """Return an unmatched or typographic quote at an end of a text, with its code point.

    Empty for a text without quotes, or with the same straight quote at both ends.
    """
    if _without_quotes(text) != text:
        return ""
    quote = next((each for each in (text[:1], text[-1:]) if each and each in _QUOTES), "")
    return f"{quote} (U+{ord(quote):04X})" if quote else ""


def _shown(place: str) -> str:
    """Return the second part of a reference, masked if it looks like the secret itself."""
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
    except UnicodeDecodeError:
        message = f"the file {_shown(path)} is not text"
    except ValueError:
        message = f"{path!r} cannot be the path of a file"
    raise SecretUnavailableError(message)


def _from_keyring(place: str) -> str:
    service, _, name = place.partition("/")
    shown = _shown(place)
    try:
        # an extra, and slow to import
        import keyring  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except ImportError:
        message = f"keyring:{shown} needs the package keyring (pip install 'hostspec[keyring]')"
        raise SecretUnavailableError(message) from None
    try:
        secret = keyring.get_password(service, name)
    except Exception:  # noqa: BLE001 -- every backend has errors of its own
        message = f"the keyring cannot be read for {shown}; check that it is unlocked"
        raise SecretUnavailableError(message) from None
    if secret is None:
        message = f"the keyring holds nothing for {shown}"
        raise SecretUnavailableError(message)
    return str(secret)


_KEY: Final = re.compile(r"(?=.*[0-9])[A-Za-z0-9]{20,}")
"""A text that is more likely a key than the name of a variable or file."""

_QUOTES: Final = (
    "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a"
)
"""Straight quotes, and those of word processors and chat programs."""

_VARIABLE: Final = re.compile(
    r"\$(?:env:)?([a-z_]\w*+)|\$\{(?:env[:.])?([a-z_]\w*+)\}|%([a-z_]\w*+)%|env[.=]([a-z_]\w*+)"
    r"|(?-i:(?=.{3,64}$)([A-Z][A-Z0-9]*+(?:_[A-Z0-9]++)++))",
    re.IGNORECASE,
)
"""References to a variable in the syntax of shells, Windows and others, or its bare name."""

_READERS: Final = {"env": _from_environment, "file": _from_file, "keyring": _from_keyring}
