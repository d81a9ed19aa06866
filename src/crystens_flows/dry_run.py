"""What an engine would be asked to do, before anything is run."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import groupby
from typing import Any

from jobflow import Maker
from monty.json import jsanitize
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError


@dataclass(frozen=True)
class VaspInput:
    """
    The input of VASP for one step, as it would be written.

    Parameters
    ----------
    step
        Name of the step.
    incar, kpoints, poscar
        The text of the files; no KPOINTS where the INCAR has KSPACING.
    potcar
        The labels of the potentials, in the order of the POSCAR.
    potcar_functional
        The set they are of.
    from_previous
        What the step may take from the one before it, and is not known yet.
    """

    step: str
    incar: str
    kpoints: str | None
    poscar: str
    potcar: list[str]
    potcar_functional: str
    from_previous: list[str]


def step_makers(maker: Maker) -> list[Maker]:
    """
    Return the makers of the single calculations of a flow, in order.

    Parameters
    ----------
    maker
        A maker of one calculation, or of a flow that has such makers as fields.

    Returns
    -------
    list of Maker
        Itself where it has none.
    """
    assert is_dataclass(maker)
    inner = [getattr(maker, each.name) for each in fields(maker)]
    found = [step for each in inner if isinstance(each, Maker) for step in step_makers(each)]
    return found or [maker]


def vasp_makers(maker: Maker) -> list[Any]:
    """
    Return the makers of a flow that run VASP, in order.

    Parameters
    ----------
    maker
        As for :func:`step_makers`.

    Returns
    -------
    list of BaseVaspMaker
        Those that have an input set generator.
    """
    return [step for step in step_makers(maker) if hasattr(step, "input_set_generator")]


def vasp_inputs(maker: Maker, structure: Structure) -> Iterator[VaspInput]:
    """
    Make the input of each step that runs VASP; neither VASP nor its POTCARs are needed.

    Steps after the first are shown for the structure given, and without what else they may take
    from the step before, as that is not known yet.

    Parameters
    ----------
    maker
        The maker of the flow.
    structure
        The structure.

    Yields
    ------
    VaspInput
        For each step.

    Raises
    ------
    InputError
        If an input set cannot be made of the structure.
    """
    for number, step in enumerate(vasp_makers(maker)):
        try:
            inputs = _input_set(step.input_set_generator, structure)
        except (ValueError, KeyError, AttributeError, TypeError, RuntimeError) as exc:
            raise InputError(
                f"{step.name}: no input of VASP can be made of {structure.composition.formula}: "
                f"{' '.join(str(exc).split())}; leave it out"
            ) from exc
        kpoints = inputs.get("KPOINTS")
        yield VaspInput(
            step=step.name,
            incar=str(inputs["INCAR"]).rstrip() + "\n",
            kpoints=None if kpoints is None else str(kpoints).rstrip() + "\n",
            poscar=str(inputs["POSCAR"]),
            potcar=_labels(inputs),
            potcar_functional=_functional(step.input_set_generator),
            from_previous=_from_previous(step) if number else [],
        )


def _from_previous(step: Any) -> list[str]:
    if not getattr(step, "uses_previous", True):
        return ["structure"]
    generator = step.input_set_generator
    automatic = {
        "auto_metal_kpoints": "KPOINTS of metals",
        "auto_ismear": "ISMEAR and SIGMA",
        "auto_kspacing": "KSPACING",
        "inherit_incar": "other tags of the INCAR",
    }
    also = [what for name, what in automatic.items() if getattr(generator, name, False)]
    return ["structure", "MAGMOM where it is spin-polarised", *also]


def potcar_labels(generator: Any, elements: Collection[str]) -> tuple[dict[str, str], str]:
    """
    Return the POTCARs that an input set asks for.

    Parameters
    ----------
    generator
        An input set generator of atomate2.
    elements
        Symbols of elements.

    Returns
    -------
    tuple
        The label of each element, and the functional that they are of.
    """
    labels = {}
    for element in sorted(set(elements)):
        alone = Structure(Lattice.cubic(5), [element], [[0, 0, 0]])
        labels[element] = _labels(_input_set(generator, alone))[0]
    return labels, _functional(generator)


def _input_set(generator: Any, structure: Structure) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pymatgen, on the paper's own settings
        return generator.get_input_set(structure, potcar_spec=True)


def _labels(inputs: Any) -> list[str]:
    """Return the labels of an input set that was made with ``potcar_spec``."""
    return str(inputs["POTCAR.spec"]).split()


def _functional(generator: Any) -> str:
    chosen = generator.user_potcar_functional
    return str(chosen or generator.config_dict.get("POTCAR_FUNCTIONAL") or "PBE")


def parameters(maker: Maker) -> dict[str, Any]:
    """
    Return what a maker was given, by name, and of the steps of a flow what each was given.

    Parameters
    ----------
    maker
        The maker.

    Returns
    -------
    dict
        Plain types, without what is not set; steps with the same are together.
    """
    assert is_dataclass(maker)
    steps = step_makers(maker)
    if steps == [maker]:
        plain = jsanitize(asdict(maker), enum_values=True, strict=True)
        unset: tuple[Any, ...] = (None, {}, [])
        return {key: value for key, value in plain.items() if key != "name" and value not in unset}
    groups = groupby([(step.name, parameters(step)) for step in steps], key=lambda each: each[1])
    return {", ".join(name for name, _ in group): given for given, group in groups}


def dry_run_records(
    maker: Maker, structures: Sequence[tuple[str, Structure | None]]
) -> list[dict[str, Any]]:
    """
    Say what would be done with each structure.

    Parameters
    ----------
    maker
        The maker of the relaxations.
    structures
        Where each stands, and the structure; None where it could not be read.

    Returns
    -------
    list of dict
        For each the ``entry``, the ``formula`` and ``n_sites``, the ``steps`` (inputs of VASP, or
        parameters), and the ``reason`` where there are none.
    """
    records = []
    for entry, structure in structures:
        record: dict[str, Any] = {"entry": entry, "formula": None, "n_sites": None}
        record |= {"steps": [], "parameters": {}, "reason": None}
        records.append(record)
        if structure is None:
            continue
        record |= {"formula": structure.composition.reduced_formula, "n_sites": len(structure)}
        if not vasp_makers(maker):
            record["parameters"] = parameters(maker)
            continue
        try:
            record["steps"] = [asdict(each) for each in vasp_inputs(maker, structure)]
        except InputError as exc:
            record["reason"] = str(exc)
    return records


def dry_run_text(records: Sequence[dict[str, Any]], engine: str) -> str:
    """
    Write out what would be done; steps with the same input are put together.

    Parameters
    ----------
    records
        As :func:`dry_run_records` makes them.
    engine
        Name of the engine.

    Returns
    -------
    str
        Text for a person.
    """
    return "\n".join(
        _structure_text(record, engine)
        for record in records
        if record["steps"] or record["parameters"]
    )


def _structure_text(record: dict[str, Any], engine: str) -> str:
    n_sites = record["n_sites"]
    sites = f"{n_sites} site{'' if n_sites == 1 else 's'}"
    lines = [f"# {record['entry']}: {record['formula']}, {sites}, engine {engine}"]
    if record["parameters"]:
        import yaml

        text = yaml.safe_dump(record["parameters"], sort_keys=False)
        return "\n".join([*lines, text])
    for _, group in groupby(record["steps"], key=_settings):
        same = list(group)
        lines += ["", f"## {', '.join(step['step'] for step in same)}"]
        if previous := same[-1]["from_previous"]:
            who = "each but the first" if not same[0]["from_previous"] else "it"
            lines.append(f"({who} takes from the step before: {', '.join(previous)})")
        lines += _input_lines(same[0])
    return "\n".join(lines) + "\n"


def _settings(step: dict[str, Any]) -> list[Any]:
    return [value for name, value in step.items() if name not in ("step", "from_previous")]


def _input_lines(step: dict[str, Any]) -> list[str]:
    kpoints = step["kpoints"] or "none: KSPACING is in the INCAR\n"
    return [
        *("", "INCAR", step["incar"]),
        *("KPOINTS", kpoints),
        *(f"POTCAR, of {step['potcar_functional']}", " ".join(step["potcar"]), ""),
        *("POSCAR", step["poscar"].rstrip()),
    ]
