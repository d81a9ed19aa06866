"""
Input of VASP as in the CrysTens paper.

The class here extends one of atomate2, so this module needs the extra ``vasp``: import it where it
is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pymatgen.core import Structure

from crystens_flows.errors import import_extra

import_extra("atomate2.vasp.sets.base", "vasp", "making input of VASP")

from atomate2.vasp.sets.base import VaspInputGenerator  # noqa: E402 - after the check above
from pymatgen.io.vasp import Incar, Kpoints, VaspInput  # noqa: E402

PAPER_INCAR = {
    "GGA": "PS",  # PBE for solids
    "ENCUT": 400.0,
    "EDIFFG": 1e-5,  # positive: it ends when the energy changes by less than this many eV
    "IBRION": 2,  # conjugate gradients
    "ISIF": 3,  # sites and cell
    "ISMEAR": 0,
    "SIGMA": 0.1,
}
"""The tags that the paper states, and ISIF and ISMEAR, which follow from what it describes."""

KPOINTS = (3, 3, 3)
"""The paper's mesh, for every cell."""

MAX_IONIC_STEPS = 99
"""The value in atomate2's own relaxations."""

ELECTRONIC_CONVERGENCE = 1e-5
"""As the ionic loop's: energies must be that good for a change of 1e-5 eV to mean something."""


def _config() -> dict[str, Any]:
    # atomate2's labels of potentials, without its tags
    labels = VaspInputGenerator().config_dict["POTCAR"]
    return {"INCAR": {}, "KPOINTS": {}, "POTCAR": dict(labels), "POTCAR_FUNCTIONAL": "PBE_54"}


@dataclass
class PaperRelaxSetGenerator(VaspInputGenerator):
    """
    Generator of the paper's input for one relaxation, and of nothing beside it.

    INCAR has :data:`PAPER_INCAR`, EDIFF and NSW, whatever the structure and whatever a previous
    calculation found: no tag is inherited, and none is added for magnetism, d or f electrons, or a
    band gap. KPOINTS is a mesh of 3 x 3 x 3 for every cell. Sites are sorted by electronegativity,
    so that each element has one POTCAR. The tags that the paper does not state and that are not
    here have VASP's defaults.

    ``user_incar_settings``, ``user_kpoints_settings`` and ``user_potcar_settings``, and with them
    atomate2's powerups, take precedence; a tag set to None is left out. Tags that a machine needs,
    such as NCORE, can also stand in atomate2's setting ``VASP_INCAR_UPDATES``, which atomate2
    applies to all that it writes.

    Parameters
    ----------
    max_ionic_steps
        NSW, which the paper does not state. By default 99, that of atomate2's relaxations; a
        relaxation that takes more is marked as not converged, and the next goes on from it.
    electronic_convergence
        EDIFF in eV, which the paper does not state. By default 1e-5: with VASP's own 1e-4 the
        energies would be less exact than the change of 1e-5 eV that ends the ionic loop.
    centring
        Of the mesh, which the paper does not state: ``"gamma"`` (the default), as VASP recommends
        for all lattices and requires for hexagonal ones, or ``"monkhorst-pack"``. With three
        divisions, an odd number, both contain Gamma and are the same points.
    config_dict
        Labels and functional of the POTCARs; of the POTCARs the paper states no more than that they
        are PAW potentials. By default PBE_54 with the labels that atomate2 uses for PBEsol.
    """

    max_ionic_steps: int = MAX_IONIC_STEPS
    electronic_convergence: float = ELECTRONIC_CONVERGENCE
    centring: Literal["gamma", "monkhorst-pack"] = "gamma"
    config_dict: dict[str, Any] = field(default_factory=_config)
    auto_ismear: bool = False
    auto_metal_kpoints: bool = False
    inherit_incar: bool | list[str] = False

    def get_input_set(
        self,
        structure: Structure | None = None,
        prev_dir: str | Path | None = None,
        potcar_spec: bool = False,
    ) -> VaspInput:
        """
        Make the input.

        Parameters
        ----------
        structure
            The structure; by default the last one of ``prev_dir``.
        prev_dir
            Folder of a previous calculation. Nothing but the structure is taken from it.
        potcar_spec
            Whether to give the labels of the POTCARs instead of the POTCARs.

        Returns
        -------
        VaspInput
            The input, with sorted sites.
        """
        if structure is not None:
            # atomate2 0.1.5 declares the field `structure` anew, and so hides the property of
            # pymatgen that would sort
            structure = structure.get_sorted_structure()
        return super().get_input_set(structure, prev_dir=prev_dir, potcar_spec=potcar_spec)

    @property
    def incar_updates(self) -> dict[str, Any]:
        """The paper's tags; they come after all automatic ones and before the user's."""
        return {
            **PAPER_INCAR,
            "EDIFF": self.electronic_convergence,
            "NSW": self.max_ionic_steps,
        }

    @property
    def incar(self) -> Incar:
        """The INCAR."""
        given = {*self.incar_updates, *self.user_incar_settings, *self._config_dict["INCAR"]}
        # pymatgen adds LMAXMIX for d and f electrons
        return Incar({tag: value for tag, value in super().incar.items() if tag in given})

    @property
    def kpoints_updates(self) -> Kpoints:  # type: ignore[override]  # or a dict
        """The mesh, which holds where the user has not given another."""
        if self.centring == "gamma":
            return Kpoints.gamma_automatic(KPOINTS)
        return Kpoints.monkhorst_automatic(KPOINTS)
