"""What candidates may be asked for by, as MongoDB filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from pymatgen.core import Composition, Element

from crystens_flows.errors import InputError
from crystens_flows.schemas import CandidateDocument, CandidateStatus

Range = tuple[float | None, float | None]


class Filters(TypedDict, total=False):
    """
    What candidates may be asked for by; those given must all hold.

    Attributes
    ----------
    formula
        Any formula of the composition: ``"Na2Cl2"`` finds NaCl.
    chemsys
        Exactly these elements, in any order: ``"Na-Cl"``.
    elements
        At least these elements.
    status
        One status or several.
    campaign
        Name of the campaign.
    formation_energy_per_atom
        Lowest and highest predicted formation energy, eV/atom; None for no bound.
    energy_above_hull
        Lowest and highest predicted energy above hull, eV/atom; None for no bound.
    energy_per_atom
        Lowest and highest energy after relaxation, eV/atom; None for no bound.
    n_sites
        Lowest and highest number of sites; None for no bound.
    criteria
        Any further MongoDB filter on the document.
    """

    formula: str | None
    chemsys: str | None
    elements: Sequence[str] | None
    status: str | Sequence[str] | None
    campaign: str | None
    formation_energy_per_atom: Range | None
    energy_above_hull: Range | None
    energy_per_atom: Range | None
    n_sites: Range | None
    criteria: dict[str, Any] | None


def filter_criteria(
    *,
    formula: str | None = None,
    chemsys: str | None = None,
    elements: Sequence[str] | None = None,
    status: str | Sequence[str] | None = None,
    campaign: str | None = None,
    formation_energy_per_atom: Range | None = None,
    energy_above_hull: Range | None = None,
    energy_per_atom: Range | None = None,
    n_sites: Range | None = None,
    criteria: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Return the MongoDB filter for these.

    Parameters
    ----------
    formula, chemsys, elements, status, campaign
        See :class:`Filters`.
    formation_energy_per_atom, energy_above_hull, energy_per_atom, n_sites, criteria
        See :class:`Filters`.

    Returns
    -------
    dict
        The filter.

    Raises
    ------
    InputError
        If a value is not one of its kind.
    """
    found: dict[str, Any] = {}
    if formula is not None:
        found["formula"] = _reduced(formula)
    if chemsys is not None:
        found["chemsys"] = "-".join(sorted(_symbols(chemsys.split("-"))))
    if elements:
        found["elements"] = {"$all": _symbols(elements)}
    if status is not None:
        names = [status] if isinstance(status, str) else list(status)
        known = [str(each) for each in CandidateStatus]
        if unknown := [name for name in names if name not in known]:
            raise InputError(f"status {unknown[0]!r} is not one of {', '.join(known)}")
        found["status"] = {"$in": [str(name) for name in names]}
    if campaign is not None:
        found["campaign"] = campaign
    ranges = {
        "formation_energy_per_atom": formation_energy_per_atom,
        "energy_above_hull": energy_above_hull,
        "energy_per_atom": energy_per_atom,
        "n_sites": n_sites,
    }
    for name, bounds in ranges.items():
        if bounds is not None:
            limits = dict(zip(("$gte", "$lte"), bounds, strict=True))
            found[name] = {"$ne": None, **{k: v for k, v in limits.items() if v is not None}}
    if criteria:
        return {"$and": [found, criteria]} if found else dict(criteria)
    return found


def _reduced(formula: str) -> str:
    try:
        return str(Composition(formula, strict=True).reduced_formula)
    except (ValueError, KeyError) as exc:
        raise InputError(f"formula {formula!r} cannot be read: {exc}") from exc


def _symbols(elements: Sequence[str]) -> list[str]:
    if isinstance(elements, str):
        elements = elements.split("-")
    symbols = [symbol.strip() for symbol in elements]
    for symbol in symbols:
        if not Element.is_valid_symbol(symbol):
            raise InputError(f"{symbol!r} is not the symbol of an element")
    return sorted(set(symbols))


def check_field(name: str) -> None:
    """
    Raise if candidates have no such field.

    Parameters
    ----------
    name
        The field, or a path that begins with it: ``"selection.rank"``.

    Raises
    ------
    InputError
        If there is none.
    """
    if name.split(".")[0] not in CandidateDocument.model_fields:
        raise InputError(
            f"candidates have no field {name!r}; known: {', '.join(CandidateDocument.model_fields)}"
        )
