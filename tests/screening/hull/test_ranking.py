from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from crystens_flows.errors import InputError
from crystens_flows.screening.hull import HullReference

ROWS = [("NaCl", -2.0), ("FeO", -1.2), ("Fe2O3", -1.7), ("NaFeO2", -1.8), ("Na2O", -1.4)]
REFERENCE = HullReference.from_rows(
    "test", [(f"row {i}", f"id-{i}", *row) for i, row in enumerate(ROWS)]
)


def test_against_pymatgen():
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, size=(40, 3))
    counts = counts[counts.sum(axis=1) > 0]
    compositions = [Composition({"Na": a, "Fe": b, "O": c}) for a, b, c in counts.tolist()]
    energies = rng.normal(-1.2, 0.6, size=len(compositions))
    energies[[len(c) == 1 for c in compositions]] = 0.1
    ranks = REFERENCE.rank_in_system(compositions, energies)
    entries = [PDEntry(c, e * c.num_atoms) for c, e in zip(compositions, energies, strict=True)]
    known = [PDEntry(Composition(f), e * Composition(f).num_atoms) for f, e in ROWS[1:]]
    known += [PDEntry(Composition(symbol), 0.0) for symbol in ("Na", "Fe", "O")]
    n_through_candidates = 0
    for i, rank in enumerate(ranks):
        others = known + entries[:i] + entries[i + 1 :]
        expected = PhaseDiagram(others).get_e_above_hull(entries[i], allow_negative=True)
        found = rank.energy_above_hull_with_candidates
        assert found == pytest.approx(expected, abs=1e-6)
        assert found >= rank.result.energy_above_hull - 1e-9
        assert i not in rank.decomposition_candidates
        n_through_candidates += bool(rank.decomposition_candidates)
        same = [r.result.energy_above_hull for r in ranks
                if r.result.chemical_system == rank.result.chemical_system]  # fmt: skip
        assert rank.n_in_system == len(same)
        assert rank.rank == 1 + sum(e < rank.result.energy_above_hull - 1e-9 for e in same)
    assert n_through_candidates > 10


def test_decomposes_into_another_candidate():
    # Na2Cl3 would be stable, were it not for the candidate NaCl2
    alone, better, twin, broken = REFERENCE.rank_in_system(
        ["Na2Cl3", "NaCl2", "NaCl2", "NaQ"], [-1.9, -3.0, -3.0, -1.0]
    )
    assert alone.result.energy_above_hull < 0 < alone.energy_above_hull_with_candidates
    # nine of ten atoms go into one of the twins, the rest is sodium
    assert set(alone.decomposition_candidates) <= {1, 2}
    assert sum(alone.decomposition_candidates.values()) == pytest.approx(0.9)
    assert (better.rank, twin.rank, alone.rank) == (1, 1, 3)
    assert better.energy_above_hull_with_candidates == pytest.approx(0.0, abs=1e-9)
    assert (better.decomposition_candidates, twin.decomposition_candidates) == (
        {2: pytest.approx(1.0)},
        {1: pytest.approx(1.0)},
    )
    assert broken.result.reason.startswith("no composition")
    assert (broken.rank, broken.n_in_system) == (None, 0)
    assert broken.energy_above_hull_with_candidates is None


def test_more_elements_than_the_reference_has():
    wide = REFERENCE.rank_in_system(["NaClFeO", "NaCl"], [-3.0, -1.9])
    assert wide[0].rank == 1
    assert wide[1].energy_above_hull_with_candidates == pytest.approx(0.1)


def test_nothing_to_rank():
    assert REFERENCE.rank_in_system([], []) == []
    (rank,) = REFERENCE.rank_in_system(["NaCl"], [None])
    assert rank.result.reason == "no energy: it is missing"
    with pytest.raises(InputError, match="1 compositions and 0 formation energies"):
        REFERENCE.rank_in_system(["NaCl"], [])
