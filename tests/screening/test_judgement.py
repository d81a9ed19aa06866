from __future__ import annotations

from dataclasses import replace

import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Lattice, Structure

from crystens_flows.errors import InputError
from crystens_flows.schemas import ScreenRecord
from crystens_flows.screening.hull import load_hull
from crystens_flows.screening.judgement import judge, rankable
from crystens_flows.screening.screens import Candidate, HullScreen
from crystens_flows.screening.selection import QUANTITIES, SelectionRules


def crystal(formula: str) -> Structure:
    """A row of atoms along one axis, so no two formulas and no two lengths are the same crystal."""
    species = [
        element.symbol for element, n in Composition(formula).items() for _ in range(round(n))
    ]
    n = len(species)
    return Structure(
        Lattice.tetragonal(3.5, 3 * n), species, [[0, 0, (i + 0.1 * (i % 2)) / n] for i in range(n)]
    )


def record(**found) -> ScreenRecord:
    return ScreenRecord(candidate_id="x", passed=True, **found)


def screened(energies: dict[str, float | None], reference: str = "shipped") -> list[Candidate]:
    """Candidates, named by their formulas, as M3GNet and the hull's screen leave them."""
    candidates = [
        Candidate(
            formula,
            crystal(formula),
            {
                "m3gnet": ScreenRecord(
                    candidate_id=formula, passed=True, formation_energy_per_atom=energy
                )
            },
        )
        for formula, energy in energies.items()
    ]
    hulls = HullScreen(reference).screen(candidates)
    return [
        replace(c, records={**c.records, "hull": found})
        for c, found in zip(candidates, hulls, strict=True)
    ]


def test_the_last_screen_that_has_a_value_counts():
    candidate = Candidate(
        "a",
        crystal("NaCl"),
        {
            "validity": record(smact_valid=True),
            "novelty": record(known_as="mp-22862"),
            "cgcnn": record(formation_energy_per_atom=-1.0),
            "m3gnet": record(formation_energy_per_atom=-2.0, uncertainty=0.1),
            "hull": record(formation_energy_per_atom=-1.9, energy_above_hull=0.0),
            "own": record(),
        },
    )
    found = rankable(candidate)
    assert found.quantities == {
        "formation_energy_per_atom": -1.9,
        "energy_above_hull": 0.0,
        "uncertainty": 0.1,
    }
    assert (found.candidate_id, found.smact_valid, found.known_as) == ("a", True, "mp-22862")
    assert found.structure is candidate.structure


def test_a_value_that_is_false_or_zero_is_a_value():
    records = {
        "first": record(smact_valid=True, uncertainty=0.3),
        "second": record(smact_valid=False, uncertainty=0.0),
    }
    found = rankable(Candidate("a", crystal("NaCl"), records))
    assert found.smact_valid is False
    assert found.quantities["uncertainty"] == 0.0


def test_nothing_is_known_without_screens():
    found = rankable(Candidate("a", crystal("NaCl")))
    assert found.quantities == dict.fromkeys(QUANTITIES)
    assert found.smact_valid is found.known_as is None


SALTS = {"NaCl": -2.2, "Na2Cl": -0.9, "Na3Cl": -1.1, "NaCl2": -1.3, "MgO": -3.0, "Na2Mg": 0.1}


def test_ranks_in_systems_and_the_hull_with_the_others_are_pymatgens():
    records = {r.candidate_id: r for r in judge(screened(SALTS), SelectionRules(), "shipped")}
    hull = load_hull("shipped")
    compositions = {name: Composition(name) for name in SALTS}
    evaluated = hull.evaluate(list(compositions.values()), list(SALTS.values()))
    shifted = {
        name: shift.formation_energy_per_atom
        for name, (_, shift) in zip(SALTS, evaluated, strict=True)
    }
    reference = hull.reference(list(compositions.values()))
    known = [
        (Composition(formula), energy)
        for formula, energy, numbers in zip(
            reference.formulas, reference.energies.tolist(), reference.numbers.tolist(), strict=True
        )
        if {z for z in numbers if z} <= {11, 12, 17, 8}
    ]
    alone: dict[str, dict[str, float]] = {}
    for name, composition in compositions.items():
        elements = set(composition.elements)
        entries = [
            PDEntry(other, energy * other.num_atoms)
            for other, energy in [*known, *((Composition(e.symbol), 0.0) for e in elements)]
            if set(other.elements) <= elements
        ]
        level = PhaseDiagram(entries).get_hull_energy_per_atom(composition)
        system = alone.setdefault(composition.chemical_system, {})
        system[name] = shifted[name] - level
        assert records[name].value == pytest.approx(system[name], abs=2e-6)
        entries += [
            PDEntry(compositions[other], energy * compositions[other].num_atoms)
            for other, energy in shifted.items()
            if other != name and set(compositions[other].elements) <= elements
        ]
        level = PhaseDiagram(entries).get_hull_energy_per_atom(composition)
        found = records[name].energy_above_hull_with_candidates
        assert found == pytest.approx(shifted[name] - level, abs=2e-6)
    for system in alone.values():
        for place, name in enumerate(sorted(system, key=lambda each: system[each]), start=1):
            assert records[name].rank_in_system == place
    assert any(  # the other candidates do make a difference
        records[name].energy_above_hull_with_candidates > records[name].value + 0.01
        for name in SALTS
    )


def test_only_what_no_filter_took_out_is_ranked_in_its_system():
    records = {
        r.candidate_id: r
        for r in judge(screened(SALTS), SelectionRules(max_energy_above_hull=0.3), "shipped")
    }
    assert records["Na2Cl"].decision == "filtered"
    assert records["Na2Cl"].rank_in_system is None
    assert records["Na2Cl"].energy_above_hull_with_candidates is None
    assert records["NaCl"].rank_in_system == 1


@pytest.mark.parametrize("hull", [None, "shipped"])
def test_without_a_hull_there_is_no_rank_in_the_system(hull):
    candidates = screened(SALTS)
    if hull is not None:  # the hull's screen was not run
        candidates = [replace(c, records={"m3gnet": c.records["m3gnet"]}) for c in candidates]
    records = judge(candidates, SelectionRules.paper(), hull)
    assert [r.rank for r in records] == [2, 5, 4, 3, 1, 6]
    assert all(r.rank_in_system is None for r in records)


def test_what_has_no_energy_is_in_no_hull():
    candidates = screened(SALTS | {"LiF": None})
    assert candidates[-1].records["hull"].passed is False  # the screen itself says so
    records = judge(candidates, SelectionRules(), "shipped")
    assert (records[-1].decision, records[-1].rank_in_system) == ("filtered", None)
    assert records[:-1] == judge(candidates[:-1], SelectionRules(), "shipped")


def test_a_users_own_reference(tmp_path):
    path = tmp_path / "known.csv"
    path.write_text("formula,formation_energy_per_atom\nNaCl,-2.0\nNa2Cl,-1.0\n")
    candidates = screened({"NaCl": -2.1, "Na2Cl": -0.9, "Na3Cl": -1.0}, str(path))
    records = judge(candidates, SelectionRules(), str(path))
    # no shift; the reference's NaCl, then the candidate's, mixes with Na
    alone = [-0.1, -0.9 + 2.0 * 2 / 3, -1.0 + 2.0 / 2]
    assert [r.value for r in records] == pytest.approx(alone, abs=1e-6)
    together = [-0.1, -0.9 + 2.1 * 2 / 3, -1.0 + 2.1 / 2]
    found = [r.energy_above_hull_with_candidates for r in records]
    assert found == pytest.approx(together, abs=1e-6)
    assert [r.rank_in_system for r in records] == [1, 3, 2]


def test_the_order_does_not_matter():
    candidates = screened(SALTS)
    records = judge(candidates, SelectionRules(n_select=2), "shipped")
    assert judge(candidates[::-1], SelectionRules(n_select=2), "shipped") == records[::-1]


def test_nobody_to_judge():
    assert judge([], SelectionRules(), "shipped") == []
    all_out = judge(screened(SALTS), SelectionRules(max_energy_above_hull=-9), "shipped")
    assert {r.decision for r in all_out} == {"filtered"}


def test_a_candidate_given_twice():
    with pytest.raises(InputError, match="NaCl is given more than once"):
        judge([*screened({"NaCl": -2.0})] * 2, SelectionRules(), "shipped")
