from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.jobs import TuneMaker
from crystens_flows.schemas import SelectedCandidate
from crystens_flows.screening.hull import load_hull
from crystens_flows.screening.potentials import predict


def halite(metal, a):
    return Structure.from_spacegroup(225, Lattice.cubic(a), [metal, "Cl"], [[0, 0, 0], [0.5, 0, 0]])


def tuned(*structures):
    selected = [
        SelectedCandidate(candidate_id=f"c{i}", structure=structure)
        for i, structure in enumerate(structures)
    ]
    return TuneMaker.make.original(TuneMaker(), selected)


def test_symmetry_and_elements_are_mended_and_the_rest_is_left():
    shaken = halite("Na", 5.64)
    shaken.perturb(0.05, seed=0)
    salt, krypton, good = tuned(shaken, halite("Kr", 6.6), halite("K", 6.29)).records
    assert (salt.changed, salt.values["space_group_after"]) == (True, 225)
    assert salt.values["formula"] == "NaCl"
    assert krypton.values["elements_replaced"] == {"Kr": "Rb"}
    assert krypton.values["formula"] == "RbCl"
    assert "Kr replaced by Rb" in krypton.reason
    assert not good.changed
    assert good.structure == halite("K", 6.29)
    (energy,) = predict([krypton.structure])
    ((result, _),) = load_hull().evaluate(
        [krypton.structure.composition], [energy.formation_energy_per_atom]
    )
    above = krypton.values["energy_above_hull_after"]
    assert above == pytest.approx(result.energy_above_hull, abs=1e-4)


def test_candidates_go_on_as_they_were_tuned():
    document = tuned(halite("Kr", 6.6))
    assert document.selected[0].candidate_id == "c0"
    assert document.selected[0].structure == document.records[0].structure
    assert document.model["name"].startswith("CHGNet")


def test_a_lost_selection_fails_with_what_is_missing():
    with pytest.raises(InputError, match="the job that selects them failed"):
        TuneMaker.make.original(TuneMaker(), None)


def test_the_volume_can_be_set_by_a_quick_relaxation():
    swollen = SelectedCandidate(candidate_id="c0", structure=halite("Na", 6.4))
    (record,) = TuneMaker.make.original(TuneMaker(relax_steps=60), [swollen]).records
    assert record.changed
    assert record.structure.volume / len(record.structure) == pytest.approx(22.5, rel=0.05)
