"""What VASP needs on this machine: its command, and a POTCAR for each element."""

from __future__ import annotations

import os
import shlex
import shutil
import warnings
from collections.abc import Collection, Iterator
from typing import Any

from crystens_flows.preflight.check import Check, missing, ok
from crystens_flows.relaxation.vasp_failures import SET_COMMAND, SET_POTCARS

LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "orterun", "srun", "aprun", "jsrun", "ibrun")
"""Programs that start another, which stands last in the command."""


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
