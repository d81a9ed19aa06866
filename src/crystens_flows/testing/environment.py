"""Commands and surroundings with which the stand-in runs in VASP's place."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crystens_flows.errors import import_extra
from crystens_flows.testing.potcars import write_potcars

_POTCAR_VARIABLE = "PMG_VASP_PSP_DIR"


def stand_in_command(
    calculator: str | None = None,
    *,
    calls: str | Path | None = None,
    kill_after: int | None = None,
    max_file_size: int | None = None,
    cut_contcar: bool = False,
) -> str:
    """
    Return the command that starts the stand-in, and with it the faults to rehearse.

    Give it as ``run_vasp_kwargs={"vasp_cmd": ...}`` of a maker of atomate2, or set
    ``ATOMATE2_VASP_CMD`` before atomate2 is imported, as it reads its settings at that time. In
    ``vasp_cmd``, atomate2 expands environment variables when the job runs: with
    ``"$MY_VASP"`` the same flow can be run with one command, and gone on with by another.

    Parameters
    ----------
    calculator
        ``"pair"``, ``"emt"``, ``"chgnet"`` or the dotted path of a calculator of ASE; by default
        what the environment variable ``CRYSTENS_STAND_IN_CALCULATOR`` says, else ``"pair"``.
    calls
        A file that gets a line with the folder at each call.
    kill_after
        The process kills itself (SIGKILL) after so many ionic steps.
    max_file_size
        Bytes that each file can have; more cannot be written, as on a full disk.
    cut_contcar
        Half of the CONTCAR is missing at the end.

    Returns
    -------
    str
        To be split as a shell does, without a shell.

    Examples
    --------
    >>> from crystens_flows.testing import stand_in_command
    >>> stand_in_command("emt").split()[-2:]
    ['--calculator', 'emt']
    """
    options = {
        "--calculator": calculator,
        "--calls": None if calls is None else Path(calls).absolute(),
        "--kill-after": kill_after,
        "--max-file-size": max_file_size,
    }
    command = [sys.executable, "-m", "crystens_flows.testing.vasp_stand_in"]
    for name, value in options.items():
        command += [] if value is None else [name, str(value)]
    return shlex.join([*command, "--cut-contcar"] if cut_contcar else command)


@contextmanager
def stand_in_environment(folder: str | Path) -> Iterator[Path]:
    """
    Let pymatgen find stand-in POTCARs, in this process and those it starts, for a while.

    Parameters
    ----------
    folder
        Where the POTCARs go.

    Yields
    ------
    Path
        The folder of the POTCARs.
    """
    settings = import_extra("pymatgen.core", "vasp", "stand-in POTCARs").SETTINGS
    potcars = write_potcars(folder).absolute()
    before = settings.get(_POTCAR_VARIABLE), os.environ.get(_POTCAR_VARIABLE)
    settings[_POTCAR_VARIABLE] = os.environ[_POTCAR_VARIABLE] = str(potcars)
    try:
        yield potcars
    finally:
        for place, value in zip((settings, os.environ), before, strict=True):
            if value is None:
                place.pop(_POTCAR_VARIABLE, None)
            else:
                place[_POTCAR_VARIABLE] = value
