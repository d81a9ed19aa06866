from __future__ import annotations

import warnings

import numpy as np
import pytest
from cif_examples import BAD_CIFS, GOOD_CIFS, p1_cif
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifParser, CifWriter
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystens_flows.datasets import Dataset, Record, Rejection
from crystens_flows.datasets.parse import Entry, parse_entry
from crystens_flows.datasets.records import RejectedError, make_record

COORDINATE = st.floats(-2, 2, allow_nan=False, width=64)


@st.composite
def structures(draw, max_sites=6):
    """Random cells whose atoms may overlap."""
    lengths = [draw(st.floats(2.0, 20.0)) for _ in range(3)]
    angles = [draw(st.floats(70.0, 110.0)) for _ in range(3)]
    n = draw(st.integers(1, max_sites))
    species = draw(st.lists(st.sampled_from(["H", "O", "Fe", "U"]), min_size=n, max_size=n))
    coords = [[draw(COORDINATE) for _ in range(3)] for _ in range(n)]
    return Structure(Lattice.from_parameters(*lengths, *angles), species, coords)


def parse(text: str, **properties) -> Record | Rejection:
    return parse_entry(Entry("here", "id-1", "cif", text, properties))


def from_record(record: Record) -> Structure:
    return Dataset.from_records([record]).structure(0)


@pytest.mark.parametrize("name", GOOD_CIFS)
def test_cif_is_what_pymatgen_reads(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = CifParser.from_str(GOOD_CIFS[name]).parse_structures(primitive=False)[0]
    record = parse(GOOD_CIFS[name])
    assert isinstance(record, Record)
    found = from_record(record)
    assert found.atomic_numbers == tuple(site.specie.Z for site in expected)
    np.testing.assert_allclose(found.frac_coords, expected.frac_coords % 1, atol=1e-6)
    np.testing.assert_allclose(
        found.lattice.parameters, expected.lattice.parameters, rtol=1e-6, atol=1e-5
    )
    assert record.space_group == SpacegroupAnalyzer(expected).get_space_group_number()


def test_space_groups_and_cells_of_known_crystals():
    nacl, quartz = parse(GOOD_CIFS["nacl"]), parse(GOOD_CIFS["quartz"])
    assert (nacl.space_group, len(nacl.numbers)) == (225, 8)
    assert (quartz.space_group, len(quartz.numbers)) == (154, 9)


@pytest.mark.parametrize("name", BAD_CIFS)
def test_bad_cif_is_rejected_with_its_reason(name):
    text, kind = BAD_CIFS[name]
    outcome = parse(text)
    assert isinstance(outcome, Rejection)
    assert outcome.kind == kind
    assert (outcome.entry, outcome.material_id) == ("here", "id-1")
    assert "\n" not in outcome.reason


def test_52_sites_are_accepted():
    sites = [f"C{i} C {i / 52:.6f} 0 0 1" for i in range(52)]
    record = parse(p1_cif(*sites, a="60"))
    assert isinstance(record, Record)
    assert len(record.numbers) == 52


def test_properties_are_kept_under_either_name():
    record = parse(GOOD_CIFS["p1"], formation_energy_per_atom="-0.4364", e_above_hull="0.01")
    assert record.formation_energy_per_atom == -0.4364
    assert record.energy_above_hull == 0.01
    assert np.isnan(record.band_gap)
    assert np.isnan(parse(GOOD_CIFS["p1"], band_gap="  ").band_gap)


@pytest.mark.parametrize(
    ("value", "kind"), [("high", "no number"), ("inf", "not finite"), ([], "no number")]
)
def test_property_that_is_no_number_is_rejected(value, kind):
    assert parse(GOOD_CIFS["p1"], band_gap=value).kind == kind


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_record_or_a_reason(text):
    outcome = parse(text)
    assert isinstance(outcome, Rejection)
    assert outcome.reason


@given(st.integers(0, len(GOOD_CIFS["quartz"])), st.integers(0, 40), st.text(max_size=5))
@settings(max_examples=60, deadline=None)
def test_damaged_cif_never_raises(start, length, replacement):
    text = GOOD_CIFS["quartz"]
    outcome = parse(text[:start] + replacement + text[start + length :])
    if isinstance(outcome, Record):
        assert np.isfinite(outcome.frac_coords).all()
        assert 1 <= outcome.space_group <= 230


@given(structures())
@example(Structure(Lattice.cubic(2.0), ["H", "H"], [[0, 0, 0], [0, 0, 0]]))
@settings(max_examples=40, deadline=None)
def test_cif_written_by_pymatgen_is_read_back(structure):
    structure = structure.copy()
    outcome = parse(str(CifWriter(structure, significant_figures=8)))
    # self-images included; two atoms on one spot are no neighbours to pymatgen
    cell = structure.lattice
    pairs = np.triu_indices(len(structure), k=1)
    apart = min(
        (
            *(
                neighbour.nn_distance
                for neighbours in structure.get_all_neighbors(1.0)
                for neighbour in neighbours
            ),
            *structure.distance_matrix[pairs],
        ),
        default=1.0,
    )
    if min(cell.abc) < 0.5 or apart < 0.499:
        assert isinstance(outcome, Rejection)
    elif apart > 0.501:
        assert isinstance(outcome, Record)
        found = from_record(outcome)
        assert found.composition == structure.composition
        expected = structure.get_sorted_structure()
        for z in set(found.atomic_numbers):
            ours = found.frac_coords[np.array(found.atomic_numbers) == z]
            theirs = expected.frac_coords[np.array(expected.atomic_numbers) == z]
            difference = ours[:, None] - theirs[None]
            difference -= np.round(difference)
            # pymatgen moves coordinates within 1e-4 of 1/3 and 2/3 onto them
            assert np.abs(difference).max(axis=2).min(axis=1).max() < 2e-4


def test_left_handed_cell_keeps_its_hand():
    """The mirror image of quartz has another space group, and so would a lost hand."""
    quartz = from_record(parse(GOOD_CIFS["quartz"]))
    left = Structure(
        quartz.lattice.matrix * [1, 1, -1],
        quartz.species,
        quartz.cart_coords * [1, 1, -1],
        coords_are_cartesian=True,
    )
    assert np.linalg.det(left.lattice.matrix) < 0
    assert make_record(quartz, "right").space_group == 154
    record = make_record(left, "left")
    assert record.space_group == SpacegroupAnalyzer(left).get_space_group_number() == 152


def test_coordinates_stay_below_one():
    structure = Structure(Lattice.cubic(4), ["Na"], [[-1e-12, 1 - 1e-12, 3.25]])
    record = make_record(structure, "x")
    assert record.frac_coords.tolist() == [[0.0, 0.0, 0.25]]


def test_oxidation_states_are_dropped():
    structure = Structure(Lattice.cubic(4), ["Na+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert make_record(structure, "x").numbers.tolist() == [11, 17]


def test_structure_without_sites_is_rejected():
    with pytest.raises(RejectedError, match="no sites"):
        make_record(Structure(Lattice.cubic(4), [], []), "x")
