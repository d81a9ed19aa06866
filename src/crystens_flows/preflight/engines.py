"""What an engine needs on this machine: packages, weights, VASP and its POTCARs, GPAW's setups."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import warnings
from collections.abc import Collection, Iterator
from typing import Any

from crystens_flows.errors import CrystensError
from crystens_flows.preflight.check import Check, check_package, missing, not_set_up, ok
from crystens_flows.relaxation.vasp_failures import SET_COMMAND, SET_POTCARS

LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "orterun", "srun", "aprun", "jsrun", "ibrun")
"""Programs that start another, which stands last in the command."""

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


def check_vasp(engine: str, elements: Collection[str] = ()) -> Iterator[Check]:
    """
    See whether VASP is there, and the POTCARs that it will be given.

    Parameters
    ----------
    engine
        An engine that runs VASP.
    elements
        Symbols of the elements.

    Yields
    ------
    Check
        For the command, the folder of POTCARs and the POTCAR of each element.
    """
    from crystens_flows.dry_run import vasp_makers
    from crystens_flows.jobs.engines import relax_maker

    maker = vasp_makers(relax_maker(engine))[0]
    yield check_vasp_command((maker.run_vasp_kwargs or {}).get("vasp_cmd"))
    yield from check_potcars(maker.input_set_generator, elements)


def check_vasp_command(command: str | None = None) -> Check:
    """
    See whether the command that starts VASP is there.

    Parameters
    ----------
    command
        The command; None for atomate2's setting ``VASP_CMD``.

    Returns
    -------
    Check
        For the first word of the command, and for VASP itself where that is a launcher.
    """
    from atomate2.settings import Atomate2Settings

    settings = Atomate2Settings()
    source = "by its maker"
    if command is None:
        command = settings.VASP_CMD
        source = "as VASP_CMD" if "VASP_CMD" in settings.model_fields_set else "by default"
    shown = f"'{command}', set {source}"
    try:
        words = shlex.split(os.path.expandvars(command))
    except ValueError as exc:
        return missing("VASP command", f"{shown}, cannot be read: {exc}", SET_COMMAND)
    if not words:
        return missing("VASP command", "it is empty", SET_COMMAND)
    wanted = [words[0]]
    if os.path.basename(words[0]) in LAUNCHERS:  # noqa: PTH119 - a word, not a path
        wanted.append(words[-1])
    for word in wanted:
        if shutil.which(word) is None:
            return missing("VASP command", f"{shown}: {word} is not found", SET_COMMAND)
    if any(word.endswith("vasp_stand_in") for word in words):
        return ok("VASP command", f"{shown}: a stand-in, no VASP")
    return ok("VASP command", shown)


def check_potcars(generator: Any, elements: Collection[str] = ()) -> Iterator[Check]:
    """
    See whether there is a POTCAR for each element, of the label that the input set asks for.

    Parameters
    ----------
    generator
        An input set generator of atomate2.
    elements
        Symbols of the elements.

    Yields
    ------
    Check
        For the folder of POTCARs, and for each element.
    """
    from pymatgen.core import SETTINGS
    from pymatgen.io.vasp import PotcarSingle
    from pymatgen.io.vasp.inputs import UnknownPotcarWarning

    from crystens_flows.dry_run import potcar_labels

    folder = SETTINGS.get("PMG_VASP_PSP_DIR")
    if not folder:
        yield missing("POTCARs", "PMG_VASP_PSP_DIR is not set", SET_POTCARS)
        return
    if not os.path.isdir(folder):  # noqa: PTH112 - as pymatgen looks for it
        yield missing("POTCARs", f"PMG_VASP_PSP_DIR is {folder}, no folder", SET_POTCARS)
        return
    labels, functional = potcar_labels(generator, elements)
    yield ok("POTCARs", f"PMG_VASP_PSP_DIR is {folder}")
    for element, label in labels.items():
        what = f"POTCAR of {element}"
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                potcar = PotcarSingle.from_symbol_and_functional(label, functional)
        except FileNotFoundError:
            subfolders = SETTINGS.get("PMG_VASP_PSP_SUB_DIRS") or PotcarSingle.functional_dir
            subfolder = subfolders.get(functional, PotcarSingle.functional_dir[functional])
            yield missing(
                *(what, f"no {label} of {functional}"),
                f"put it there as {subfolder}/POTCAR.{label}, or as {subfolder}/{label}/POTCAR",
                of_elements=True,
            )
        except (ValueError, KeyError, OSError) as exc:
            reason = " ".join(str(exc).split())[:100]
            found = f"{label} of {functional} cannot be read: {reason}"
            yield missing(what, found, "replace it", of_elements=True)
        else:
            note = ""
            if "stand-in" in potcar.data[:1000]:
                note = ", a stand-in"
            elif any(issubclass(each.category, UnknownPotcarWarning) for each in caught):
                note = ", which pymatgen does not know: it may be damaged"
            yield ok(what, f"{label} of {functional}{note}")


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
