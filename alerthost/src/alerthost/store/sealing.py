"""Secrets at rest: sealed with a key from outside, unsealed only where they are revealed.

A seal is bound to a context, which is encrypted with the secret. A token that is moved to
another place, or whose surroundings were changed, has another context and reveals nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from alerthost.store.errors import StoreError
from hostspec.secret import REFERENCE_FORMS, LiteralSecretError, Secret, SecretUnavailableError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

GET_A_KEY: Final = (
    "make a key with `alerthost new-key`, keep it in the environment, a file or the keyring, "
    "and give its reference as [store] key"
)
"""What to do where there is no key, for messages to people."""


class Sealed(Secret):
    """A secret as the store keeps it; it is unsealed at each `reveal`, and not before.

    Two are equal where the same token is unsealed with the same key for the same context: sealing
    a secret twice gives two tokens, and without the key it cannot be seen that they hold the same.

    Args:
        token: what sealing gave.
        key: where the key is; None where there is none, so that it cannot be revealed.
        context: a digest of everything that the token is valid for.
    """

    __slots__ = ("_context", "_key")

    def __init__(self, token: str, key: Secret | None, context: str) -> None:
        super().__init__(token)
        self._key = key
        self._context = context

    @property
    def token(self) -> str:
        """The sealed form, safe to write down."""
        return self._text

    @property
    def key(self) -> Secret | None:
        """Where the key is."""
        return self._key

    @property
    def context(self) -> str:
        """The digest of everything that the token is valid for."""
        return self._context

    @property
    def reference(self) -> None:
        """None: it is given by no reference."""
        return

    def reveal(self) -> str:
        """Unseal the secret now.

        Raises:
            SecretUnavailableError: the key is missing, unreadable, malformed, or another; or
                the secret was sealed for another context.
        """
        context, secret = self.open()
        if context is None:
            message = (
                "it was sealed by an older version, which did not bind it to its installation; "
                "compare the settings with those entered, and run `alerthost reseal`"
            )
            raise SecretUnavailableError(message)
        if context != self._context:
            message = (
                "another program changed the installation in the database after the secret was "
                "sealed, so it is not used; correct the settings, and enter the secret again"
            )
            raise SecretUnavailableError(message)
        return secret

    def reveal_any_version(self) -> str:
        """Unseal the secret like `reveal`, also where an older version sealed it for no context.

        Raises:
            SecretUnavailableError: as in `reveal`.
        """
        context, secret = self.open()
        return secret if context is None else self.reveal()

    def open(self) -> tuple[str | None, str]:
        """Return the context that the secret was sealed for, None for none, and the secret.

        Raises:
            SecretUnavailableError: the key is missing, unreadable, malformed, or another.
        """
        fernet = _fernet(self._key)
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 -- slow to import

        try:
            text = fernet.decrypt(self._text.encode()).decode()
        except InvalidToken:
            message = (
                f"it was sealed with another key than {_named(self._key)} holds now, or is damaged"
            )
            raise SecretUnavailableError(message) from None
        if not text.startswith(_BOUND):
            return None, text
        context, _, secret = text.removeprefix(_BOUND).partition("\n")
        return context, secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((Sealed, self._text))

    def _parts(self) -> tuple[str, Secret | None, str]:
        return self._text, self._key, self._context


def new_key() -> str:
    """Create a key: 44 characters of URL-safe base64."""
    from cryptography.fernet import Fernet  # noqa: PLC0415 -- slow to import

    return Fernet.generate_key().decode()


def check_key(key: Secret | None) -> None:
    """Refuse a key that was given as itself: whoever reads the configuration would read all.

    Raises:
        LiteralSecretError: it was.
    """
    if key is not None and key.reference is None:
        message = f"the store's key is not written down; give a reference: {REFERENCE_FORMS}"
        raise LiteralSecretError(message)


def seal(secret: Secret, key: Secret | None, context: str) -> Sealed:
    """Seal a secret for a context with the newest key; a seal of this key for it stays as it is.

    Raises:
        StoreError: there is no key, or the secret or the key cannot be read.
    """
    if isinstance(secret, Sealed) and (secret.key, secret.context) == (key, context):
        return secret
    return _seal(secret.reveal, key, context)


def is_sealed_for(token: str, key: Secret | None, context: str) -> bool:
    """Check whether a token was sealed with a key for a context.

    Raises:
        SecretUnavailableError: the key is missing, unreadable or malformed.
    """
    _fernet(key)
    try:
        return Sealed(token, key, context).open()[0] == context
    except SecretUnavailableError:
        return False


def reseal(sealed: Sealed, key: Secret | None) -> Sealed:
    """Seal with the newest key again, whatever key it was sealed with, so that older ones can go.

    Raises:
        StoreError: there is no key, or the secret or the key cannot be read.
    """
    return _seal(sealed.reveal_any_version, key, sealed.context)


def _seal(reveal: Callable[[], str], key: Secret | None, context: str) -> Sealed:
    if key is None:
        message = f"a secret is not stored in plain text: give it by reference, or {GET_A_KEY}"
        raise StoreError(message)
    try:
        text = f"{_BOUND}{context}\n{reveal()}"
        token = _fernet(key).encrypt(text.encode())
    except SecretUnavailableError as error:
        message = f"a secret cannot be sealed: {error}"
        raise StoreError(message) from None
    return Sealed(token.decode(), key, context)


_BOUND: Final = "hostspec seal 2\n"
"""How a sealed text begins that names its context; older versions sealed the secret alone."""


def _named(key: Secret | None) -> str:
    return key.masked() if key else "nothing"


def _fernet(key: Secret | None) -> MultiFernet:
    if key is None:
        message = "it is sealed, and there is no key: give as [store] key the one that sealed it"
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
            which = f"the key {number} of {len(texts)} in" if len(texts) > 1 else "the key in"
            message = f"{which} {key.masked()} is none; `alerthost new-key` makes one"
            raise SecretUnavailableError(message) from None
    return MultiFernet(fernets)
