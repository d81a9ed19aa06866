"""Why a run of VASP failed, from the error it ended with and the files it left."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from crystens_flows.errors import RelaxationError

SET_COMMAND = (
    "set ATOMATE2_VASP_CMD, e.g. 'mpirun -n 16 vasp_std', before Python starts, or VASP_CMD in "
    "~/.atomate2.yaml, or run_vasp_kwargs of the maker"
)
SET_POTCARS = (
    "set PMG_VASP_PSP_DIR, in the environment or ~/.config/.pmgrc.yaml, to the folder that "
    "'pmg config -p' made of VASP's potentials"
)

_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|severe \(38\)", re.IGNORECASE
)
_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PRINTED = ("std_err.txt", "vasp.out")
_MAX_TOLD = 200


def check_command(command: str) -> None:
    """
    See that the command for VASP can be started.

    Parameters
    ----------
    command
        As atomate2 takes it: environment variables are put in, and no shell reads it.

    Raises
    ------
    RelaxationError
        If it is empty, cannot be read, or its first word is no program.
    """
    try:
        words = shlex.split(os.path.expandvars(command))
    except ValueError as exc:
        raise RelaxationError(
            f"the command for VASP, {command!r}, cannot be read ({exc}): {SET_COMMAND}"
        ) from exc
    if not words:
        raise RelaxationError(f"there is no command for VASP: {SET_COMMAND}")
    if shutil.which(words[0]) is None:
        raise RelaxationError(
            f"the command for VASP, {command!r}, cannot be started, {words[0]} is not found: "
            f"{SET_COMMAND}"
        )


def explain(
    error: BaseException, folder: Path, input_set_generator: Any, structure: Structure
) -> str:
    """
    Say why a run of VASP failed.

    Parameters
    ----------
    error
        What atomate2, custodian, pymatgen or emmet raised.
    folder
        Where VASP ran.
    input_set_generator
        What made, or could not make, the input.
    structure
        The structure given.

    Returns
    -------
    str
        The reason and what to do about it, in one line, with the folder.
    """
    started = (folder / "vasp.out").exists()
    reason = (
        (None if started else _no_potcar(input_set_generator, structure))
        or _disk_full(error, folder)
        or _not_mended(error)
        or _ended(error, folder)
        or (_no_contcar(folder) if started else None)
        or _one_line(f"{type(error).__name__}: {error}")
    )
    return f"{reason}; the files are in {folder}"


def _no_potcar(input_set_generator: Any, structure: Structure) -> str | None:
    """Name the elements for which pymatgen finds no POTCAR, and where it looked."""
    from pymatgen.core import SETTINGS
    from pymatgen.io.vasp import PotcarSingle

    try:
        inputs = input_set_generator.get_input_set(structure, potcar_spec=True)
    except Exception:  # noqa: BLE001 - then it is not for the POTCARs that it failed
        return None
    labels = str(inputs["POTCAR.spec"]).split()
    functional = str(input_set_generator.user_potcar_functional)
    place = SETTINGS.get("PMG_VASP_PSP_DIR")
    where = "PMG_VASP_PSP_DIR is not set"
    if place:
        folders = SETTINGS.get("PMG_VASP_PSP_SUB_DIRS", {})
        sub = folders.get(functional, PotcarSingle.functional_dir.get(functional, functional))
        where = f"looked for {place}/{sub}/POTCAR.LABEL and {place}/{sub}/LABEL/POTCAR"
    absent = [label for label in labels if not _is_there(label, functional)]
    if not absent:
        return None
    wanted = ", ".join(f"{re.split('[_.]', label)[0]} (label {label})" for label in absent)
    return f"no POTCAR of {functional} for {wanted}: {where}; {SET_POTCARS}"


def _is_there(label: str, functional: str) -> bool:
    from pymatgen.io.vasp import PotcarSingle
    from pymatgen.io.vasp.inputs import PmgVaspPspDirError

    try:
        PotcarSingle.from_symbol_and_functional(label, functional)
    except (FileNotFoundError, PmgVaspPspDirError):
        return False
    except Exception:  # noqa: BLE001 - it is there, and the error says what is wrong with it
        return True
    return True


def _disk_full(error: BaseException, folder: Path) -> str | None:
    told = next((match for name in _PRINTED if (match := _FULL.search(_text(folder / name)))), None)
    numbers = {each.errno or 0 for each in _chain(error) if isinstance(each, OSError)}
    raised = [os.strerror(number) for number in sorted(numbers & _FULL_ERRNOS)]
    if told is None and not raised:
        return None
    said = told[0] if told else raised[0]
    return f"files could not be written ({said}): make room on the disk, or raise the quota"


def _not_mended(error: BaseException) -> str | None:
    """Tell what custodian found and could not, or no longer, mend."""
    from custodian.custodian import (
        MaxCorrectionsError,
        MaxCorrectionsPerHandlerError,
        MaxCorrectionsPerJobError,
        NonRecoverableError,
    )

    if isinstance(error, NonRecoverableError):
        handler = error.handler
        found = ", ".join(sorted(getattr(handler, "errors", None) or ())) or str(error)
        return _one_line(f"VASP failed with an error that {_name(handler)} cannot mend: {found}")
    if isinstance(error, MaxCorrectionsPerHandlerError):
        return f"VASP failed after as many corrections by {_name(error.handler)} as are allowed"
    if isinstance(error, MaxCorrectionsError | MaxCorrectionsPerJobError):
        return "VASP failed after as many corrections by custodian as are allowed"
    return None


def _ended(error: BaseException, folder: Path) -> str | None:
    """Tell by which signal, or with which exit status other than 0, VASP ended."""
    status = _exit_status(error)
    if not status:
        return None
    number = -status if status < 0 else status - 128
    said = _last_line(folder)
    said = f", it said: {said}" if said else ""
    if number in set(signal.Signals):
        how = f"was killed by {signal.Signals(number).name}"
        hint = ": see whether memory or time of the batch job ran out" if number == 9 else ""
        return f"VASP {how}{hint}{said}"
    return f"VASP ended with exit status {status}{said}"


def _exit_status(error: BaseException) -> int | None:
    """
    Return the exit status of the last run of VASP.

    custodian keeps it nowhere: with a broken ``vasprun.xml``, its error is about that. But the
    process is a local variable where the error was raised.
    """
    for each in _chain(error):
        frame = each.__traceback__
        while frame is not None:
            process = frame.tb_frame.f_locals.get("p")
            if frame.tb_frame.f_code.co_name == "_run_job" and process is not None:
                return getattr(process, "returncode", None)
            frame = frame.tb_next
    return None


def _no_contcar(folder: Path) -> str | None:
    """Tell what is wrong with CONTCAR, if there is."""
    from pymatgen.io.vasp import Poscar

    file = next((folder / n for n in ("CONTCAR", "CONTCAR.gz") if (folder / n).is_file()), None)
    if file is None:
        return "VASP left no CONTCAR"
    try:
        Poscar.from_file(file, check_for_potcar=False)
    except Exception as exc:  # noqa: BLE001 - a broken file raises of all kinds
        return _one_line(f"CONTCAR is broken ({type(exc).__name__}: {exc})")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _name(handler: Any) -> str:
    return type(handler).__name__


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""


def _last_line(folder: Path) -> str:
    lines = [line for name in _PRINTED for line in reversed(_text(folder / name).splitlines())]
    return _one_line(next((line for line in lines if line.strip(" *-|")), ""))


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TOLD else text[: _MAX_TOLD - 3] + "..."
