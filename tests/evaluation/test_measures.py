"""Coverage, distributions, reference, prediction: each against a plain calculation."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from scipy import stats

from crystens_flows.datasets import shipped
from crystens_flows.errors import DatasetError, InputError
from crystens_flows.evaluation.coverage import (
    COMPOSITION_CUTOFF,
    STRUCTURE_CUTOFF,
    Fingerprints,
    coverage,
)
from crystens_flows.evaluation.distributions import (
    Distributions,
    kolmogorov_smirnov,
    wasserstein,
)
from crystens_flows.evaluation.prediction import match_rate
from crystens_flows.evaluation.reference import reference_of
from crystens_flows.representation import encode


@pytest.mark.parametrize("rows", [7, 1000])
def test_coverage_is_that_of_a_plain_loop(rows, monkeypatch):
    monkeypatch.setattr("crystens_flows.evaluation.coverage.ROWS", rows)
    rng = np.random.default_rng(0)
    reference = Fingerprints(rng.random((40, 61)) * 0.12, rng.normal(size=(40, 132)) * 2, 42)
    noise = rng.normal(size=(30, 132)) * np.linspace(0, 4, 30)[:, None]
    samples = Fingerprints(rng.random((30, 61)) * 0.12, reference.compositions[:30] + noise, 30)
    samples.structures[:5] += 1.0  # far from all
    found = coverage(samples, reference, 35)
    mean, deviation = reference.compositions.mean(0), reference.compositions.std(0)

    def near(of, to):
        count = 0
        for i in range(len(of.structures)):
            apart = min(np.linalg.norm(of.structures[i] - s) for s in to.structures)
            scaled = [(of.compositions[i] - c) / deviation for c in to.compositions]
            composition = min(np.linalg.norm(each) for each in scaled)
            count += apart <= STRUCTURE_CUTOFF and composition <= COMPOSITION_CUTOFF
        return count

    assert mean.shape == (132,)
    assert found.recall == near(reference, samples) / 42
    assert found.precision == near(samples, reference) / 35
    assert 0 < found.precision < 1


def test_real_crystals_cover_themselves():
    crystals = list(shipped().structures([1, 2, 3]))
    fingerprints = Fingerprints.of(crystals)
    assert coverage(fingerprints, fingerprints, 3) == coverage(fingerprints, fingerprints, 3)
    assert coverage(fingerprints, fingerprints, 3).recall == 1.0
    assert coverage(fingerprints, fingerprints, 6).precision == 0.5
    assert coverage(Fingerprints.of([]), fingerprints, 3) is None


def test_distributions_hold_what_crystals_are_made_of():
    salt = Structure.from_spacegroup(
        225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    found = Distributions()
    found.add(salt, None)
    found.add(salt, 12)
    assert found.values["a"] == [pytest.approx(5.64)] * 2
    assert found.values["gamma"] == [pytest.approx(90)] * 2
    assert found.values["space_group"] == [225, 12]
    assert sorted(found.values["atomic_number"]) == [11] * 8 + [17] * 8
    assert found.values["n_elements"] == [2, 2]
    assert found.values["density"][0] == pytest.approx(2.163, abs=0.01)  # of the mineral: 2.17


def test_distances_of_distributions():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=50).tolist(), rng.normal(0.5, 2, size=70).tolist()
    ks = kolmogorov_smirnov({"a": [*first, np.nan], "b": []}, {"a": second, "b": [1.0]})
    grid = np.sort(first + second)
    steps = [
        np.searchsorted(np.sort(values), grid, "right") / len(values) for values in (first, second)
    ]
    assert ks == {"a": pytest.approx(np.abs(steps[0] - steps[1]).max()), "b": None}
    assert wasserstein(first, second) == pytest.approx(stats.wasserstein_distance(first, second))
    assert wasserstein([], second) is None


def test_a_reference_has_parts_that_share_nothing():
    rows = shipped().subset(np.arange(0, 18_000, 60))
    dataset = rows.with_split({"train": 0.8, "test": 0.2}, by="material_id")
    real = reference_of(dataset, "some", size=1000)
    held_out = len(dataset) - len(dataset.split["train"])
    assert len(real.crystals) + len(real.floor) == held_out
    assert len(real.training) == len(dataset.split["train"])
    formulas = [c.composition.formula + str(c.volume) for c in (*real.crystals, *real.floor)]
    assert len(set(formulas)) == held_out

    unsplit = reference_of(rows, "some", size=20)
    assert (len(unsplit.crystals), len(unsplit.floor)) == (20, 20)
    assert len(unsplit.training) == len(dataset) // 2
    with pytest.raises(DatasetError, match="3 crystals that are not for training"):
        reference_of(rows.subset(np.arange(6)), "few", size=5)


class Oracle:
    """A generator that knows some crystals and gives nonsense for others."""

    takes = frozenset({"formula", "space_group"})

    def __init__(self, known):
        self.groups = []
        self.known = {each.composition.reduced_formula: each for each in known}

    def sample(self, n_samples, seed, start, conditions):
        assert (n_samples, seed, start < 4) == (1, 5, True)
        if conditions.formula not in self.known:
            raise InputError("not known")
        self.groups.append(conditions.space_group)
        return encode([self.known[conditions.formula]])


def test_match_rate_counts_crystals_that_are_found():
    crystals = [c for c in shipped().structures(range(40, 60)) if len(c) <= 8][:4]
    swollen = crystals[1].copy()
    swollen.perturb(0.05, seed=0)
    wrong = Structure(
        Lattice.cubic(12), crystals[2].species, [[0.04 * k, 0, 0] for k in range(len(crystals[2]))]
    )
    found = match_rate(Oracle([crystals[0], swollen, wrong, crystals[3]]), crystals, seed=5)
    assert (found.matched, found.answered, found.n_crystals) == (0.75, 1.0, 4)
    assert 0 < found.rmse < 0.05


def test_match_rate_gives_the_space_group_and_counts_answers():
    crystals = [c for c in shipped().structures(range(40, 60)) if len(c) <= 8][:4]
    oracle = Oracle(crystals[:3])
    found = match_rate(oracle, crystals, seed=5, with_space_group=True)
    assert (found.matched, found.answered) == (0.75, 0.75)
    assert oracle.groups == [
        SpacegroupAnalyzer(c, 0.1).get_space_group_number() for c in crystals[:3]
    ]
