"""What a person decides about deliveries and incidents, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alerthost.cli.progress import Followed, Following
from alerthost.cli.screen import Screen, printable
from alerthost.cli.session import Work

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import IncidentRow


def given_up(admin: Admin) -> Sequence[int]:
    """Return the deliveries that were given up and may be sent again, the oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    from alerthost.outbox.admin_rows import GIVEN_UP  # noqa: PLC0415 -- as heavy as the engine
    from alerthost.outbox.retry_policy import DeliveryState  # noqa: PLC0415 -- likewise

    states = [each for each in GIVEN_UP if each is not DeliveryState.UNCERTAIN]
    return admin.numbers(states)


def replay(admin: Admin, number: int, following: Following, *, as_is: bool) -> None:
    """Replay a delivery, and follow what comes of it.

    Raises:
        StoreError: the store cannot be written.
    """
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- as heavy as the engine

    place = f"delivery {number}"
    try:
        alert = admin.delivery(number).delivery.alert
        submission_id = admin.replay(number, as_is=as_is)
    except AdminError as error:
        following.refuse(str(error))
        return
    if submission_id is None:
        following.add(Followed.idle(place, alert.key, "its problem is over"))
    else:
        following.add(Followed.decided(place, alert.key, submission_id))


def discard_delivery(admin: Admin, number: int) -> str:
    """Discard a delivery; return why that is impossible, or nothing.

    Raises:
        StoreError: the store cannot be written.
    """
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- as heavy as the engine

    try:
        admin.discard_delivery(number)
    except AdminError as error:
        return str(error)
    return ""


def discard_submission(admin: Admin, submission_id: str, screen: Screen) -> bool:
    """Discard a failed or dead submission; return whether that could be done.

    Raises:
        StoreError: the store cannot be written.
    """
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- as heavy as the engine

    try:
        before = admin.discard_submission(submission_id)
    except AdminError as error:
        screen.complain(printable(str(error)))
        return False
    screen.say(f"discarded the submission {submission_id}, which was {before}", "green")
    return True


def incidents_of(admin: Admin, account: str | None, most: int) -> Sequence[IncidentRow]:
    """Return the incidents that are open or orphaned, the oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    if not admin.exists:
        return ()
    found = [
        *admin.incidents(installation=account, most=most),
        *admin.incidents(orphaned=True, installation=account, most=most),
    ]
    return sorted(found, key=lambda case: case.id)


def forget(admin: Admin, number: int, screen: Screen) -> bool:
    """Forget an incident here; say whether it was there.

    Raises:
        StoreError: the store cannot be written.
    """
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- as heavy as the engine

    try:
        admin.forget(number)
    except AdminError as error:
        screen.complain(printable(str(error)))
        return False
    screen.say(f"forgot incident {number} here", "green")
    return True


def resolve(begun: Work, numbers: Sequence[int], timeout: float) -> Following:
    """Resolve incidents by hand, and wait until their provider knows; shows each.

    Raises:
        StoreError: the store cannot be used.
    """
    following = begun.following()
    for number in numbers:
        _resolve(begun.engine.admin, number, following)
    begun.wait(following, timeout)
    begun.finish(following)
    return following


def _resolve(admin: Admin, number: int, following: Following) -> None:
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- as heavy as the engine

    place = f"incident {number}"
    try:
        submission_id = admin.resolve(number)
    except AdminError as error:
        following.refuse(str(error))
        return
    if submission_id is None:
        following.add(Followed.idle(place, place, "forgotten here; its provider takes no resolve"))
    else:
        following.add(Followed.decided(place, place, submission_id))
