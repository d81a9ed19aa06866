from __future__ import annotations

import gzip
import json
import math
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from cif_examples import BAD_CIFS, GOOD_CIFS, NACL, PYMATGEN_P1
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from crystens_flows.datasets import shipped
from crystens_flows.datasets.rows import count_rows, read_rows
from crystens_flows.errors import DatasetError


@pytest.fixture
def halite() -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.62), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def kinds(rows) -> list[str | None]:
    return [row.reason and row.reason.split(":")[0] for row in rows]


def write_each_format(structure: Structure, folder) -> list:
    """Write a structure in every format that holds one."""
    ase_db = pytest.importorskip("ase.db", reason="needs the extra ase")
    from ase import Atoms
    from ase.io import write

    cif, text = str(CifWriter(structure)), json.dumps(structure.as_dict())
    (folder / "cifs").mkdir()
    (folder / "cifs" / "a.cif").write_text(cif)
    (folder / "b.cif.gz").write_bytes(gzip.compress(cif.encode()))
    pd.DataFrame({"cif": [cif]}).to_csv(folder / "c.csv")
    pd.DataFrame({"structure": [text]}).to_csv(folder / "d.csv.gz")
    (folder / "e.json").write_text(text)
    (folder / "f.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    Poscar(structure).write_file(str(folder / "POSCAR"))
    Poscar(structure).write_file(str(folder / "g.vasp"), direct=False)
    atoms = Atoms(
        structure.atomic_numbers,
        cell=structure.lattice.matrix,
        positions=structure.cart_coords,
        pbc=True,
    )
    write(folder / "h.extxyz", atoms, format="extxyz")
    ase_db.connect(folder / "i.db").write(atoms)
    names = ["cifs", "b.cif.gz", "c.csv", "d.csv.gz", "e.json", "f.jsonl.gz", "POSCAR", "g.vasp"]
    return [folder / name for name in (*names, "h.extxyz", "i.db")]


def test_thousand_atoms_in_every_format(tmp_path, halite):
    halite.make_supercell((5, 5, 5))
    halite.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    halite.add_site_property("magmom", [1.0] * 1000)
    plain = halite.copy(site_properties={})
    plain.remove_oxidation_states()
    sources = write_each_format(plain, tmp_path)
    (tmp_path / "rich.json").write_text(json.dumps(halite.as_dict()))
    sources.append(tmp_path / "rich.json")
    rows = list(read_rows(sources))
    assert [row.index for row in rows] == list(range(11))
    assert [row.material_id for row in rows] == [
        *("a", "b", "row-1", "row-1", "e", "row-1", "POSCAR", "g", "h", "row-1", "rich")
    ]
    assert kinds(rows) == [None] * 11
    expected = sorted(
        zip(plain.atomic_numbers, (plain.frac_coords * 10).round().tolist(), strict=True)
    )
    for row in rows:
        assert row.structure.is_ordered
        assert row.structure.site_properties == {}
        assert {str(specie) for specie in row.structure.species} == {"Na", "Cl"}
        np.testing.assert_allclose(row.structure.lattice.matrix, plain.lattice.matrix, atol=1e-6)
        scaled = row.structure.frac_coords * 10
        np.testing.assert_allclose(scaled, scaled.round(), atol=1e-5)
        found = zip(row.structure.atomic_numbers, (scaled.round() % 10).tolist(), strict=True)
        assert sorted(found) == expected
    assert all(row.structure.atomic_numbers == plain.atomic_numbers for row in rows[4:])


def test_good_and_bad_cifs_all_have_a_row(cif_folder):
    rows = list(read_rows([cif_folder]))
    assert len(rows) == len(GOOD_CIFS) + len(BAD_CIFS) == count_rows([cif_folder])
    found = {
        row.material_id.removeprefix("bad "): kind
        for row, kind in zip(rows, kinds(rows), strict=True)
    }
    # what can be read is left to the checks on crystals, and any size will do
    readable = {
        "53 sites": None,
        **{n: None for n, (_, k) in BAD_CIFS.items() if k == "overlapping atoms"},
    }
    # one position with two occupants is no readable CIF, though
    readable["two atoms in one place"] = "overlapping atoms"
    good = {"nacl": None, "below/quartz": None, "p1": None}
    assert found == {n: k for n, (_, k) in BAD_CIFS.items()} | readable | good
    assert all((row.structure is None) != (row.reason is None) for row in rows)
    assert all(row.entry.endswith((".cif", ".CIF", ".cif.gz")) for row in rows)


def test_bad_structures_have_reasons(tmp_path, halite):
    cube = Lattice.cubic(4)
    nan = halite.as_dict()
    nan["sites"][1]["abc"][0] = float("nan")
    structures = [
        Structure(cube, [], []).as_dict(),
        Structure(cube, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]).as_dict(),
        Structure(cube, ["X"], [[0, 0, 0]]).as_dict(),
        nan,
        Structure(Lattice(cube.matrix, pbc=(True, True, False)), ["Na"], [[0, 0, 0]]).as_dict(),
        Structure(Lattice(np.zeros((3, 3))), ["Na"], [[0, 0, 0]]).as_dict(),
        Structure(Lattice.cubic(1e7), ["Na"], [[0, 0, 0]]).as_dict(),
        Structure(Lattice.orthorhombic(4, 4, 1e-9), ["Na"], [[0, 0, 0]]).as_dict(),
        Structure(cube, ["D"], [[0, 0, 0]]).as_dict(),
    ]
    (tmp_path / "a.json").write_text(json.dumps(structures))
    rows = list(read_rows([tmp_path / "a.json"]))
    assert kinds(rows) == [
        "no sites",
        "disordered",
        "no element",
        "not finite",
        "not periodic in all three directions",
        "no cell",
        "too large a cell",
        "too flat a cell",
        None,
    ]
    assert rows[-1].structure.atomic_numbers == (1,)


def test_coordinates_are_in_the_cell(tmp_path):
    structure = Structure(
        Lattice.cubic(4), ["Na"] * 3, [[-1e-17, 0, 0], [2.25, 0, 0], [-0.5, 0, 0]]
    )
    (tmp_path / "a.json").write_text(json.dumps(structure.as_dict()))
    (row,) = read_rows([tmp_path / "a.json"])
    assert row.structure.frac_coords[:, 0].tolist() == [0.0, 0.25, 0.5]


def test_left_handed_cells_are_turned_over(tmp_path):
    lattice = Lattice([[0, 5.1, 0.2], [4.3, 0, 0.4], [0.1, 0, 6.7]])
    structure = Structure(lattice, ["Na", "Cl"], [[0.1, 0.2, 0.35], [0.6, 0, 0.8]])
    structure.to(str(tmp_path / "left.json"))
    (row,) = read_rows([tmp_path / "left.json"])
    assert np.linalg.det(lattice.matrix) < 0 < np.linalg.det(row.structure.lattice.matrix)
    # not even mirrored: the sites stay where they were but for whole lattice vectors
    apart = lattice.get_fractional_coords(row.structure.cart_coords - structure.cart_coords)
    assert apart == pytest.approx(np.round(apart), abs=1e-9)
    assert (row.structure.frac_coords >= 0).all()
    assert (row.structure.frac_coords < 1).all()


def test_sources_are_chained_and_properties_kept(tmp_path, halite):
    pd.DataFrame(
        {
            "material_id": ["x", "y", "z"],
            "cif": [NACL, "", PYMATGEN_P1],
            "formation_energy_per_atom": ["-2.1", "-1", "n/a"],
            "e_above_hull": ["0.25", "", "inf"],
            "band_gap": ["5", "1", "nan"],
            "formula": ["NaCl", "?", "TmMgHg2"],
        }
    ).to_csv(tmp_path / "a.csv")
    halite.to(str(tmp_path / "b.cif"))
    rows = list(read_rows([tmp_path / "a.csv", str(tmp_path / "b.cif"), tmp_path / "a.csv"]))
    assert [row.index for row in rows] == list(range(7))
    assert [row.material_id for row in rows] == ["x", "y", "z", "b", "x", "y", "z"]
    assert kinds(rows) == [None, "unreadable", None, None, None, "unreadable", None]
    assert rows[0].properties == {
        "formation_energy_per_atom": -2.1,
        "energy_above_hull": 0.25,
        "band_gap": 5.0,
    }
    assert rows[1].properties == {"formation_energy_per_atom": -1.0, "band_gap": 1.0}
    assert rows[2].properties == rows[3].properties == {}
    assert [row.entry for row in rows[2:4]] == [
        f"{tmp_path / 'a.csv'} row 3",
        str(tmp_path / "b.cif"),
    ]


def test_data_set_file(tmp_path):
    dataset = shipped().subset([0, 15_000, 18_000])
    path = dataset.save(tmp_path / "a.npz")
    rows = list(read_rows([path, path]))
    assert count_rows([path, path]) == len(rows) == 6
    assert [row.material_id for row in rows] == dataset.material_ids * 2
    for i, row in enumerate(rows[:3]):
        expected = dataset.structure(i)
        assert row.structure.atomic_numbers == expected.atomic_numbers
        np.testing.assert_array_equal(row.structure.frac_coords, expected.frac_coords)
        np.testing.assert_array_equal(row.structure.lattice.matrix, expected.lattice.matrix)
        known = {
            name: float(values[i])
            for name in ("formation_energy_per_atom", "energy_above_hull", "band_gap")
            if not math.isnan((values := getattr(dataset, name))[i])
        }
        assert row.properties == known
    assert rows[4].entry == f"{path} row 2"


def test_first_rows_of_a_damaged_file_are_there_before_it_is_read_on(tmp_path):
    """Random ids keep the compressed file from being read in one piece."""
    ids = np.random.default_rng(0).bytes(400_000).hex()
    lines = "".join(f'{ids[i * 800 : (i + 1) * 800]},"{PYMATGEN_P1}"\n' for i in range(1000))
    whole = gzip.compress(f"material_id,cif\n{lines}".encode())
    path = tmp_path / "a.csv.gz"
    path.write_bytes(whole[:-100])
    rows = read_rows([path])
    assert kinds(islice(rows, 20)) == [None] * 20
    with pytest.raises(DatasetError, match=r"a\.csv\.gz cannot be read"):
        list(rows)
    with pytest.raises(DatasetError, match=r"a\.csv\.gz cannot be read"):
        count_rows([path])


def test_sources_that_are_missing_or_unknown_are_refused_at_once(tmp_path):
    (tmp_path / "a.cif").write_text(NACL)
    (tmp_path / "a.pdb").write_text("ATOM")
    for name, words in [
        ("b.cif", r"does not exist: give a folder of CIFs.*extxyz.*POSCAR.*\.npz"),
        ("b.npz", "does not exist"),
        ("a.pdb", r"unknown kind '\.pdb'"),
    ]:
        for function in (read_rows, count_rows):
            with pytest.raises(DatasetError, match=words):
                function([tmp_path / "a.cif", tmp_path / name])


def test_damaged_data_set_file(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(DatasetError, match=r"a\.npz"):
        next(read_rows([tmp_path / "a.npz"]))


def test_counts_where_known(tmp_path, halite):
    sources = write_each_format(halite, tmp_path)
    counted = [count_rows([source]) for source in sources]
    assert counted == [1, 1, 1, 1, None, None, 1, 1, None, 1]
    assert count_rows(sources) is None
    assert count_rows([]) == 0
    pd.DataFrame({"cif": ["a\n\nb"] * 1203}).to_csv(tmp_path / "long.csv")
    assert count_rows([tmp_path / "long.csv", sources[-1]]) == 1204


NUMBER = st.floats(width=64) | st.sampled_from([0.0, 1.0, 4.0, 90.0, 1e-300, 1e300])
VECTOR = st.lists(NUMBER, min_size=3, max_size=3)
SITE = st.fixed_dictionaries(
    {
        "species": st.lists(
            st.fixed_dictionaries(
                {
                    "element": st.sampled_from(["Na", "O2-", "X", "D", "Uuo", "", "7"]),
                    "occu": st.sampled_from([1, 1, 0.5, 0, -1, 2]),
                }
            ),
            max_size=2,
        ),
        "abc": VECTOR,
    }
)
CONTENT = st.fixed_dictionaries(
    {
        "lattice": st.fixed_dictionaries({"matrix": st.lists(VECTOR, min_size=3, max_size=3)}),
        "sites": st.lists(SITE, max_size=3),
    },
    optional={"band_gap": NUMBER | st.text(max_size=3), "charge": NUMBER},
)


def check(rows) -> None:
    """Each row has a sound structure or a reason, and no NaN stands anywhere."""
    for index, row in enumerate(rows):
        assert row.index == index
        assert all(math.isfinite(value) for value in row.properties.values())
        if row.structure is None:
            assert row.reason
            assert "\n" not in row.reason
            continue
        assert row.reason is None
        assert len(row.structure) > 0
        assert all(1 <= number <= 118 for number in row.structure.atomic_numbers)
        assert np.isfinite(row.structure.cart_coords).all()
        assert (row.structure.frac_coords >= 0).all()
        assert (row.structure.frac_coords < 1).all()
        assert 0 < row.structure.volume < np.inf


@given(st.lists(CONTENT | st.text(max_size=20) | st.none(), max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_structure_is_read_or_has_a_reason(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("rows", numbered=True)
    lines = [json.dumps(content) for content in contents]
    (folder / "a.jsonl").write_text("\n".join(lines))
    pd.DataFrame({"structure": lines, "x": 1}).to_csv(folder / "a.csv")
    for name in ("a.jsonl", "a.csv"):
        rows = list(read_rows([folder / name]))
        assert len(rows) == len(contents)
        check(rows)


LINE = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30)
ATOM = st.builds(
    "{} {} {} {}".format, st.sampled_from(["Na", "X", "8", "D"]), NUMBER, NUMBER, NUMBER
)
COMMENT = st.builds('Lattice="{}" {}'.format, st.lists(NUMBER, min_size=9, max_size=9).map(
    lambda numbers: " ".join(map(str, numbers))), LINE)  # fmt: skip


@given(st.lists(st.tuples(COMMENT | LINE, st.lists(ATOM | LINE, max_size=3)), max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_frame_is_read_or_has_a_reason(tmp_path_factory, frames):
    pytest.importorskip("ase.io", reason="needs the extra ase")
    path = tmp_path_factory.mktemp("frames", numbered=True) / "a.xyz"
    path.write_text("".join("\n".join([str(len(a)), c, *a, ""]) for c, a in frames))
    rows = list(read_rows([path]))
    assert len(rows) == len(frames)
    check(rows)


@given(st.integers(0, 80), st.integers(0, 40), st.text(max_size=5))
@settings(max_examples=150, deadline=None)
def test_damaged_poscar_is_read_or_has_a_reason(tmp_path_factory, start, length, replacement):
    text = "x\n-120.0\n2 0 0\n0 2.5 0\n0.5 0 3\nNa Cl\n1 1\nCartesian\n0 0 0\n1 1 1\n"
    path = tmp_path_factory.mktemp("poscars", numbered=True) / "POSCAR"
    path.write_text(text[:start] + replacement + text[start + length :])
    check(read_rows([path]))
