"""Crystal structure prediction: from the formula of a real crystal back to the crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.evaluation.symmetry import coarse_space_group
from crystens_flows.generators.base import Generator
from crystens_flows.generators.conditions import Conditions
from crystens_flows.representation import decode
from crystens_flows.screening.validity import structural_validity


@dataclass(frozen=True)
class MatchRate:
    """
    How often the crystal of a formula was found.

    Parameters
    ----------
    matched
        Share of the crystals that the one sample of their formula matches.
    answered
        Share of the crystals for which the generator gives a sample at all.
    rmse
        Mean over the matched of the root mean square distance of sites, divided by the cube root
        of the volume of an atom; None without matches.
    n_crystals
        How many crystals were asked for.
    """

    matched: float
    answered: float
    rmse: float | None
    n_crystals: int


def match_rate(
    generator: Generator,
    crystals: Sequence[Structure],
    seed: int = 0,
    *,
    with_space_group: bool = False,
) -> MatchRate:
    """
    Sample one structure of the formula of each crystal, and compare.

    StructureMatcher with ltol 0.3, stol 0.5 and angle 10 decides, as in CDVAE and those after it;
    an invalid sample does not match. Unlike there, the number of formula units in the cell is not
    given: the generator draws it.

    Parameters
    ----------
    generator
        A generator that takes a formula.
    crystals
        Real crystals that it was not trained on.
    seed
        Seed of the sampling; the crystal number i gets the sample number i.
    with_space_group
        Whether the space group of the crystal, within 0.1 angstrom, is given too.

    Returns
    -------
    MatchRate
        Share of matches and their distance.

    References
    ----------
    T. Xie et al., ICLR 2022; R. Jiao et al., "Crystal Structure Prediction by Joint Equivariant
    Diffusion", NeurIPS 2023.
    """
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    distances: list[float] = []
    answered = 0
    for i, crystal in enumerate(crystals):
        group = coarse_space_group(crystal) if with_space_group else None
        try:
            conditions = Conditions(formula=crystal.composition.reduced_formula, space_group=group)
            structure = decode(generator.sample(1, seed, i, conditions=conditions))[0].structure
        except InputError:  # the generator knows no such crystal
            continue
        answered += 1
        if structure is None or structural_validity(structure) is not None:
            continue
        found = matcher.get_rms_dist(structure, crystal)
        if found is not None:
            distances.append(float(found[0]))
    n = len(crystals)
    rmse = sum(distances) / len(distances) if distances else None
    return MatchRate(len(distances) / max(n, 1), answered / max(n, 1), rmse, n)
