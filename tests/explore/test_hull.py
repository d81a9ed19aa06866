"""Hull diagrams beside the hull of the screens and pymatgen's."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from maggma.stores import MemoryStore
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from crystens_flows.candidates import CandidateStore
from crystens_flows.explore.drawing import draw_hull
from crystens_flows.explore.hull import MAX_CANDIDATES, hull_diagram
from crystens_flows.explore.index import CandidateIndex
from crystens_flows.screening.hull import HullReference

ROWS = [
    ("a", "mp-1", "Li2O", -2.0),
    ("b", "mp-2", "LiO2", -1.2),
    ("c", "mp-3", "FeO", -1.4),
    ("d", "mp-4", "Fe2O3", -1.7),
    ("e", "mp-5", "LiFeO2", -1.9),
    ("f", "mp-6", "Li3FeO3", -0.4),  # above the hull
    ("g", "mp-7", "NaCl", -2.1),  # of another system
]


@pytest.fixture(scope="module")
def reference():
    return HullReference.from_rows("mine", ROWS)


def indexed(*candidates):
    store = MemoryStore()
    store.connect()
    store.update(
        [
            {
                "candidate_id": f"c-{k}",
                "formula": Composition(formula).reduced_formula,
                "chemsys": Composition(formula).chemical_system,
                "formation_energy_per_atom": energy,
                "energy_above_hull": above,
                "last_updated": datetime(2026, 1, 1, tzinfo=UTC),
            }
            for k, (formula, energy, above) in enumerate(candidates)
        ],
        key="candidate_id",
    )
    index = CandidateIndex(CandidateStore(store))
    index.refresh()
    return index


@pytest.mark.parametrize("system", ["Li-O", "Fe-Li-O", "Fe", "Fe-Li-Na-O"])
def test_phases_and_edges_are_those_of_pymatgen(reference, system):
    elements = sorted(system.split("-"))
    entries = [PDEntry(Composition(each), 0) for each in elements]
    for _, _, formula, energy in ROWS:
        composition = Composition(formula)
        if {e.symbol for e in composition} <= set(elements):
            entries.append(PDEntry(composition, energy * composition.num_atoms))
    diagram = PhaseDiagram(entries)
    found = hull_diagram(system, indexed(), reference)
    assert found.elements == tuple(elements)
    assert sorted(each.name for each in found.phases) == sorted(
        entry.composition.reduced_formula for entry in diagram.stable_entries
    )
    names = {frozenset(found.phases[k].name for k in pair) for pair in found.edges}
    expected = {
        frozenset(e.composition.reduced_formula for e in (one, other))
        for simplex in diagram.facets
        for k, one in enumerate(diagram.qhull_entries[n] for n in simplex)
        for other in [diagram.qhull_entries[n] for n in simplex][k + 1 :]
    }
    assert names == expected


def test_candidates_of_the_system_and_within_it_by_their_height(reference):
    index = indexed(
        ("LiFeO3", -1.0, 0.3), ("Li2O2", -1.6, -0.1), ("FeO2", -1.0, None), ("NaCl", -2, 0.0),
        ("LiO3", None, None),
    )  # fmt: skip
    found = hull_diagram("O-Fe-Li", index, reference)
    assert [each.identifier for each in found.candidates] == ["c-1", "c-0", "c-2"]
    assert found.candidates[1].fractions == pytest.approx((0.2, 0.2, 0.6))
    assert found.n_left_out == 0


def test_an_isotope_is_its_element(reference):
    assert hull_diagram("D-T-O", indexed(), reference).elements == ("H", "O")


def test_what_cannot_be_read_or_is_far_off_does_no_harm(reference):
    index = indexed(("Li2O", 1e12, 0.1), ("LiO2", -1.0, 0.2))
    index._connection.execute("UPDATE candidates SET formula = '(' WHERE candidate_id = 'c-1'")
    found = hull_diagram("Li-O", index, reference)
    assert [each.identifier for each in found.candidates] == ["c-0"]
    assert draw_hull(found, "/candidates/").startswith("<svg")


def test_the_lowest_of_many_are_shown(reference):
    many = [("Li2O", -1.0, k / 1000) for k in range(MAX_CANDIDATES + 3)]
    found = hull_diagram("Li-O", indexed(*many), reference)
    assert len(found.candidates) == MAX_CANDIDATES
    assert found.n_left_out == 3
    assert max(each.above_hull for each in found.candidates) == (MAX_CANDIDATES - 1) / 1000


def test_places_in_a_binary_drawing_are_share_and_energy(reference):
    found = hull_diagram("Li-O", indexed(("Li2O2", -1.0, 0.5), ("LiO3", 0.2, 0.7)), reference)
    svg = draw_hull(found, "/candidates/")
    places = {
        name: (float(x), float(y))
        for x, y, name in re.findall(
            r'<circle class="\w+ ?\w*" cx="([\d.]+)" cy="([\d.]+)" r="5"><title>(\S+)', svg
        )
    }
    (left, ground), (right, _) = places["Li,"], places["O2,"]
    per_share = right - left
    per_energy = (places["Li2O"][1] - ground) / -2.0
    assert per_energy < 0  # lower energies are drawn lower, where y is greater
    for name, share, energy in (("LiO2", 2 / 3, -1.2), ("Li2O2", 0.5, -1.0), ("LiO3", 0.75, 0.2)):
        assert places[name][0] == pytest.approx(left + share * per_share, abs=0.2)
        assert places[name][1] == pytest.approx(ground + energy * per_energy, abs=0.3)
    assert svg.count('href="/candidates/c-') == 2


def test_places_in_a_ternary_drawing_are_within_the_triangle(reference):
    found = hull_diagram("Fe-Li-O", indexed(("LiFeO", -1.0, 0.05)), reference)
    svg = draw_hull(found, "/candidates/")
    known = re.findall(r'<circle class="known" cx="([\d.]+)" cy="([\d.]+)"', svg)
    corners = {each.name: known[k] for k, each in enumerate(found.phases)}
    middle = [sum(float(corners[name][axis]) for name in ("Fe", "Li", "O2")) / 3 for axis in (0, 1)]
    ((x, y),) = re.findall(r'<circle class="candidate near" cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert (float(x), float(y)) == pytest.approx(middle, abs=0.2)
    assert svg.count('class="edge"') == len(found.edges)


@pytest.mark.parametrize("system", ["Fe", "Fe-Li-Na-O"])
def test_other_numbers_of_elements_are_not_drawn(reference, system):
    assert draw_hull(hull_diagram(system, indexed(), reference), "/candidates/") == ""
