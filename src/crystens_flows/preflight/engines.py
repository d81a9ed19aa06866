"""What an engine needs on this machine: packages, weights, GPAW's setups; VASP is beside."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from crystens_flows.errors import CrystensError
from crystens_flows.preflight.check import Check, check_package, missing, not_set_up, ok
from crystens_flows.preflight.vasp import check_vasp

_PACKAGES = {
    "vasp": (("atomate2", "vasp"), ("custodian", "vasp")),
    "gpaw": (("gpaw", "gpaw"), ("gpaw-data", "gpaw"), ("ase", "gpaw")),
    "chgnet": (("chgnet", "relax"), ("ase", "relax")),
    "7net-l3i5": (("sevenn", "sevennet"), ("ase", "relax")),
    "ase": (("atomate2", "relax"), ("ase", "relax")),
}


def check_engine(
    engine: str | None, elements: Collection[str] = (), *, quick: bool = False
) -> list[Check]:
    """
    See whether an engine can run here.

    Parameters
    ----------
    engine
        As for :func:`crystens_flows.jobs.engines.relax_maker`; None to look at all of them, none of
        which is needed then.
    elements
        Symbols of the elements it is to run with.
    quick
        Whether to leave out what takes more than a moment: loading a potential.

    Returns
    -------
    list of Check
        What was found.

    Raises
    ------
    InputError
        If there is no such engine, or no such element.
    """
    from crystens_flows.jobs.engines import ENGINES, find_engine

    if engine is None:
        checks: list[Check] = []
        for name in ENGINES:
            checks += check_engine(name, elements, quick=True)
        once = {(check.what, check.found): check for check in checks}
        return [_unneeded(check) for check in once.values()]
    family = "vasp" if find_engine(engine).vasp else engine if engine in _PACKAGES else "ase"
    checks = [check_package(name, extra) for name, extra in _PACKAGES[family]]
    if any(check.fails for check in checks):
        return checks
    if family == "vasp":
        return [*checks, *check_vasp(engine, elements)]
    if family == "gpaw":
        return [*checks, *check_gpaw(elements)]
    if family == "ase":
        return [*checks, check_calculator(engine)]
    return checks if quick else [*checks, check_potential(engine)]


def _unneeded(check: Check) -> Check:
    if check.remedy is not None:
        return not_set_up(check.what, check.found, check.remedy)
    return ok(check.what, check.found, needed=False)


def check_gpaw(elements: Collection[str] = ()) -> Iterator[Check]:
    """
    See whether GPAW has a setup for each element.

    Parameters
    ----------
    elements
        Symbols of the elements.

    Yields
    ------
    Check
        For the elements together.
    """
    from crystens_flows.relaxation.gpaw_calculator import setup_files

    try:
        found = setup_files(elements)
    except CrystensError as exc:
        remedy = "set GPAW_SETUP_PATH, or pip install gpaw-data"
        yield missing("GPAW setups", str(exc), remedy, of_elements=True)
        return
    except ImportError as exc:
        yield missing("GPAW", " ".join(str(exc).split())[:160], "reinstall gpaw")
        return
    yield ok("GPAW setups", ", ".join(found.values()) or "for elements that are named")


def check_potential(name: str) -> Check:
    """
    See whether a potential can be loaded.

    Parameters
    ----------
    name
        One of :data:`crystens_flows.screening.potentials.POTENTIALS`.

    Returns
    -------
    Check
        With the name of the model.
    """
    from crystens_flows.screening.potentials.registry import load_potential

    try:
        card = load_potential(name).card()
    except CrystensError as exc:
        return missing(f"weights of {name}", str(exc), "reinstall its package")
    digest = str(card.get("weights_sha256", ""))[:12]
    return ok(f"weights of {name}", f"{card['name']}, SHA-256 {digest}...")


def check_calculator(path: str) -> Check:
    """
    See whether an ASE calculator can be made and computes stresses.

    Parameters
    ----------
    path
        Where it is, as ``"package.module.Class"``.

    Returns
    -------
    Check
        With its name.
    """
    from crystens_flows.relaxation.potential_engines import load_engine

    try:
        found = load_engine(path)
    except CrystensError as exc:
        return missing("calculator", str(exc), "correct the path, or install its package")
    return ok("calculator", f"{path} ({found.name})")


def check_packages() -> list[Check]:
    """
    Say which versions decide results and documents, whatever the engine.

    Returns
    -------
    list of Check
        For this package and those below it.
    """
    names = ("crystens-flows", "jobflow", "pymatgen", "maggma")
    return [check_package(name, "all") for name in names]


def elements_of(text: str) -> list[str]:
    """
    Read symbols of elements from ``"Na,Cl"``.

    Parameters
    ----------
    text
        Symbols with commas or blanks.

    Returns
    -------
    list of str
        The symbols, sorted.

    Raises
    ------
    InputError
        If one is not the symbol of an element.
    """
    from pymatgen.core import Element

    from crystens_flows.errors import InputError

    symbols = sorted({word for word in re.split(r"[,\s]+", text) if word})
    for symbol in symbols:
        if not Element.is_valid_symbol(symbol):
            raise InputError(f"{symbol!r} is not the symbol of an element")
    return symbols
