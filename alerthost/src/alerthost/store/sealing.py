"""Seal secrets for the database with a key from outside; unseal them when they are revealed.

A seal is bound to a context, which is encrypted with the secret. A token that was moved to
another row, or whose row was changed, has another context and reveals nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerthost.store.errors import StoreError
from hostspec.secret import REFERENCE_FORMS, LiteralSecretError, Secret, SecretUnavailableError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

GET_A_KEY: Final = (
    "create a key with `alerthost new-key`, keep it in the environment, a file or the keyring, "
    "and set [store] key to its reference"
)
"""The remedy for a missing key, in errors."""


class Sealed(Secret):
    """A secret as stored; each `reveal` unseals it.

    Two are equal if token, key and context are: sealing a secret twice returns two tokens, and
    comparing the secrets would need the key.

    Args:
        key: the reference of the key; None if the store has none, so that `reveal` fails.
        context: a digest of everything that the token is valid for.
    """

    __slots__ = ("context", "key")

    def __init__(self, token: str, key: Secret | None, context: str) -> None:
        super().__init__(token)
        self.key = key
        self.context = context

    @property
    def token(self) -> str:
        """The sealed form, safe to store."""
        return self._text

    @property
    def reference(self) -> None:
        """None: a sealed secret has no reference."""
        return

    def reveal(self) -> str:
        """Unseal the secret.

        Raises:
            SecretUnavailableError: the key is missing, unreadable, malformed or another one, or
                the secret was sealed for another context.
        """
        context, secret = self.open()
        if context != self.context:
            message = (
                "another program changed the installation in the database after the secret was "
                "sealed, so it is not used; correct the settings, and enter the secret again"
            )
            raise SecretUnavailableError(message)
        return secret

    def open(self) -> tuple[str, str]:
        """Return the context that the secret was sealed for, and the secret.

        Raises:
            SecretUnavailableError: the key is missing, unreadable, malformed, or another one.
        """
        fernet = _fernet(self.key)
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 -- slow to import

        try:
            text = fernet.decrypt(self._text.encode()).decode()
        except InvalidToken:
            where = self.key.masked() if self.key else "the store"
            message = f"it was sealed with another key than {where} holds now, or is damaged"
            raise SecretUnavailableError(message) from None
        context, _, secret = text.partition("\n")
        return context, secret

    def __eq__(self, other: object) -> bool:
        mine = self.token, self.key, self.context
        return isinstance(other, Sealed) and mine == (other.token, other.key, other.context)

    def __hash__(self) -> int:
        return hash((Sealed, self._text))


def new_key() -> str:
    """Return a new key: 44 characters of URL-safe base64."""
    from cryptography.fernet import Fernet  # noqa: PLC0415 -- slow to import

    return Fernet.generate_key().decode()


def check_key(key: Secret | None) -> None:
    """Refuse a literal key: a reader of the configuration could unseal every secret.

    Raises:
        LiteralSecretError: the key is not a reference.
    """
    if key is not None and key.reference is None:
        message = f"the store's key must not be a literal; give a reference: {REFERENCE_FORMS}"
        raise LiteralSecretError(message)


def seal(secret: Secret, key: Secret | None, context: str) -> Sealed:
    """Seal a secret for a context with the newest key; return a seal of this key unchanged.

    Raises:
        StoreError: there is no key, or the secret or the key cannot be read.
    """
    if isinstance(secret, Sealed) and (secret.key, secret.context) == (key, context):
        return secret
    return _seal(secret, key, context)


def reseal(sealed: Sealed, key: Secret | None) -> Sealed:
    """Seal a secret again with the newest key, so that older keys can be removed.

    Raises:
        StoreError: there is no key, or the secret or the key cannot be read.
    """
    return _seal(sealed, key, sealed.context)


def is_valid(sealed: Sealed) -> bool:
    """Check whether a seal was made with its key for its context.

    Raises:
        SecretUnavailableError: the key is missing, unreadable or malformed.
    """
    _fernet(sealed.key)
    try:
        return sealed.open()[0] == sealed.context
    except SecretUnavailableError:
        return False


def _seal(secret: Secret, key: Secret | None, context: str) -> Sealed:
    if key is None:
        message = f"secrets are never stored in plain text: give a reference, or {GET_A_KEY}"
        raise StoreError(message)
    try:
        text = f"{context}\n{secret.reveal()}"
        token = _fernet(key).encrypt(text.encode())
    except SecretUnavailableError as error:
        message = f"a secret cannot be sealed: {error}"
        raise StoreError(message) from None
    return Sealed(token.decode(), key, context)


def _fernet(key: Secret | None) -> MultiFernet:
    if key is None:
        message = (
            "it is sealed, and the store has no key: set [store] key to the key that sealed it"
        )
        raise SecretUnavailableError(message)
    from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 -- slow to import

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
            which = f"key {number} of {len(texts)}" if len(texts) > 1 else "the key"
            message = (
                f"{which} in {key.masked()} is not a valid Fernet key; create one with "
                "`alerthost new-key`"
            )
            raise SecretUnavailableError(message) from None
    return MultiFernet(fernets)
