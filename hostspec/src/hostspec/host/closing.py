"""What a person decides about deliveries and incidents, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostspec.host.following import Followed, Following
from hostspec.host.screen import Screen, printable
from hostspec.host.work import Work

if TYPE_CHECKING:
    from hostspec.delivery.desk import Case, Desk


def given_up(desk: Desk) -> Sequence[int]:
    """Give the deliveries that were given up and may be sent again, the oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    from hostspec.delivery.desk import GIVEN_UP  # noqa: PLC0415 -- as heavy as the engine
    from hostspec.delivery.verdict import DeliveryState  # noqa: PLC0415 -- likewise

    states = [each for each in GIVEN_UP if each is not DeliveryState.UNCERTAIN]
    return desk.numbers(states)


def replay(desk: Desk, number: int, following: Following, *, as_is: bool) -> None:
    """Replay a delivery, and follow what comes of it.

    Raises:
        StoreError: the store cannot be written.
    """
    from hostspec.delivery.desk import DeskError  # noqa: PLC0415 -- as heavy as the engine

    place = f"delivery {number}"
    try:
        alert = desk.delivery(number).delivery.alert
        statement_id = desk.replay(number, as_is=as_is)
    except DeskError as error:
        following.refuse(str(error))
        return
    if statement_id is None:
        following.add(Followed.idle(place, alert.key, "its problem is over"))
    else:
        following.add(Followed.decided(place, alert.key, statement_id))


def drop(desk: Desk, number: int) -> str:
    """Give a delivery up for good; say why not, or nothing.

    Raises:
        StoreError: the store cannot be written.
    """
    from hostspec.delivery.desk import DeskError  # noqa: PLC0415 -- as heavy as the engine

    try:
        desk.drop(number)
    except DeskError as error:
        return str(error)
    return ""


def discard(desk: Desk, submission_id: str, screen: Screen) -> bool:
    """Discard a failed or dead submission; return whether that could be done.

    Raises:
        StoreError: the store cannot be written.
    """
    from hostspec.delivery.desk import DeskError  # noqa: PLC0415 -- as heavy as the engine

    try:
        before = desk.discard(submission_id)
    except DeskError as error:
        screen.complain(printable(str(error)))
        return False
    screen.say(f"discarded the submission {submission_id}, which was {before}", "green")
    return True


def incidents_of(desk: Desk, account: str | None, most: int) -> Sequence[Case]:
    """Give the incidents that are open or stranded, the oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    if not desk.exists:
        return ()
    found = [
        *desk.incidents(installation=account, most=most),
        *desk.incidents(stranded=True, installation=account, most=most),
    ]
    return sorted(found, key=lambda case: case.id)


def forget(desk: Desk, number: int, screen: Screen) -> bool:
    """Forget an incident here; say whether it was there.

    Raises:
        StoreError: the store cannot be written.
    """
    from hostspec.delivery.desk import DeskError  # noqa: PLC0415 -- as heavy as the engine

    try:
        desk.forget(number)
    except DeskError as error:
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
        _resolve(begun.engine.desk, number, following)
    begun.wait(following, timeout)
    begun.finish(following)
    return following


def _resolve(desk: Desk, number: int, following: Following) -> None:
    from hostspec.delivery.desk import DeskError  # noqa: PLC0415 -- as heavy as the engine

    place = f"incident {number}"
    try:
        statement_id = desk.resolve(number)
    except DeskError as error:
        following.refuse(str(error))
        return
    if statement_id is None:
        following.add(Followed.idle(place, place, "forgotten here; its provider takes no resolve"))
    else:
        following.add(Followed.decided(place, place, statement_id))
