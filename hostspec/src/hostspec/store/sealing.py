"""Secrets at rest: sealed with a key from outside, unsealed only where they are revealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hostspec.secret import REFERENCE_FORMS, LiteralSecretError, Secret, SecretUnavailableError
from hostspec.store.errors import StoreError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

GET_A_KEY: Final = (
    "make a key with `alerthost new-key`, keep it in the environment, a file or the keyring, "
    "and give its reference as [store] key"
)
"""What to do where there is no key, for messages to people."""


class Sealed(Secret):
    """A secret as the store keeps it; it is unsealed at each `reveal`, and not before.

    Two are equal where the same token is unsealed with the same key: sealing a secret twice
    gives two tokens, and without the key nobody can say that they hold the same.

    Args:
        token: what sealing gave.
        key: where the key is; None where there is none, so that it cannot be revealed.
    """

    __slots__ = ("_key",)

    def __init__(self, token: str, key: Secret | None) -> None:
        super().__init__(token)
        self._key = key

    @property
    def token(self) -> str:
        """The sealed form, safe to write down."""
        return self._text

    @property
    def key(self) -> Secret | None:
        """Where the key is."""
        return self._key

    @property
    def reference(self) -> None:
        """None: it is given by no reference."""
        return

    def reveal(self) -> str:
        """Unseal the secret now.

        Raises:
            SecretUnavailableError: there is no key, it cannot be read, is none, or is another.
        """
        fernet = _fernet(self._key)
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 -- an extra

        try:
            return fernet.decrypt(self._text.encode()).decode()
        except InvalidToken:
            message = (
                f"it was sealed with another key than {_named(self._key)} holds now, or is damaged"
            )
            raise SecretUnavailableError(message) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self._text == other._text and self._key == other._key

    def __hash__(self) -> int:
        return hash((Sealed, self._text))


def new_key() -> str:
    """Make a key, 44 characters of URL-safe base64.

    Raises:
        StoreError: the extra is missing.
    """
    try:
        from cryptography.fernet import Fernet  # noqa: PLC0415 -- an extra, and slow to import
    except ImportError:
        raise StoreError(_NEEDS) from None
    return Fernet.generate_key().decode()


def check_key(key: Secret | None) -> None:
    """Refuse a key that was given as itself: whoever reads the configuration would read all.

    Raises:
        LiteralSecretError: it was.
    """
    if key is not None and key.reference is None:
        message = f"the store's key is not written down; give a reference: {REFERENCE_FORMS}"
        raise LiteralSecretError(message)


def seal(secret: Secret, key: Secret | None) -> Sealed:
    """Seal a secret with the newest key; what this key sealed already stays as it is.

    Raises:
        StoreError: there is no key, or the secret or the key cannot be read.
    """
    if isinstance(secret, Sealed) and secret.key == key:
        return secret
    return reseal(secret, key)


def reseal(secret: Secret, key: Secret | None) -> Sealed:
    """Seal with the newest key again, whatever key it was sealed with, so that older ones can go.

    Raises:
        StoreError: there is no key, or the secret or the key cannot be read.
    """
    if key is None:
        message = f"a secret is not stored in plain text: give it by reference, or {GET_A_KEY}"
        raise StoreError(message)
    try:
        token = _fernet(key).encrypt(secret.reveal().encode())
    except SecretUnavailableError as error:
        message = f"a secret cannot be sealed: {error}"
        raise StoreError(message) from None
    return Sealed(token.decode(), key)


_NEEDS: Final = "sealing needs the package cryptography (pip install 'hostspec[store]')"


def _named(key: Secret | None) -> str:
    return key.masked() if key else "nothing"


def _fernet(key: Secret | None) -> MultiFernet:
    if key is None:
        message = "it is sealed, and there is no key: give as [store] key the one that sealed it"
        raise SecretUnavailableError(message)
    try:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 -- as above
    except ImportError:
        raise SecretUnavailableError(_NEEDS) from None
    try:
        texts = key.reveal().replace(",", " ").split() or [""]
    except SecretUnavailableError as error:
        message = f"the store's key cannot be read: {error}"
        raise SecretUnavailableError(message) from None
    fernets = []
    for number, text in enumerate(texts, 1):
        try:
            fernets.append(Fernet(text))
        except ValueError:
            which = f"the key {number} of {len(texts)} in" if len(texts) > 1 else "the key in"
            message = f"{which} {key.masked()} is none; `alerthost new-key` makes one"
            raise SecretUnavailableError(message) from None
    return MultiFernet(fernets)
