from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.screening.selection import select


def halite(a, *, metal="Na"):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [metal, "Cl"], [[0] * 3, [0.5] * 3])


METALS = ["Li", "Na", "K", "Rb", "Cs", "Ag", "Cu", "Tl"]


def test_ranks_by_energy_and_leaves_duplicates_out():
    structures = [halite(5.6, metal=metal) for metal in METALS] + [halite(5.7)]
    ids = [f"c{i}" for i in range(9)]
    energies = [-1.0, -3.0, -2.0, -2.0, -0.5, 0.1, -2.5, 0.0, -9.0]  # the last equals the second
    records = select(ids, structures, energies, n_pool=5, n_select=2)
    assert [record.candidate_id for record in records] == ids
    assert [record.rank for record in records] == [5, 1, 3, 4, 6, 8, 2, 7, None]
    assert [record.decision for record in records] == [
        *("pool", "selected", "pool", "pool", "ranked", "ranked", "selected", "ranked"),
        "duplicate",
    ]
    assert [record.duplicate_of for record in records] == [None] * 8 + ["c1"]


def test_fewer_candidates_than_wanted():
    records = select(["a"], [halite(5.6)], [-1.0])
    assert [(record.decision, record.rank) for record in records] == [("selected", 1)]
    assert select([], [], []) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_pool": 2, "n_select": 3}, "n_select = 3 and n_pool = 2"),
        ({"n_select": -1}, "n_select = -1"),
        ({"formation_energies": [np.nan]}, "formation energy of a is not finite"),
        ({"formation_energies": []}, "0 energies"),
    ],
)
def test_says_what_is_wrong(arguments, message):
    given = {"candidate_ids": ["a"], "structures": [halite(5.6)], "formation_energies": [0.0]}
    with pytest.raises(InputError, match=message):
        select(**(given | arguments))
