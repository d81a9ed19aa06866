"""Formation energy and energy above hull of a static calculation, where they can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crystens_flows.errors import CrystensError
from crystens_flows.relaxation.mp_entries import (
    Elements,
    NotComparableError,
    elements_of,
    read_entries,
    shipped_elements,
)
from crystens_flows.relaxation.vasp_entry import corrected_entry
from crystens_flows.schemas import RelaxDocument

if TYPE_CHECKING:
    from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry

NO_HULL = (
    "no entries given to make a hull of: give hull_entries, a file of the Materials Project's "
    "ComputedEntries of thermo type GGA_GGA+U, or 'mp' to download them; in the hull that ships, "
    "some chemical systems have energies of r2SCAN"
)


def compare(
    summary: RelaxDocument, static: Any = None, entries: str | None = None, *, made: bool = True
) -> RelaxDocument:
    """
    Add formation energy and energy above hull to the document of four relaxations.

    Parameters
    ----------
    summary
        The document.
    static
        Task document of the static calculation of the last structure; None where there is none.
    entries
        See :func:`judge`.
    made
        Whether a static calculation was to be made.

    Returns
    -------
    RelaxDocument
        The document with both energies, or with the reasons why not in ``hull``.
    """
    if summary.completed_steps < len(summary.converged):
        found: dict[str, Any] = {"hull": {"reason": "the relaxation did not finish"}}
    elif summary.stand_in:
        found = {"hull": {"reason": "a stand-in for VASP computed this"}}
    elif not made:
        what = summary.method.get("functional")
        engine = f"{summary.engine or 'this engine'}{f' with {what}' if what else ''}"
        found = {
            "hull": {
                "reason": f"{engine}: no static calculation with the Materials Project's settings"
            }
        }
    elif static is None:
        found = {"hull": {"reason": "the static calculation failed"}}
    else:
        found = judge(static, entries)
    return summary.model_copy(update=found)


def judge(static: Any, entries: str | None = None) -> dict[str, Any]:
    """
    Return formation energy and energy above hull of a static calculation.

    Parameters
    ----------
    static
        Task document of atomate2, of MPGGAStaticMaker or one that equals it.
    entries
        Known compounds and elements: a JSON file of pymatgen's ComputedEntries, also as ``*.gz``;
        ``"mp"`` to download those of the Materials Project, of thermo type ``GGA_GGA+U``; by
        default none, and then there is a formation energy alone, from the elements that ship.

    Returns
    -------
    dict
        ``formation_energy_per_atom`` and ``energy_above_hull``, eV/atom, None where there are
        none; ``hull`` with what they were counted from, or the reason.
    """
    result: dict[str, Any] = {"formation_energy_per_atom": None, "energy_above_hull": None}
    try:
        entry = corrected_entry(static)
        known = [] if entries is None else read_entries(entries, entry.composition)
        elements = shipped_elements() if entries is None else elements_of(known, entries)
        energy = _formation_energy(entry, elements)
    except CrystensError as exc:
        return {**result, "hull": {"reason": str(exc)}}
    result["formation_energy_per_atom"] = energy
    hull: dict[str, Any] = {
        "elements": elements.name,
        "corrections": {each.name: round(each.value, 6) for each in entry.energy_adjustments},
    }
    try:
        hull |= {"reason": NO_HULL} if entries is None else _above_hull(entry, energy, known)
    except CrystensError as exc:
        hull["reason"] = str(exc)
    result["energy_above_hull"] = hull.pop("energy_above_hull", None)
    return {**result, "hull": hull}


def _above_hull(
    entry: ComputedStructureEntry, formation_energy: float, known: list[ComputedEntry]
) -> dict[str, Any]:
    from crystens_flows.screening.hull import HullReference  # lest the two import one another

    reference = HullReference.from_entries(known)
    found = reference.evaluate([entry.composition], [formation_energy])[0]
    if found.reason is not None:
        return {"reason": found.reason}
    return {
        "energy_above_hull": found.energy_above_hull,
        "n_entries": len(known),
        "decomposition": found.decomposition,
        "decomposition_ids": list(found.decomposition_ids),
    }


def _formation_energy(entry: ComputedStructureEntry, elements: Elements) -> float:
    """Return the formation energy, eV/atom, if the elements were computed alike."""
    used = {}
    for each in entry.parameters["potcar_spec"]:
        label_and_date = each["titel"].split(maxsplit=1)[1].strip()
        used[label_and_date.split()[0].split("_")[0].split(".")[0]] = label_and_date
    total = 0.0
    for element, amount in entry.composition.element_composition.items():
        symbol = element.symbol
        if symbol not in elements.energies:
            raise NotComparableError(f"{elements.name}: no energy of the element {symbol}")
        wanted = elements.potcars.get(symbol)
        if wanted is not None and used.get(symbol) != wanted:
            raise NotComparableError(
                f"POTCAR {used.get(symbol)}, but the reference of {symbol} was computed with "
                f"{wanted}"
            )
        total += amount * elements.energies[symbol]
    return float((entry.energy - total) / entry.composition.num_atoms)
