"""Writer of ``vasprun.xml``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, TextIO
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from crystens_flows.testing.electrons import Electrons, IonicStep
from crystens_flows.testing.inputs import Inputs
from crystens_flows.testing.kpoints import Mesh
from crystens_flows.testing.version import STAND_IN_VERSION

_LISTS = {"MAGMOM", "ROPT", "LDAUL", "LDAUU", "LDAUJ"}
"""Tags with a value for each atom or element, which are lists where there is one alone, too."""


class VasprunWriter:
    """
    Writes ``vasprun.xml`` as the relaxation goes on: killed, it is left unfinished.

    Parameters
    ----------
    stream
        The file.
    inputs
        What was read.
    electrons
        The placeholders of the electronic structure.
    parameters
        All tags with the values used, defaults included.
    """

    def __init__(
        self, stream: TextIO, inputs: Inputs, electrons: Electrons, parameters: dict[str, str]
    ) -> None:
        self._stream = stream
        self._inputs = inputs
        self._electrons = electrons
        self._write('<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n')
        self._write(_generator())
        self._write(f" <incar>\n{_tags(inputs.incar)} </incar>\n")
        self._write(_kpoints(inputs, electrons))
        self._write(f" <parameters>\n{_tags(parameters)} </parameters>\n")
        self._write(_atominfo(inputs))
        self._write(_structure(inputs.atoms, 'name="initialpos"'))

    def step(self, step: IonicStep, *, last: bool = False) -> None:
        """
        Write one ionic step.

        Parameters
        ----------
        step
            The step.
        last
            Whether to write eigenvalues and density of states with it.
        """
        self._write(" <calculation>\n")
        for energies in step.electronic:
            self._write(f"  <scstep>\n{_energies(energies)}  </scstep>\n")
        self._write(_structure(step.atoms))
        self._write(_varray("forces", step.forces) + _varray("stress", step.stress))
        self._write(_energies(step.electronic[-1]))
        if last:
            self._write(_eigenvalues(self._electrons) + _dos(self._electrons))
        self._write(" </calculation>\n")
        self._stream.flush()

    def finish(self, atoms: Any) -> None:
        """
        Write the end.

        Parameters
        ----------
        atoms
            The structure after the last ionic step.
        """
        self._write(_structure(atoms, 'name="finalpos"') + "</modeling>\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)


def _generator() -> str:
    return (
        ' <generator>\n  <i name="program" type="string">crystens_flows stand-in, not VASP </i>\n'
        f'  <i name="version" type="string">{STAND_IN_VERSION} </i>\n'
        f'  <i name="date" type="string">{time.strftime("%Y %m %d")} </i>\n'
        f'  <i name="time" type="string">{time.strftime("%H:%M:%S")} </i>\n </generator>\n'
    )


def _tags(tags: dict[str, str]) -> str:
    return "".join(f"  {_tag(name, text)}\n" for name, text in tags.items())


def _tag(name: str, text: str) -> str:
    """Write one tag with the type that its text has."""
    words = _repeated(text)
    number = r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?"
    if all(re.fullmatch(r"\.?(T|F|TRUE|FALSE)\.?", word.upper()) for word in words):
        kind, words = "logical", [word.strip(".")[0].upper() for word in words]
    elif all(re.fullmatch(r"[+-]?\d+", word) for word in words):
        kind = "int"
    elif all(re.fullmatch(number, word) for word in words):
        kind, words = "", [f"{float(re.sub('[dD]', 'e', word)):.8f}" for word in words]
        if len(words) == 1 and abs(float(words[0])) < 1e-2:
            words = [f"{float(re.sub('[dD]', 'e', text)):.8E}"]
    else:
        return f'<i type="string" name="{name}">{escape(text)}</i>'
    element = "i" if len(words) == 1 and name not in _LISTS else "v"
    typed = f'type="{kind}" ' if kind else ""
    return f'<{element} {typed}name="{name}"> {" ".join(words)} </{element}>'


def _repeated(text: str) -> list[str]:
    """Spread ``2*0.6`` over two words."""
    words: list[str] = []
    for word in text.split():
        match = re.fullmatch(r"(\d+)\*(\S+)", word)
        words += [match[2]] * int(match[1]) if match else [word]
    return words


def _varray(name: str, rows: Iterable[Iterable[float]]) -> str:
    lines = "".join("   <v> " + " ".join(f"{x:16.8f}" for x in row) + " </v>\n" for row in rows)
    return f'  <varray name="{name}" >\n{lines}  </varray>\n'


def _structure(atoms: Any, name: str = "") -> str:
    cell = atoms.cell[:]
    return (
        f"  <structure {name}>\n  <crystal>\n{_varray('basis', cell)}"
        f'   <i name="volume"> {atoms.get_volume():16.8f} </i>\n'
        f"{_varray('rec_basis', np.linalg.inv(cell).T)}  </crystal>\n"
        f"{_varray('positions', atoms.get_scaled_positions(wrap=False))}  </structure>\n"
    )


def _energies(energies: dict[str, float]) -> str:
    lines = "".join(f'   <i name="{name}"> {e:16.8f} </i>\n' for name, e in energies.items())
    return f"  <energy>\n{lines}  </energy>\n"


def _kpoints(inputs: Inputs, electrons: Electrons) -> str:
    mesh, generation = inputs.kpoints, ""
    if isinstance(mesh, Mesh):
        divisions = " ".join(str(n) for n in mesh.divisions)
        generation = (
            f'  <generation param="{mesh.scheme}">\n'
            f'   <v type="int" name="divisions"> {divisions} </v>\n'
            '   <v name="usershift"> 0.0 0.0 0.0 </v>\n  </generation>\n'
        )
    return (
        f" <kpoints>\n{generation}{_varray('kpointlist', electrons.kpoints)}"
        f"{_varray('weights', electrons.weights[:, None])} </kpoints>\n"
    )


def _atominfo(inputs: Inputs) -> str:
    atoms, types = "", ""
    masses = dict(zip(inputs.atoms.symbols, inputs.atoms.get_masses(), strict=True))
    for number, ((symbol, n), potential) in enumerate(
        zip(inputs.species, inputs.potentials, strict=True), start=1
    ):
        atoms += f"    <rc><c>{symbol:2s}</c><c> {number}</c></rc>\n" * n
        types += (
            f"    <rc><c> {n}</c><c>{symbol:2s}</c><c> {masses[symbol]:.8f}</c>"
            f"<c> {potential.valence:.8f}</c><c> {escape(potential.title)} </c></rc>\n"
        )
    kinds = (("", "atomspertype"), ("string", "element"), ("", "mass"), ("", "valence"))
    return (
        f" <atominfo>\n  <atoms> {len(inputs.atoms)} </atoms>\n"
        f"  <types> {len(inputs.species)} </types>\n"
        + _array("atoms", (("string", "element"), ("int", "atomtype")), atoms)
        + _array("atomtypes", (*kinds, ("string", "pseudopotential")), types)
        + " </atominfo>\n"
    )


def _array(name: str, fields: Iterable[tuple[str, str]], rows: str) -> str:
    named = "".join(
        f"   <field{f' type={kind!r}' if kind else ''}>{field}</field>\n" for kind, field in fields
    )
    return (
        f'  <array name="{name}" >\n   <dimension dim="1">{name}</dimension>\n{named}'
        f"   <set>\n{rows}   </set>\n  </array>\n"
    )


def _eigenvalues(electrons: Electrons) -> str:
    sets = ""
    rows = "".join(
        f"      <r> {energy:10.4f} {occupation:8.4f} </r>\n"
        for energy, occupation in zip(electrons.energies, electrons.occupations, strict=True)
    )
    for spin in range(1, electrons.n_spins + 1):
        points = "".join(
            f'     <set comment="kpoint {k}">\n{rows}     </set>\n'
            for k in range(1, len(electrons.kpoints) + 1)
        )
        sets += f'    <set comment="spin {spin}">\n{points}    </set>\n'
    return (
        '  <eigenvalues>\n   <array>\n    <dimension dim="1">band</dimension>\n'
        '    <dimension dim="2">kpoint</dimension>\n    <dimension dim="3">spin</dimension>\n'
        f"    <field>eigene</field>\n    <field>occ</field>\n    <set>\n{sets}    </set>\n"
        "   </array>\n  </eigenvalues>\n"
    )


def _dos(electrons: Electrons) -> str:
    grid: NDArray[np.float64] = np.linspace(-5, 5, 11)
    rows = "".join(f"       <r> {energy:9.4f} 0.0000 0.0000 </r>\n" for energy in grid)
    sets = "".join(
        f'      <set comment="spin {spin}">\n{rows}      </set>\n'
        for spin in range(1, electrons.n_spins + 1)
    )
    return (
        f'  <dos>\n   <i name="efermi"> {electrons.fermi_energy:.8f} </i>\n'
        "   <total>\n    <array>\n"
        "     <field>energy</field>\n     <field>total</field>\n     <field>integrated</field>\n"
        f"     <set>\n{sets}     </set>\n    </array>\n   </total>\n  </dos>\n"
    )
