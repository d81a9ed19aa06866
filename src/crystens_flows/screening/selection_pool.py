"""Who of the pool is selected, and the words that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

Place = Literal["taken", "filling", "crowded", "later"]
"""Of the pool: selected by its rank; selected although its chemical system has its share, as the
pool has too few systems; not selected as its system has its share; not selected as others come
first."""

CHOSEN: tuple[Place, ...] = ("taken", "filling")
"""Those that are selected."""


def place_pool(systems: Sequence[str], n_select: int, limit: int | None) -> list[Place]:
    """
    Select from the pool: those that come first, but while there are others so many of a system.

    Parameters
    ----------
    systems
        Chemical systems of the pool, in the order of the ranking.
    n_select
        So many are selected.
    limit
        So many of one chemical system while there are others; None for any number.

    Returns
    -------
    list of Place
        One for each, in the same order.
    """
    of_system: Counter[str] = Counter()
    places: list[Place] = []
    n_taken = 0
    for system in systems:
        if limit is not None and of_system[system] >= limit:
            places.append("crowded")
        elif n_taken < n_select:
            of_system[system] += 1
            n_taken += 1
            places.append("taken")
        else:
            places.append("later")
    # a pool without enough chemical systems is not left unused
    crowded = [i for i, place in enumerate(places) if place == "crowded"]
    for i in crowded[: n_select - n_taken]:
        places[i] = "filling"
    return places


def may_be_selected(systems: Sequence[str], n_select: int, limit: int | None) -> list[int]:
    """
    Find the candidates of a part that can be selected, whatever the other parts hold.

    What is taken from all parts together is taken from its part alone too: of its system, and of
    those taken, no more can stand before it there. What fills up stands among the first `n_select`
    of all, as before it there are only those that are taken and those that fill up, and so it
    stands among the first `n_select` of its part. Both are a rank in a part, which is never later
    than that in the whole; so the pool need not be known.

    Parameters
    ----------
    systems
        Chemical systems of the distinct candidates of the part, in the order of the ranking.
    n_select, limit
        As for :func:`place_pool`.

    Returns
    -------
    list of int
        Their places in the order, at most ``2 * n_select``.
    """
    places = place_pool(systems, n_select, limit)
    return [i for i, place in enumerate(places) if i < n_select or place == "taken"]


def reason_of_place(
    place: Place,
    at: str,
    *,
    system: str,
    holders: Sequence[str],
    n_select: int,
    n_chosen: int,
) -> str:
    """
    Say why a candidate of the pool is selected or not.

    Parameters
    ----------
    place
        From :func:`place_pool`.
    at
        Its rank in words.
    system
        Its chemical system.
    holders
        The selected candidates of that system, those that fill up left out.
    n_select, n_chosen
        How many were to be selected, and how many are.

    Returns
    -------
    str
        The reason.
    """
    if place == "taken":
        return at
    if place == "filling":
        return f"{at}; one more of {system}, as the pool has too few systems"
    if n_select == 0:
        why = "none asked for: n_select is 0"
    elif place == "crowded":
        why = f"chemical system taken: {system} by {', '.join(holders)}"
    else:
        why = f"others come first: {n_chosen} of the pool are selected"
    return f"{why}; {at}"


def outside_the_pool(at: str, n_pool: int) -> str:
    """
    Say that a candidate is not in the pool.

    Parameters
    ----------
    at
        Its rank in words.
    n_pool
        How many are in the pool.

    Returns
    -------
    str
        The reason.
    """
    return f"outside the pool: {at}; the pool is the first {n_pool}"
