"""Neighbouring elements in place of one that makes a composition impossible."""

from __future__ import annotations

from collections.abc import Iterator

from pymatgen.core import Element, Structure

from crystens_flows.screening.validity import smact_validity

LARGEST_STEP = 2
"""How far from an element its stand-in may be in the periodic table, by atomic number."""


def element_corrections(structure: Structure) -> Iterator[tuple[dict[str, str], Structure]]:
    """
    Replace one element by a neighbour so that charges balance, where they do not.

    A generator that is off by one in the atomic number makes krypton of rubidium. Each element in
    turn is replaced by those up to two atomic numbers away that are not in the structure yet and
    make its composition valid by SMACT.

    Parameters
    ----------
    structure
        An ordered structure.

    Yields
    ------
    dict, Structure
        What was replaced by what, and the structure with it; nothing else is changed. Nothing is
        yielded for compositions that are valid, or of which SMACT cannot say.
    """
    if smact_validity(structure) is not False:
        return
    present = sorted({site.specie.Z for site in structure})
    for z in present:
        for other in range(max(1, z - LARGEST_STEP), z + LARGEST_STEP + 1):
            if other in present or other > Element("Og").Z:
                continue
            old, new = Element.from_Z(z), Element.from_Z(other)
            corrected = structure.copy()
            corrected.remove_oxidation_states()
            corrected.replace_species({old: new})
            if smact_validity(corrected):
                yield {old.symbol: new.symbol}, corrected
