"""What is reported of each source, with unit, direction and where the definition is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PAPER, CDVAE, DIFFCSP = "CrysTens", "CDVAE", "DiffCSP"
MATTERGEN, WYFORMER = "MatterGen", "WyFormer"

SOURCES: dict[str, str] = {
    PAPER: "M. Alverson et al., Generative adversarial networks and diffusion models in material "
    "discovery, Digital Discovery 3, 62 (2024), doi 10.1039/D3DD00137G",
    CDVAE: "T. Xie et al., Crystal Diffusion Variational Autoencoder for Periodic Material "
    "Generation, ICLR 2022, and compute_metrics.py of its code",
    DIFFCSP: "R. Jiao et al., Crystal Structure Prediction by Joint Equivariant Diffusion, NeurIPS "
    "2023",
    MATTERGEN: "C. Zeni et al., A generative model for inorganic materials design, Nature 639, 624 "
    "(2025), doi 10.1038/s41586-025-08628-5, and the evaluation of its code",
    WYFORMER: "N. Kazeev et al., Wyckoff Transformer: Generation of Symmetric Crystals, ICML 2025",
}
"""Where definitions and thresholds are from, by short name."""


@dataclass(frozen=True)
class Metric:
    """
    A number of the table.

    Parameters
    ----------
    group
        Part of the table.
    label
        What the row is called, with the unit.
    definition
        What exactly is measured.
    source
        Whose definition it is, one of :data:`SOURCES`; None for one that needs none.
    better
        What is better: ``"high"``, ``"low"``, or ``"near"`` for near to what real crystals have.
    percent
        Whether it is shown as a percentage.
    """

    group: str
    label: str
    definition: str
    source: str | None = None
    better: Literal["high", "low", "near"] = "low"
    percent: bool = False


_TABLE_1, _TABLE_2 = "Table 1, variance of copies", "Table 2, disagreement"
_KS = "Kolmogorov-Smirnov statistic"
_QUALITY, _STABILITY, _GUIDANCE = "Quality", "Stability", "Guidance"


def _share(
    group: str,
    label: str,
    definition: str,
    source: str | None = None,
    better: Literal["high", "low", "near"] = "high",
) -> Metric:
    return Metric(group, label, definition, source, better, percent=True)


def _spread(group: str, label: str, definition: str) -> Metric:
    definition += "; mean over the samples. Real crystals have what single precision leaves."
    return Metric(group, label, definition, PAPER)


def _ks(label: str, figure: str) -> Metric:
    definition = f"Largest difference of the cumulative distributions, 0 to 1; {figure}."
    return Metric(_KS, label, definition, PAPER)


METRICS: dict[str, Metric] = {
    "decoded": _share(_QUALITY, "decoded", "Share of samples that give a structure."),
    "structurally_valid": _share(
        _QUALITY,
        "structurally valid",
        "Shortest distance at least 0.5 A and volume at least 0.1 A^3; of all samples.",
        CDVAE,
    ),
    "composition_valid": _share(
        _QUALITY,
        "valid composition",
        "Charges balance by SMACT with cations less electronegative than anions; alloys of metals "
        "and elements pass; of all samples. Real crystals do not all pass.",
        CDVAE,
        "near",
    ),
    "valid": _share(_QUALITY, "both", "Both of these, of all samples.", CDVAE, "near"),
    "unique": _share(
        _QUALITY,
        "unique",
        "Share of samples that equal no earlier one by StructureMatcher's defaults (ltol 0.2, stol "
        "0.3, angle 5); of all samples, what has no structure counts as not.",
        MATTERGEN,
    ),
    "novel": _share(
        _QUALITY,
        "novel",
        "Share of samples that equal no crystal of the training set by the same matcher; of all "
        "samples.",
        MATTERGEN,
    ),
    "p1": _share(
        _QUALITY,
        "P1",
        "Share of structures whose coordinates have no symmetry but translations within 0.1 A "
        "(spglib).",
        WYFORMER,
        "near",
    ),
    "space_group_found": _share(
        _QUALITY,
        "has the space group stated",
        "Share of structures in which spglib finds, within 0.1 A, the space group that the sample "
        "states; a higher one counts as another. Of real crystals, that of 0.01 A counts as "
        "stated.",
    ),
    "cov_recall": _share(
        _QUALITY,
        "COV-R",
        "Share of reference crystals within 0.4 of a sample's structure fingerprint (CrystalNN) "
        "and 10 of a sample's composition fingerprint (Magpie, scaled by the reference); cutoffs "
        "for MP-20. Of the first so many samples as are looked at in detail.",
        CDVAE,
    ),
    "cov_precision": _share(
        _QUALITY,
        "COV-P",
        "Share of these samples that near to a reference crystal; invalid samples are not.",
        CDVAE,
    ),
    "wasserstein_density": Metric(
        _QUALITY, "Wasserstein, density, g/cm^3", "Of the valid samples.", CDVAE
    ),
    "wasserstein_n_elements": Metric(
        _QUALITY, "Wasserstein, no. of elements", "Of the valid samples.", CDVAE
    ),
    "formation_energy_per_atom": Metric(
        _STABILITY,
        "formation energy, eV/atom",
        "Median; as sampled, mean of the potentials; figure 12, which the paper has by M3GNet.",
        PAPER,
        "near",
    ),
    "energy_above_hull": Metric(
        _STABILITY,
        "energy above hull, eV/atom",
        "Median; as sampled, by the same potentials against the hull that ships, which is of "
        "density-functional energies; figure 8, which the paper has by M3GNet.",
        PAPER,
    ),
    "metastable": _share(
        _STABILITY,
        "at most 0.1 above hull",
        "Share of all samples at most 0.1 eV/atom above it; as sampled, by the same potentials and "
        "hull. Energies are of the first so many samples as are looked at in detail.",
        MATTERGEN,
    ),
    "rmsd": Metric(
        _STABILITY,
        "RMSD to relaxed, A",
        "Mean over the structures that CHGNet relaxed (200 steps, 0.02 eV/A); StructureMatcher "
        "with ltol 0.5, stol 0.5, angle 10, supercells and no scaling. What does not match any "
        "more counts as 0.5 times the edge of an atom's cube.",
        MATTERGEN,
    ),
    "relaxed_metastable": _share(
        _STABILITY,
        "relaxed, at most 0.1 above",
        "Share of the structures given to CHGNet that are at most 0.1 eV/atom above the hull after "
        "its relaxation. Both sides are by CHGNet: the hull is that of its energies of the "
        "crystals that ship.",
        MATTERGEN,
    ),
    "relaxed_metastable_shipped": _share(
        _STABILITY,
        "relaxed, on hull that ships",
        "The same against the hull that ships, which has more phases, of density-functional "
        "energies.",
        MATTERGEN,
    ),
    "relaxed_sun": _share(
        _STABILITY,
        "relaxed, unique and novel",
        "Share of them that are at most so far above CHGNet's hull, unique and novel.",
        MATTERGEN,
    ),
    "guided_energy_change": Metric(
        _GUIDANCE,
        "formation energy, change, eV",
        "Mean formation energy by CGCNN of as many samples asked for the mean energy of the "
        "training crystals' lowest tenth, less that of the samples above; for real crystals, the "
        "energies of the data set itself.",
    ),
    "guided_valid": _share(
        _GUIDANCE,
        "both valid, asked for low",
        "Share of these samples that are valid in structure and composition; beside 'both'.",
        None,
        "near",
    ),
    "length_variance": _spread(
        _TABLE_1, "lengths, A^2", "Variance of the copies of a, b and c in a CrysTens"
    ),
    "angle_variance": _spread(
        _TABLE_1, "angles, degree^2", "Variance of the copies of alpha, beta and gamma"
    ),
    "space_group_variance": _spread(
        _TABLE_1, "space group", "Variance of the copies of the space group's number"
    ),
    "coordinate_variance": _spread(
        _TABLE_1, "fractional coordinates", "Variance of the eight copies of a coordinate"
    ),
    "coordinate_disagreement": _spread(
        _TABLE_2,
        "coordinates",
        "Difference of the position a site states and the one that another site and the stored "
        "difference state for it, fractional",
    ),
    "pairwise_disagreement": _spread(
        _TABLE_2,
        "pairwise distances",
        "Summed difference of the stored distances and those of the positions, over the number of "
        "sites, fractional",
    ),
    **{f"ks_{name}": _ks(name, "figure 4") for name in ("a", "b", "c")},
    **{f"ks_{name}": _ks(name, "figure 5") for name in ("alpha", "beta", "gamma")},
    "ks_space_group": _ks("space group", "figure 6; that of the CrysTens, where it states one"),
    "ks_atomic_number": _ks("Z", "figure 6; over all sites"),
    **{
        f"ks_{name}": _ks(f"CGCNN: {label}", "figure 7")
        for name, label in {
            "formation_energy_per_atom": "formation energy",
            "final_energy_per_atom": "final energy",
            "band_gap": "band gap",
            "bulk_modulus": "bulk modulus",
            "shear_modulus": "shear modulus",
            "fermi_energy": "Fermi energy",
            "poisson_ratio": "Poisson's ratio",
        }.items()
    },
    "ks_energy_above_hull": _ks("potentials: above hull", "figure 8"),
    "ks_model_formation_energy_per_atom": _ks("potentials: formation energy", "figure 12"),
    "samples_per_second": Metric(
        "Speed", "samples a second", "Of the generator, decoding not counted.", None, "high"
    ),
}
"""All metrics by name, in the order of the table."""


def prediction_metrics(hold_out: str) -> dict[str, Metric]:
    """
    Return the metrics of crystal structure prediction on a hold-out.

    Parameters
    ----------
    hold_out
        Name of the split.

    Returns
    -------
    dict
        By name, which has the split in it: with the formula alone given, and with the space group.
    """
    found: dict[str, Metric] = {}
    for given, what in (("formula", "formula"), ("space_group", "with space group")):
        group = f"Formula to crystal, {hold_out}"
        found |= {
            f"{given}_matched_{hold_out}": _share(
                group,
                f"{what}: matched",
                "Share of crystals that one sample of their formula matches (StructureMatcher, "
                "ltol 0.3, stol 0.5, angle 10), for generators that take a formula; unlike there, "
                "the number of formula units is not given.",
                DIFFCSP,
            ),
            f"{given}_answered_{hold_out}": _share(
                group,
                f"{what}: answered",
                "Share of crystals for whose formula the generator gives a sample at all.",
            ),
            f"{given}_rmse_{hold_out}": Metric(
                group,
                f"{what}: RMSE",
                "Over the matched, divided by the cube root of the volume of an atom.",
                DIFFCSP,
            ),
        }
    return found
