"""What stands where in atomate2's task documents of VASP, as objects and as dictionaries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def get(value: Any, *path: str | int) -> Any:
    """
    Follow keys, attributes and indices.

    Parameters
    ----------
    value
        Where to begin.
    *path
        The keys or attributes, and indices.

    Returns
    -------
    Any
        What is there; None where one is missing.
    """
    for key in path:
        if isinstance(key, int):
            known = isinstance(value, Sequence) and -len(value) <= key < len(value)
            value = value[key] if known else None
        elif isinstance(value, Mapping):
            value = value.get(key)
        else:
            value = getattr(value, key, None)
    return value


def free_and_zero_sigma(ionic_step: Any) -> tuple[float | None, float | None]:
    """
    Return the energies of an ionic step.

    The one extrapolated to zero smearing is wrong in what VASP writes for the ionic step. Its
    difference to the free energy stands in the last electronic step, from where pymatgen takes it
    too, for the last ionic step (https://www.vasp.at/forum/viewtopic.php?f=3&t=16942).

    Parameters
    ----------
    ionic_step
        The ionic step; None for none.

    Returns
    -------
    tuple
        The free energy and the one extrapolated to zero smearing, eV a cell.
    """
    free = get(ionic_step, "e_fr_energy")
    last = get(ionic_step, "electronic_steps", -1)
    zero, electronic = get(last, "e_0_energy"), get(last, "e_fr_energy")
    if free is None or zero is None or electronic is None:
        return free, get(ionic_step, "e_0_energy")
    return free, round(free + zero - electronic, 8)


def corrections_of(document: Any) -> list[Any]:
    """
    Return what custodian corrected.

    Parameters
    ----------
    document
        The task document.

    Returns
    -------
    list
        The corrections of all runs, in order.
    """
    return [
        correction
        for run in get(document, "custodian") or []
        for correction in _loaded(get(run, "corrections")) or []
    ]


def starts_as_given(correction: Any) -> bool:
    """
    Tell whether the run that a correction led to began with the structure given.

    Parameters
    ----------
    correction
        One of :func:`corrections_of`.

    Returns
    -------
    bool
        Whether nothing but tags of the INCAR were changed, and files deleted.
    """
    if not isinstance(correction, Mapping) or "actions" not in correction:
        return False
    return all(
        get(action, "dict") == "INCAR" or "_file_delete" in (get(action, "action") or {})
        for action in correction["actions"] or ()  # none: nothing was repeated
    )


def tell(correction: Any) -> str:
    """
    Write a correction as a line.

    Parameters
    ----------
    correction
        One of :func:`corrections_of`.

    Returns
    -------
    str
        Who found what, and what was done about it.
    """
    handler = get(correction, "handler")
    name = get(handler, "@class") or (handler if isinstance(handler, str) else None)
    errors = ", ".join(map(str, get(correction, "errors") or [])) or "error"
    done = []
    for action in get(correction, "actions") or []:
        target = get(action, "dict") or get(action, "file")
        for what, value in (get(action, "action") or {}).items():
            done.append(_deed(target, what, value))
    return f"{f'{name}: ' if name else ''}{errors}: {'; '.join(done) or 'nothing done'}"


def _deed(target: str, what: str, value: Any) -> str:
    if what == "_file_copy":
        return f"{target} copied to {get(value, 'dest')}"
    if what == "_file_delete":
        return f"{target} deleted"
    if what == "_set" and target != "POSCAR" and isinstance(value, Mapping):
        return f"{target} " + ", ".join(f"{tag} = {new}" for tag, new in value.items())
    if what == "_unset" and isinstance(value, Mapping):
        return f"{target} without {', '.join(value)}"
    return f"{target} changed"


def vasp_method(document: Any) -> dict[str, Any]:
    """
    Say with what VASP computed.

    Parameters
    ----------
    document
        The task document.

    Returns
    -------
    dict
        Of the last run, what the document says of functional, cutoff (eV), k-points, smearing,
        Hubbard U (eV) and the titles of the POTCARs.
    """
    used = get(document, "calcs_reversed", 0, "input")
    tags = tags_of(document)
    functional = get(document, "run_type") or get(document, "calcs_reversed", 0, "run_type")
    cutoff = tags.get("ENCUT", tags.get("ENMAX"))
    titles = [get(spec, "titel") for spec in get(used, "potcar_spec") or []]
    found = {
        "functional": None if functional is None else str(getattr(functional, "value", functional)),
        "cutoff": None if cutoff is None else float(cutoff),
        **_mesh(get(used, "kpoints")),
        "smearing": _smearing(tags),
        "hubbard_u": _loaded(get(used, "hubbards")) or None,
        "potcars": [title for title in titles if title] or get(used, "potcar"),
    }
    return {name: value for name, value in found.items() if value is not None}


def tags_of(document: Any) -> dict[str, Any]:
    """
    Return the tags of the INCAR, and what VASP took for those that are not there.

    Parameters
    ----------
    document
        The task document.

    Returns
    -------
    dict
        Of the last run, in capitals.
    """
    used = get(document, "calcs_reversed", 0, "input")
    return {**(_loaded(get(used, "parameters")) or {}), **(_loaded(get(used, "incar")) or {})}


def _mesh(kpoints: Any) -> dict[str, Any]:
    """Return the divisions of a mesh, or the number of points that are listed one by one."""
    points = get(kpoints, "kpts") or get(kpoints, "kpoints")
    if not points:
        return {}
    number = get(kpoints, "num_kpts") or get(kpoints, "nkpoints")
    if number:
        return {"n_kpoints": int(number)}
    style = get(kpoints, "style") or get(kpoints, "generation_style")
    gamma = str(style).rsplit(".", 1)[-1].lower().startswith("g")
    return {"kpoints": [int(n) for n in points[0]], "gamma_centred": gamma}


def _smearing(tags: Mapping[str, Any]) -> str | None:
    kind, width = tags.get("ISMEAR"), tags.get("SIGMA")
    if kind is None or width is None:
        return None
    return f"{'Gaussian' if kind == 0 else f'ISMEAR = {kind}'}, {width:g} eV"


def _loaded(value: Any) -> Any:
    """Load what emmet keeps as JSON in some stores."""
    return json.loads(value) if isinstance(value, str) else value
