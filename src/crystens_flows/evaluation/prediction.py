"""Crystal structure prediction: from the formula of a real crystal back to the crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystens_flows.representation import decode
from crystens_flows.screening.validity import structural_validity


@dataclass(frozen=True)
class MatchRate:
    """
    How often the crystal of a formula was found.

    Parameters
    ----------
    share
        Share of the crystals that the one sample of their formula matches.
    rmse
        Mean over the matched of the root mean square distance of sites, divided by the cube root
        of the volume of an atom; None without matches.
    n_crystals
        How many crystals were asked for.
    """

    share: float
    rmse: float | None
    n_crystals: int


def match_rate(generator: Any, crystals: Sequence[Structure], seed: int = 0) -> MatchRate:
    """
    Sample one structure of the formula of each crystal, and compare.

    StructureMatcher with ltol 0.3, stol 0.5 and angle 10 decides, as in CDVAE and those after it;
    an invalid sample does not match. Unlike there, the number of formula units in the cell is not
    given: the generator draws it.

    Parameters
    ----------
    generator
        A generator with ``sample_formula``.
    crystals
        Real crystals that it was not trained on.
    seed
        Seed of the sampling; the crystal number i gets the sample number i.

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
    distances = []
    for i, crystal in enumerate(crystals):
        tensors = generator.sample_formula(crystal.composition.reduced_formula, 1, seed, i)
        structure = decode(tensors)[0].structure
        if structure is None or structural_validity(structure) is not None:
            continue
        found = matcher.get_rms_dist(structure, crystal)
        if found is not None:
            distances.append(float(found[0]))
    n = len(crystals)
    rmse = sum(distances) / len(distances) if distances else None
    return MatchRate(len(distances) / n if n else 0.0, rmse, n)
