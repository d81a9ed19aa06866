"""A static calculation of VASP as an entry that can be compared with the Materials Project's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pymatgen.core import Structure

from crystens_flows.errors import import_extra
from crystens_flows.relaxation.mp_entries import NotComparableError, corrected
from crystens_flows.relaxation.steps import RelaxStep, read_step
from crystens_flows.relaxation.vasp_documents import get, tags_of

if TYPE_CHECKING:
    from pymatgen.entries.computed_entries import ComputedStructureEntry

TAGS = ("ENCUT", "ISPIN", "LASPH", "PREC")
"""What must be as the Materials Project has it, beside functional, U, POTCARs and k-points."""

_RUN_TYPES = {"PBE": "GGA", "PBE+U": "GGA+U"}
"""emmet tells whether PBE was asked for by name, or VASP took it from the POTCARs."""

_NOT_AS = "not as the Materials Project computes: "


def corrected_entry(static: Any) -> ComputedStructureEntry:
    """
    Make pymatgen's entry of a static calculation, with the Materials Project's corrections of 2020.

    Parameters
    ----------
    static
        Task document of atomate2.

    Returns
    -------
    ComputedStructureEntry
        With the corrections applied.

    Raises
    ------
    NotComparableError
        If it was not computed as the Materials Project computes.
    """
    from pymatgen.entries.compatibility import CompatibilityError
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    if get(static, "calcs_reversed") is None:
        raise NotComparableError("it is no calculation of VASP")
    step = read_step(static)
    structure = _structure_of(step)
    specs = get(static, "calcs_reversed", 0, "input", "potcar_spec") or []
    titles = [get(spec, "titel") for spec in specs]
    if not titles or not all(titles):
        raise NotComparableError("the document does not say which POTCARs were used")
    functional = str(step.method.get("functional"))
    hubbards = step.method.get("hubbard_u") or {}
    entry = ComputedStructureEntry(
        structure,
        get(static, "output", "energy"),
        parameters={
            "run_type": _RUN_TYPES.get(functional, functional),
            "is_hubbard": bool(hubbards),
            "hubbards": hubbards,
            "potcar_spec": [{"titel": title} for title in titles],
        },
    )
    try:
        (result,) = corrected([entry], strict=True)
    except CompatibilityError as exc:
        # the message on U ends with the whole entry
        reason = " ".join(str(exc).split()).split(" for {")[0].removesuffix(" Discarding.")
        raise NotComparableError(_NOT_AS + reason) from exc
    _check_settings(step, tags_of(static))
    return result


def _structure_of(step: RelaxStep) -> Structure:
    """Return the structure of a calculation that has a result."""
    if step.stand_in:
        raise NotComparableError("a stand-in for VASP computed this")
    if step.diverged or step.structure is None:
        raise NotComparableError(f"the static calculation has no result: {step.diverged}")
    if not step.converged:
        raise NotComparableError("the static calculation did not converge")
    return step.structure


def _check_settings(step: RelaxStep, tags: Mapping[str, Any]) -> None:
    makers = import_extra("atomate2.vasp.jobs.mp", "vasp", "comparing with the Materials Project")
    generator = makers.MPGGAStaticMaker().input_set_generator
    wanted = generator.get_input_set(step.structure, potcar_spec=True)
    if int(tags.get("NSW") or 0) > 0:
        raise NotComparableError("it is a relaxation, no static calculation")
    for tag in TAGS:
        theirs, ours = wanted["INCAR"].get(tag), tags.get(tag)
        if not _same(theirs, ours):
            raise NotComparableError(_NOT_AS + f"{tag} = {ours}, expected {theirs}")
    mesh, least = step.method.get("kpoints"), wanted["KPOINTS"].kpts[0]
    if mesh is None or any(n < m for n, m in zip(mesh, least, strict=True)):
        found = "no mesh" if mesh is None else " x ".join(map(str, mesh))
        wanted_mesh = " x ".join(str(int(m)) for m in least)
        raise NotComparableError(_NOT_AS + f"k-points: {found}, expected at least {wanted_mesh}")


def _same(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, str):  # of words, VASP reads the first letter
        return isinstance(ours, str) and theirs[:1].lower() == ours.strip()[:1].lower()
    return ours is not None and float(ours) == float(theirs)
