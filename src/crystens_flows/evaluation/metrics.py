"""What is reported of each source, with unit, direction and where the definition is from."""

from __future__ import annotations

from dataclasses import dataclass


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
        What exactly is measured, and whose definition it is.
    percent
        Whether it is shown as a percentage.
    """

    group: str
    label: str
    definition: str
    percent: bool = False


_PAPER = "CrysTens paper"
_TABLE_1, _TABLE_2 = "Table 1, mean variance", "Table 2, disagreement an atom"
_KS = "Kolmogorov-Smirnov statistic"
_QUALITY, _STABILITY = "Quality", "Stability"
_CDVAE = "CDVAE's definition"

METRICS: dict[str, Metric] = {
    "decoded": Metric(_QUALITY, "decoded", "Share of samples that give a structure.", True),
    "structurally_valid": Metric(
        _QUALITY,
        "structurally valid",
        f"Shortest distance at least 0.5 A and volume at least 0.1 A^3; {_CDVAE}, of all samples.",
        True,
    ),
    "composition_valid": Metric(
        _QUALITY,
        "valid composition",
        f"Charges balance by SMACT, alloys and elements pass; {_CDVAE}, of all samples. Real "
        "crystals do not all pass.",
        True,
    ),
    "valid": Metric(_QUALITY, "both", "Both of these, of all samples.", True),
    "unique": Metric(
        _QUALITY,
        "unique",
        "Share of samples that equal no earlier one by StructureMatcher's defaults (ltol 0.2, "
        "stol 0.3, angle 5), as MatterGen's; of all samples, what has no structure counts as not.",
        True,
    ),
    "novel": Metric(
        _QUALITY,
        "novel",
        "Share of samples that equal no crystal of the training set by the same matcher; of all "
        "samples.",
        True,
    ),
    "p1": Metric(
        _QUALITY,
        "P1",
        "Share of structures whose coordinates have no symmetry but translations within 0.1 A "
        "(spglib).",
        True,
    ),
    "cov_recall": Metric(
        _QUALITY,
        "COV-R",
        f"Share of reference crystals within 0.4 of a sample's structure and 10 of a sample's "
        f"composition fingerprint; {_CDVAE} and cutoffs for MP-20, scaled by the reference.",
        True,
    ),
    "cov_precision": Metric(
        _QUALITY,
        "COV-P",
        "Share of samples that near to a reference crystal; invalid samples are not.",
        True,
    ),
    "wasserstein_density": Metric(
        _QUALITY, "Wasserstein, density, g/cm^3", f"Of the valid samples; {_CDVAE}."
    ),
    "wasserstein_n_elements": Metric(
        _QUALITY, "Wasserstein, number of elements", f"Of the valid samples; {_CDVAE}."
    ),
    "match_rate": Metric(
        _QUALITY,
        "formula to crystal, matched",
        "Share of reference crystals that one sample of their formula matches (StructureMatcher, "
        "ltol 0.3, stol 0.5, angle 10), as CDVAE and DiffCSP; the number of formula units is not "
        "given.",
        True,
    ),
    "match_rmse": Metric(
        _QUALITY,
        "formula to crystal, RMSE",
        "Over the matched, divided by the cube root of the volume of an atom.",
    ),
    "formation_energy_per_atom": Metric(
        _STABILITY,
        "formation energy, median, eV/atom",
        "As sampled, by the mean of the potentials; figure 12.",
    ),
    "energy_above_hull": Metric(
        _STABILITY,
        "energy above hull, median, eV/atom",
        "As sampled, by the same models on the hull that ships; figure 8.",
    ),
    "metastable": Metric(
        _STABILITY,
        "at most 0.1 eV/atom above hull",
        "As sampled, of all samples, by the same models.",
        True,
    ),
    "rmsd": Metric(
        _STABILITY,
        "RMSD to relaxed, A",
        "Mean over the structures relaxed with CHGNet that are still the same crystal; "
        "StructureMatcher with ltol 0.5, stol 0.5, angle 10 and no scaling, MatterGen's.",
    ),
    "relaxed_metastable": Metric(
        _STABILITY,
        "relaxed, at most 0.1 above hull",
        "Share of the structures given to CHGNet, by CHGNet's energy after its relaxation.",
        True,
    ),
    "relaxed_sun": Metric(
        _STABILITY,
        "relaxed, that, unique and novel",
        "Of these the share that is unique and novel too.",
        True,
    ),
    "length_variance": Metric(_TABLE_1, "lengths, A^2", _PAPER),
    "angle_variance": Metric(_TABLE_1, "angles, degree^2", _PAPER),
    "space_group_variance": Metric(_TABLE_1, "space group", _PAPER),
    "coordinate_variance": Metric(_TABLE_1, "fractional coordinates", _PAPER),
    "coordinate_disagreement": Metric(_TABLE_2, "coordinates", _PAPER),
    "pairwise_disagreement": Metric(_TABLE_2, "pairwise distances", _PAPER),
    **{
        f"ks_{name}": Metric(_KS, label, f"Figures 4 to 6: {label}.")
        for name, label in {
            **{name: name for name in ("a", "b", "c", "alpha", "beta", "gamma")},
            "space_group": "space group",
            "atomic_number": "Z",
        }.items()
    },
    **{
        f"ks_{name}": Metric(_KS, f"CGCNN: {label}", f"Figure 7: {label}.")
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
    "samples_per_second": Metric("Speed", "samples a second", "Of the generator, without decode."),
}
"""All metrics by name, in the order of the table."""
