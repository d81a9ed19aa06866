"""Stand-in POTCARs: files of the form that pymatgen reads, without any data of VASP's."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from crystens_flows.errors import InputError, import_extra

_TEXT = """\
  PAW_PBE {label} 01Jan2000
   {valence:.8f}
 parameters from PSCTR are:
   VRHFIN ={element}: stand-in, no potential of VASP
   LEXCH  = PE
   EATOM  =     1.0000 eV,     0.0735 Ry

   TITEL  = PAW_PBE {label} 01Jan2000
   LULTRA =        F
   POMASS = {mass:8.3f}; ZVAL   = {valence:8.3f}
   ENMAX  =  300.000; ENMIN  =  200.000 eV
   LPAW   =        T
END of PSCTR-controll parameters
 stand-in: the rest of a potential is left out
  0.0 1.0
 End of Dataset
"""


def write_potcars(folder: str | Path, elements: Collection[str] | None = None) -> Path:
    """
    Write stand-in POTCARs for the labels that input sets of pymatgen and atomate2 use.

    The text is this package's own: a header that pymatgen and custodian can read, and no
    potential. VASP itself cannot run with them.

    Parameters
    ----------
    folder
        Where they go, as ``POT_GGA_PAW_PBE_54/POTCAR.Na_pv`` and so on, for the functionals PBE,
        PBE_52, PBE_54 and PBE_64. Give it to pymatgen as ``PMG_VASP_PSP_DIR``.
    elements
        Symbols of the elements to write; by default all.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If there is no label for an element.
    MissingExtraError
        If pymatgen has no input sets of VASP.
    """
    from pymatgen.core import Element

    inputs = import_extra("pymatgen.io.vasp.inputs", "vasp", "stand-in POTCARs")
    labels = _labels()
    if unknown := set(elements or ()) - set(labels):
        raise InputError(f"no input set has a POTCAR for {', '.join(sorted(unknown))}")
    texts = {
        label: _TEXT.format(
            label=label,
            element=symbol,
            valence=nominal_valence(symbol),
            mass=float(Element(symbol).atomic_mass),
        )
        for symbol in (labels if elements is None else elements)
        for label in labels[symbol]
    }
    folder = Path(folder)
    for functional in ("PBE", "PBE_52", "PBE_54", "PBE_64"):
        target = folder / inputs.PotcarSingle.functional_dir[functional]
        target.mkdir(parents=True, exist_ok=True)
        for label, text in texts.items():
            (target / f"POTCAR.{label}").write_text(text)
    return folder


def nominal_valence(symbol: str) -> float:
    """
    Return the number of valence electrons of the stand-in POTCARs: that of the group.

    Parameters
    ----------
    symbol
        Symbol of an element.

    Returns
    -------
    float
        1 to 12; 3 for lanthanoids and actinoids.
    """
    from pymatgen.core import Element

    element = Element(symbol)
    if element.is_lanthanoid or element.is_actinoid:
        return 3.0
    if element.Z == 2:
        return 2.0
    return float(element.group if element.group <= 12 else element.group - 10)


def _labels() -> dict[str, list[str]]:
    """Return all labels of each element in the input sets, those without a suffix included."""
    import yaml

    sets = import_extra("pymatgen.io.vasp.sets", "vasp", "stand-in POTCARs")
    found: dict[str, set[str]] = {}
    for file in sorted(Path(str(sets.__file__)).parent.glob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        for symbol, label in (content.get("POTCAR") or {}).items():
            name = label["symbol"] if isinstance(label, dict) else label
            found.setdefault(symbol, {symbol}).add(name)
    return {symbol: sorted(labels) for symbol, labels in sorted(found.items())}
