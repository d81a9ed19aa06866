"""What one relaxation found, read from the task document of atomate2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.msonable import structure_from_dict
from crystens_flows.relaxation.vasp_documents import (
    corrections_of,
    free_and_zero_sigma,
    get,
    starts_as_given,
    tell,
    vasp_method,
)

STAND_IN_MARK = "standin"
"""What the version of the stand-in for VASP contains."""


@dataclass(frozen=True)
class RelaxStep:
    """
    What one relaxation found.

    Parameters
    ----------
    structure
        The relaxed structure.
    initial_energy
        Free energy of the first ionic step, eV a cell; None where it was not kept.
    energy
        Free energy of the last ionic step, eV a cell.
    initial_energy_zero_sigma, energy_zero_sigma
        The same, extrapolated to zero smearing; None without electrons.
    stress
        Stress tensor after the last ionic step, kbar, positive = compressed.
    converged
        Whether the ionic loop converged, for VASP the electronic one too.
    engine
        What relaxed, e.g. "CHGNet" or "VASP 6.4.2".
    dir_name
        Folder of the calculation.
    n_ionic_steps
        Ionic steps made.
    corrections
        What error handlers changed, in order.
    method
        Functional, cutoff, k-points, pseudopotentials, where the document says them.
    stand_in
        Whether a stand-in for VASP computed it.
    failure
        Why it ended before its time, where the document says it.
    """

    structure: Structure | None
    initial_energy: float | None
    energy: float | None
    stress: list[list[float]] | None
    converged: bool | None
    engine: str | None
    dir_name: str | None
    initial_energy_zero_sigma: float | None = None
    energy_zero_sigma: float | None = None
    n_ionic_steps: int | None = None
    corrections: list[str] = field(default_factory=list)
    method: dict[str, Any] = field(default_factory=dict)
    stand_in: bool = False
    failure: str | None = None

    @property
    def pressure(self) -> float | None:
        """External pressure, a third of the trace of the stress: kbar, positive = compressed."""
        return None if self.stress is None else float(np.trace(self.stress)) / 3

    @property
    def diverged(self) -> str | None:
        """What ended it, is missing or not finite; None for a sound result."""
        if self.failure is not None:
            return self.failure
        if self.energy is None or not np.isfinite(self.energy):
            return f"energy is {self.energy}"
        if self.structure is None:
            return "there is no structure"
        if not (
            np.isfinite(self.structure.lattice.matrix).all()
            and np.isfinite(self.structure.frac_coords).all()
        ):
            return "structure is not finite"
        return None


def read_step(document: Any) -> RelaxStep:
    """
    Read a task document of atomate2: of VASP, of a force field or of another ASE calculator.

    VASP's energies are free energies (``e_fr_energy``), the quantity in the paper's figure 13 and
    the one that its forces and stresses are derivatives of. Where custodian repeated the
    calculation and changed more than the INCAR, the first ionic step is not known to be that of the
    structure given, and the initial energies are None. Ionic steps of runs that custodian broke off
    are not counted, as they are in no document.

    Parameters
    ----------
    document
        The task document, as object or as dictionary.

    Returns
    -------
    RelaxStep
        With None for what the document does not hold.

    Raises
    ------
    InputError
        If it is no task document of a relaxation.
    """
    if get(document, "calcs_reversed") is not None:
        return _read_vasp(document)
    if get(document, "output", "energy") is not None or get(document, "reason") is not None:
        return _read_ase(document)
    raise InputError(
        f"cannot read a relaxation from {type(document).__name__}: the relax makers must return "
        "task documents of VASP or of an ASE calculator, as atomate2's do"
    )


def _read_vasp(document: Any) -> RelaxStep:
    runs = get(document, "calcs_reversed")
    corrections = corrections_of(document)
    first = None
    if all(map(starts_as_given, corrections)):
        first = get(runs, -1, "output", "ionic_steps", 0)
    last = get(runs, 0, "output", "ionic_steps", -1)
    initial_energy, initial_energy_zero_sigma = free_and_zero_sigma(first)
    energy, energy_zero_sigma = free_and_zero_sigma(last)
    stress = get(document, "output", "stress")
    version = str(get(runs, 0, "vasp_version") or "")
    return RelaxStep(
        structure=_structure(get(document, "structure")),
        initial_energy=initial_energy,
        energy=energy,
        initial_energy_zero_sigma=initial_energy_zero_sigma,
        energy_zero_sigma=energy_zero_sigma,
        stress=_stress(stress if stress is not None else get(last, "stress")),
        converged=_converged(document),
        engine=f"VASP {version}".strip(),
        dir_name=get(document, "dir_name"),
        n_ionic_steps=sum(len(get(run, "output", "ionic_steps") or ()) for run in runs) or None,
        corrections=[tell(correction) for correction in corrections],
        method=vasp_method(document),
        stand_in=STAND_IN_MARK in version,
    )


def _read_ase(document: Any) -> RelaxStep:
    name = get(document, "forcefield_name") or get(document, "ase_calculator_name")
    first = ("output", "ionic_steps", 0)
    return RelaxStep(
        structure=_structure(get(document, "structure")),
        initial_energy=get(document, *first, "energy"),
        energy=get(document, "output", "energy"),
        initial_energy_zero_sigma=get(document, *first, "energy_zero_sigma"),
        energy_zero_sigma=get(document, "output", "energy_zero_sigma"),
        stress=_stress(get(document, "output", "stress")),
        converged=_converged(document),
        engine=name.removeprefix("MLFF.") if name else None,
        dir_name=get(document, "dir_name"),
        n_ionic_steps=get(document, "output", "n_steps"),
        method=get(document, "method") or {},
        failure=get(document, "reason"),
    )


def _stress(value: Any) -> list[list[float]] | None:
    """Return the tensor as lists; all documents have it in kbar with VASP's sign."""
    tensor = np.asarray(value, dtype=float)
    return tensor.tolist() if tensor.shape == (3, 3) and np.isfinite(tensor).all() else None


def _converged(document: Any) -> bool | None:
    state = get(document, "state")
    return None if state is None else getattr(state, "value", state) == "successful"


def _structure(value: Any) -> Structure | None:
    return structure_from_dict(value) if isinstance(value, dict) else value
