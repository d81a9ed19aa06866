"""Writers of OUTCAR, OSZICAR, XDATCAR, CONTCAR, CHGCAR, with what pymatgen and custodian want."""

from __future__ import annotations

from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from crystens_flows.testing.electrons import Electrons, IonicStep
from crystens_flows.testing.inputs import Inputs
from crystens_flows.testing.version import STAND_IN_VERSION

MARK = f"vasp.{STAND_IN_VERSION}: a stand-in of crystens_flows, not VASP, and no result of DFT"
"""First line of OUTCAR and of what is printed."""

_RULE = " " + "-" * 83 + "\n"


class OutcarWriter:
    """
    Writes OUTCAR.

    Parameters
    ----------
    stream
        The file.
    inputs
        What was read.
    electrons
        The placeholders of the electronic structure.
    parameters
        All tags with the values used.
    """

    def __init__(
        self, stream: TextIO, inputs: Inputs, electrons: Electrons, parameters: dict[str, str]
    ) -> None:
        self._stream = stream
        self._electrons = electrons
        self._n_electrons = inputs.n_electrons
        n_kpoints = len(electrons.kpoints)
        write = stream.write
        write(f" {MARK}\n running on    1 total cores\n")
        for potential in inputs.potentials:
            write(f"   TITEL  = {potential.title}\n")
        write(f"   k-points           NKPTS = {n_kpoints:6d}   number of bands    NBANDS=")
        write(f" {len(electrons.energies):6d}\n   total plane-waves  NPLWV = {0:6d}\n")
        for tag in ("ISPIN", "IBRION", "ISIF", "NSW"):
            write(f"   {tag:6s} = {parameters[tag]:>6s}\n")
        write(f"   NELECT = {inputs.n_electrons:12.4f}    total number of electrons\n")

    def step(self, step: IonicStep) -> None:
        """
        Write one ionic step.

        Parameters
        ----------
        step
            The step.
        """
        write, stress, energies = self._stream.write, step.stress, step.electronic
        for number in range(1, len(energies) + 1):
            write(f"{'-' * 40} Iteration {step.number:6d}({number:4d})  {'-' * 39}\n")
        write(f"{'-' * 24} aborting loop because EDIFF is reached {'-' * 40}\n")
        write(f" E-fermi : {self._electrons.fermi_energy:8.4f}     XC(G=0):  0.0000\n")
        write(f" number of electron {self._n_electrons:14.7f} magnetization        0.0000000\n")
        components = stress.ravel()[[0, 4, 8, 1, 5, 2]]
        write("  in kB " + " ".join(f"{x:11.5f}" for x in components) + "\n")
        pressure = np.trace(stress) / 3
        write(f"  external pressure = {pressure:11.2f} kB  Pullay stress =        0.00 kB\n")
        write(f"  volume of cell : {step.atoms.get_volume():11.2f}\n")
        write(" POSITION                                       TOTAL-FORCE (eV/Angst)\n" + _RULE)
        for position, force in zip(step.atoms.positions, step.forces, strict=True):
            write("".join(f"{x:13.5f}" for x in position) + "    ")
            write("".join(f"{x:14.6f}" for x in force) + "\n")
        drift = "".join(f"{x:13.6f}" for x in step.forces.sum(axis=0))
        write(f"{_RULE}    total drift: {drift}\n")
        last = energies[-1]
        write(f"  free  energy   TOTEN  = {last['e_fr_energy']:18.8f} eV\n\n")
        write(f"  energy  without entropy= {last['e_wo_entrp']:18.8f}  ")
        write(f"energy(sigma->0) = {last['e_0_energy']:18.8f}\n\n")
        self._stream.flush()

    def finish(self, seconds: float, *, converged: bool) -> None:
        """
        Write the end.

        Parameters
        ----------
        seconds
            Time that it took.
        converged
            Whether the relaxation converged.
        """
        if converged:
            self._stream.write(" reached required accuracy - stopping structural energy")
            self._stream.write(" minimisation\n")
        self._stream.write(
            "\n General timing and accounting informations for this job:\n"
            f" {'=' * 56}\n\n                  Total CPU time used (sec): {seconds:12.3f}\n"
            f"                            User time (sec): {seconds:12.3f}\n"
            "                          System time (sec):        0.000\n"
            f"                         Elapsed time (sec): {seconds:12.3f}\n\n"
            "                   Maximum memory used (kb):           0.\n"
            "                   Average memory used (kb):          N/A\n"
        )


OSZICAR_TITLE = (
    "       N       E                     dE             d eps       ncg     rms          rms(c)\n"
)


def oszicar_step(step: IonicStep) -> str:
    """
    Return the lines of one ionic step in OSZICAR.

    Parameters
    ----------
    step
        The step.

    Returns
    -------
    str
        Its electronic steps and its energies.
    """
    lines, before = "", 0.0
    for number, energies in enumerate(step.electronic, start=1):
        energy = energies["e_fr_energy"]
        change = energy - before
        lines += f"DAV: {number:3d} {energy:20.12E} {change:13.5E} {change:13.5E}  100   1.0E-03\n"
        before = energy
    return lines + ionic_line(step)


def ionic_line(step: IonicStep) -> str:
    """
    Return the line that VASP prints for an ionic step.

    Parameters
    ----------
    step
        The step.

    Returns
    -------
    str
        Free energy, energy extrapolated to zero smearing, and the change.
    """
    last = step.electronic[-1]
    return (
        f"{step.number:4d} F= {last['e_fr_energy']:.8E} E0= {last['e_0_energy']:.8E}  "
        f"d E ={step.change:.6E}\n"
    )


def xdatcar_step(step: IonicStep, inputs: Inputs) -> str:
    """
    Return the configuration of one ionic step in XDATCAR.

    Parameters
    ----------
    step
        The step.
    inputs
        What was read.

    Returns
    -------
    str
        Cell and coordinates.
    """
    head = _head(step.atoms.cell[:], inputs)
    return f"{head}Direct configuration= {step.number:6d}\n{_coordinates(step.atoms)}"


def contcar(atoms: Any, inputs: Inputs) -> str:
    """
    Return the text of CONTCAR.

    Parameters
    ----------
    atoms
        The structure.
    inputs
        What was read.

    Returns
    -------
    str
        The structure to all digits.
    """
    return f"{_head(atoms.cell[:], inputs)}Direct\n{_coordinates(atoms)}"


def chgcar(atoms: Any, inputs: Inputs, n_spins: int) -> str:
    """
    Return the text of CHGCAR: the valence electrons evenly spread, without magnetisation.

    Parameters
    ----------
    atoms
        The structure.
    inputs
        What was read.
    n_spins
        1 or 2.

    Returns
    -------
    str
        Density times volume on a grid of 2 x 2 x 2 points; a placeholder.
    """
    grids = ""
    for value in (inputs.n_electrons, 0.0)[:n_spins]:
        words = [f" {value:.11E}"] * 8
        grids += "    2    2    2\n" + "".join(words[:5]) + "\n" + "".join(words[5:]) + "\n"
    return f"{contcar(atoms, inputs)}\n{grids}"


def _head(cell: NDArray[np.float64], inputs: Inputs) -> str:
    lattice = "".join("".join(f" {x:21.16f}" for x in row) + "\n" for row in cell)
    symbols = " ".join(symbol for symbol, _ in inputs.species)
    numbers = " ".join(str(n) for _, n in inputs.species)
    return f"{inputs.comment}\n 1.0\n{lattice}{symbols}\n{numbers}\n"


def _coordinates(atoms: Any) -> str:
    rows = atoms.get_scaled_positions(wrap=False)
    return "".join("".join(f" {x:19.16f}" for x in row) + "\n" for row in rows)
