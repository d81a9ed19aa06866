"""Evaluating sources of samples against real crystals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.evaluation.collected import Progress, collect
from crystens_flows.evaluation.coverage import Fingerprints, coverage
from crystens_flows.evaluation.distributions import (
    Distributions,
    kolmogorov_smirnov,
    wasserstein,
)
from crystens_flows.evaluation.energies import energies, relaxed
from crystens_flows.evaluation.guidance import data_guidance, guidance
from crystens_flows.evaluation.metrics import METRICS, prediction_metrics
from crystens_flows.evaluation.prediction import match_rate
from crystens_flows.evaluation.reference import FLOOR, Reference
from crystens_flows.evaluation.samples import SampleSource, from_real
from crystens_flows.evaluation.symmetry import coarse_space_group
from crystens_flows.generators.base import Generator
from crystens_flows.schemas import package_versions
from crystens_flows.screening.cgcnn import predict_properties
from crystens_flows.screening.cgcnn.weights import PROPERTIES
from crystens_flows.screening.duplicates import find_duplicates
from crystens_flows.screening.validity import smact_validity, structural_validity

METASTABLE = 0.1
"""Energy above the hull, eV/atom, up to which a crystal may be made: MatterGen's."""

CGCNN_ENERGY = "formation_energy_per_atom"
"""Name of the formation energies by CGCNN."""

N_SHOWN = 8
"""Structures of each source that are kept to be shown, as figures 9 to 11 of the paper do."""


class EvaluationOptions(BaseModel):
    """What is evaluated."""

    model_config = ConfigDict(extra="forbid")

    n_samples: int = Field(1000, ge=1, description="Samples of each source.")
    seed: int = Field(0, ge=0, description="Seed of sampling and of dividing the reference.")
    n_detailed: int = Field(
        1000, ge=1, description="Of these so many get fingerprints and energies by potentials."
    )
    n_relax: int = Field(100, ge=0, description="Structures relaxed with CHGNet; 0 for none.")
    n_formulas: int = Field(
        100, ge=0, description="Crystals of each hold-out asked for by formula; 0 for none."
    )
    baseline: bool = Field(
        True, description="Whether substitution of ions, without a network, stands beside."
    )


class SourceEvaluation(BaseModel):
    """What was measured of one source."""

    name: str
    origin: dict[str, str] = Field(description="Kind and SHA-256 of a generator, or a file.")
    n_samples: int
    metrics: dict[str, float | None] = Field(description="By name; see METRICS.")
    values: dict[str, list[float]] = Field(description="Distributions by quantity, for figures.")
    reasons: dict[str, int] = Field(description="Samples without structure, by kind of reason.")
    shown: list[dict[str, Any]] = Field(description="Some structures, as dictionaries.")


class Evaluation(BaseModel):
    """Sources side by side, and real crystals beside them."""

    reference: str
    n_reference: int
    options: EvaluationOptions
    hold_outs: list[str] = Field(
        default_factory=list, description="Splits whose crystals were asked for by formula."
    )
    reference_values: dict[str, list[float]] = Field(description="Distributions of real crystals.")
    sources: list[SourceEvaluation] = Field(description="The last is the floor of real crystals.")
    versions: dict[str, str] = Field(default_factory=package_versions)


def evaluate(
    sources: Sequence[SampleSource],
    reference: Reference,
    options: EvaluationOptions,
    progress: Progress | None = None,
) -> Evaluation:
    """
    Evaluate sources of samples, and held-out real crystals in the same way.

    Parameters
    ----------
    sources
        The samples; each is read once, some at a time.
    reference
        The real crystals.
    options
        What to measure.
    progress
        Called with what is being done.

    Returns
    -------
    Evaluation
        One column for each source and one for the floor.

    Raises
    ------
    InputError
        If two sources have the same name.
    """
    names = [source.name for source in sources]
    if len({*names, FLOOR}) <= len(names):
        raise InputError(f"sources need names of their own, other than '{FLOOR}': {names}")
    say = progress or (lambda _: None)
    say("reference: CGCNN and energies")
    reference_values = {
        **reference.distributions.values,
        **_properties(reference.crystals),
        **_energies(reference.crystals[: options.n_detailed]),
    }
    floor = from_real(reference.floor[: options.n_samples], FLOOR)
    return Evaluation(
        reference=reference.name,
        n_reference=len(reference.crystals),
        options=options,
        hold_outs=sorted(reference.hold_outs),
        reference_values=reference_values,
        sources=[
            _evaluate(source, reference, reference_values, options, say)
            for source in (*sources, floor)
        ],
    )


def _evaluate(
    source: SampleSource,
    reference: Reference,
    reference_values: dict[str, list[float]],
    options: EvaluationOptions,
    say: Progress,
) -> SourceEvaluation:
    kept = collect(source, say)
    structures, n = kept.structures, kept.n_samples
    if n == 0:
        raise InputError(f"{source.name} has no samples: give a source that has")
    metrics: dict[str, float | None] = dict.fromkeys(METRICS)
    for hold_out in reference.hold_outs:
        metrics |= dict.fromkeys(prediction_metrics(hold_out))
    metrics["decoded"] = len(structures) / n
    for name, measured in kept.consistency.items():
        metrics[name] = float(np.mean(measured))
    if source.seconds:
        metrics["samples_per_second"] = n / source.seconds

    say(f"{source.name}: validity, uniqueness, novelty")
    structural = [structural_validity(each) is None for each in structures]
    charged = [bool(smact_validity(each)) for each in structures]
    both = [a and b for a, b in zip(structural, charged, strict=True)]
    duplicates, known = find_duplicates(structures), reference.training.find(structures)
    new = [a is None and b is None for a, b in zip(duplicates, known, strict=True)]
    metrics |= {
        "structurally_valid": sum(structural) / n,
        "composition_valid": sum(charged) / n,
        "valid": sum(both) / n,
        "unique": sum(each is None for each in duplicates) / n,
        "novel": sum(each is None for each in known) / n,
    }
    groups = [coarse_space_group(each) for each in structures]
    stated = [pair for pair in zip(groups, kept.space_groups, strict=True) if pair[1] is not None]
    metrics["p1"] = _share((group == 1 for group in groups), len(groups))
    metrics["space_group_found"] = _share((a == b for a, b in stated), len(stated))

    say(f"{source.name}: coverage")
    valid = [each for each, good in zip(structures, both, strict=True) if good]
    n_first = min(n, options.n_detailed)
    n_structures = sum(place < n_first for place in kept.places)
    fingerprints = Fingerprints.of(valid[: sum(both[:n_structures])], reference.processes)
    if covered := coverage(fingerprints, reference.fingerprints, n_first):
        metrics |= {"cov_recall": covered.recall, "cov_precision": covered.precision}
    of_valid = Distributions()
    for each in valid:
        of_valid.add(each, 1)
    for name in ("density", "n_elements"):
        metrics[f"wasserstein_{name}"] = wasserstein(of_valid.values[name], reference_values[name])

    say(f"{source.name}: CGCNN and energies")
    values = {
        **kept.distributions.values,
        **_properties(structures),
        **_energies(structures[:n_structures]),
    }
    for name, statistic in kolmogorov_smirnov(values, reference_values).items():
        if f"ks_{name}" in METRICS:
            metrics[f"ks_{name}"] = statistic
    above = values["energy_above_hull"]
    metrics |= {
        "formation_energy_per_atom": _median(values["model_formation_energy_per_atom"]),
        "energy_above_hull": _median(above),
        "metastable": sum(each <= METASTABLE for each in above) / n_first,
    }
    if options.n_relax and structures:
        say(f"{source.name}: relaxing")
        metrics |= _after_relaxation(structures, new, options.n_relax)
    generator = source.generator
    taken = frozenset() if generator is None else generator.takes
    if generator is not None and "formation_energy_per_atom" in taken:
        say(f"{source.name}: guidance")
        asked = guidance(generator, reference.formation_energies, n, options.seed)
        if asked is not None:
            energy, both_valid = asked
            metrics["guided_valid"] = both_valid
            if energy is not None and values[CGCNN_ENERGY]:
                metrics["guided_energy_change"] = energy - float(np.mean(values[CGCNN_ENERGY]))
    if source.name == FLOOR:
        metrics["guided_energy_change"] = data_guidance(reference.formation_energies)
    if generator is not None and options.n_formulas and "formula" in taken:
        for name, held_out in reference.hold_outs.items():
            metrics |= _prediction(source.name, generator, name, held_out, options, say)
    return SourceEvaluation(
        name=source.name,
        origin=source.origin,
        n_samples=n,
        metrics=metrics,
        values=values,
        reasons=dict(sorted(kept.reasons.items(), key=lambda each: -each[1])),
        shown=[each.as_dict() for each in structures[:N_SHOWN]],
    )


def _prediction(
    source: str,
    generator: Generator,
    hold_out: str,
    crystals: Sequence[Structure],
    options: EvaluationOptions,
    say: Progress,
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for given in ("formula", "space_group"):
        if given not in generator.takes:
            continue
        say(f"{source}: formula to crystal, {hold_out}")
        match = match_rate(
            generator,
            crystals[: options.n_formulas],
            options.seed,
            with_space_group=given == "space_group",
        )
        found |= {
            f"{given}_matched_{hold_out}": match.matched,
            f"{given}_answered_{hold_out}": match.answered,
            f"{given}_rmse_{hold_out}": match.rmse,
        }
    return found


def _properties(structures: Sequence[Structure]) -> dict[str, list[float]]:
    """Return CGCNN's seven properties, of those structures that have them."""
    values: dict[str, list[float]] = {name: [] for name in PROPERTIES}
    for prediction in predict_properties(structures):
        for name, value in prediction.values.items():
            if value is not None and math.isfinite(value):
                values[name].append(value)
    return values


def _energies(structures: Sequence[Structure]) -> dict[str, list[float]]:
    """Return the energies of the potentials, of those structures that have them."""
    found = energies(structures)
    return {
        "model_formation_energy_per_atom": [
            each.formation_energy_per_atom
            for each in found
            if each.formation_energy_per_atom is not None
        ],
        "energy_above_hull": [
            each.energy_above_hull for each in found if each.energy_above_hull is not None
        ],
    }


def _after_relaxation(
    structures: Sequence[Structure], new: Sequence[bool], n_relax: int
) -> dict[str, float | None]:
    ends = relaxed(structures[:n_relax])
    moved = [each.rmsd for each in ends if each.rmsd is not None]
    stable = [_near_hull(each.energy_above_hull) for each in ends]
    on_shipped = [_near_hull(each.energy_above_shipped_hull) for each in ends]
    sun = [a and b for a, b in zip(stable, new, strict=False)]
    return {
        "rmsd": sum(moved) / len(moved) if moved else None,
        "relaxed_metastable": sum(stable) / len(ends),
        "relaxed_metastable_shipped": sum(on_shipped) / len(ends),
        "relaxed_sun": sum(sun) / len(ends),
    }


def _near_hull(energy: float | None) -> bool:
    return energy is not None and energy <= METASTABLE


def _share(flags: Iterable[bool], n: int) -> float | None:
    return sum(flags) / n if n else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
