from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pandas as pd
import pytest
from cif_examples import BAD_CIFS, GOOD_CIFS, NACL, PYMATGEN_P1, QUARTZ
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import build_dataset, read_structures
from crystens_flows.datasets.sources import _array_items
from crystens_flows.errors import DatasetError


def read(source):
    return read_structures(source, workers=1, progress=False)


@pytest.fixture
def halite() -> Structure:
    return Structure(Lattice.cubic(5.62), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_folder_of_cifs(cif_folder):
    records, rejected = read(cif_folder)
    assert [record.material_id for record in records] == ["below/quartz", "nacl", "p1"]
    assert [record.space_group for record in records] == [154, 225, 225]
    assert len(records) + len(rejected) == len(GOOD_CIFS) + len(BAD_CIFS)
    kinds = {rejection.material_id.removeprefix("bad "): rejection.kind for rejection in rejected}
    assert kinds == {name: kind for name, (_, kind) in BAD_CIFS.items()}
    assert all(rejection.entry.endswith(".cif") for rejection in rejected)


def test_one_cif(tmp_path):
    (tmp_path / "a.cif").write_text(NACL)
    records, rejected = read(str(tmp_path / "a.cif"))
    assert (records[0].material_id, rejected) == ("a", [])


def test_folder_without_cifs(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no \*\.cif"):
        read(tmp_path)


def test_cif_that_is_not_text(tmp_path):
    (tmp_path / "a.cif").write_bytes(b"\xff\xfe\x00data")
    (tmp_path / "b.cif.gz").write_bytes(gzip.compress(NACL.encode())[:100])
    records, rejected = read(tmp_path)
    assert (len(records), [r.kind for r in rejected]) == (0, ["unreadable", "unreadable"])


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_csv(tmp_path, ending):
    path = tmp_path / f"crystals{ending}"
    pd.DataFrame(
        {
            "material_id": ["mp-1", "mp-2", "mp-3", ""],
            "cif": [NACL, BAD_CIFS["disordered"][0], "", QUARTZ],
            "formation_energy_per_atom": [-2.1, -1.0, -1.0, np.nan],
            "e_above_hull": [0.0, 0.0, 0.0, 0.25],
            "band_gap": ["5.0", "1", "1", ""],
            "spacegroup.number": [225, 1, 1, 154],
        }
    ).to_csv(path)
    records, rejected = read(path)
    assert [record.material_id for record in records] == ["mp-1", "row-4"]
    assert [record.band_gap for record in records] == pytest.approx([5.0, np.nan], nan_ok=True)
    assert [record.energy_above_hull for record in records] == [0.0, 0.25]
    assert records[0].formation_energy_per_atom == -2.1
    assert [(r.entry.split()[-1], r.kind) for r in rejected] == [
        ("2", "disordered"),
        ("3", "unreadable"),
    ]


def test_csv_without_cifs(tmp_path):
    (tmp_path / "a.csv").write_text("material_id,geometry\nmp-1,x\n")
    with pytest.raises(DatasetError, match=r"no column 'cif'.*material_id, geometry"):
        read(tmp_path / "a.csv")


def test_csv_of_pymatgen_json(tmp_path, halite):
    text = json.dumps(halite.as_dict())
    pd.DataFrame(
        {
            "structure": [text, text[:-5], "[1]", "", str(halite.as_dict())],
            "band_gap": [5.0, 1.0, 1.0, 1.0, 1.0],
        }
    ).to_csv(tmp_path / "a.csv")
    records, rejected = read(tmp_path / "a.csv")
    assert [(r.material_id, r.space_group, r.band_gap) for r in records] == [("row-1", 221, 5.0)]
    assert [r.kind for r in rejected] == ["unreadable"] * 4


def test_csv_with_both_columns_takes_the_cif(tmp_path):
    pd.DataFrame({"structure": ["x"], "cif": [NACL]}).to_csv(tmp_path / "a.csv")
    assert len(read(tmp_path / "a.csv")[0]) == 1


def test_csv_row_that_ends_early(tmp_path):
    (tmp_path / "a.csv").write_text(f'band_gap,cif,material_id\n1,"{NACL}"\n2\n')
    records, rejected = read(tmp_path / "a.csv")
    assert [record.material_id for record in records] == ["row-1"]
    assert [(r.material_id, r.reason) for r in rejected] == [("row-2", "unreadable: no CIF text")]


@pytest.mark.parametrize("keep", [0, 10, 200, -1, -9, -30])
def test_truncated_gzip(tmp_path, keep):
    whole = gzip.compress(("material_id,cif\n" + f'mp-1,"{NACL}"\n' * 3).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[:keep])
    with pytest.raises(DatasetError, match=r"a\.csv\.gz"):
        read(tmp_path / "a.csv.gz")


def test_empty_csv(tmp_path):
    (tmp_path / "a.csv").write_text("material_id,cif\n")
    with pytest.raises(DatasetError, match="empty"):
        build_dataset(tmp_path / "a.csv", progress=False)
    (tmp_path / "b.csv").write_text("")
    with pytest.raises(DatasetError, match="empty"):
        build_dataset(tmp_path / "b.csv", progress=False)


def test_unknown_and_missing_sources(tmp_path):
    (tmp_path / "a.pdb").write_text("ATOM\n")
    with pytest.raises(DatasetError, match=r"unknown kind '\.pdb'.*POSCAR"):
        read(tmp_path / "a.pdb")
    with pytest.raises(
        DatasetError, match=r"does not exist: give a folder of CIFs.*\.npz, made by"
    ):
        read(tmp_path / "nowhere")
    (tmp_path / "a.npz").touch()
    with pytest.raises(DatasetError, match=r"a data set file, not structures.*Dataset\.load"):
        read(tmp_path / "a.npz")


def _dicts(structure: Structure) -> list:
    """Pymatgen dicts in the shapes they come in, and some that are none."""
    plain = structure.as_dict()
    disordered = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]).as_dict()
    nan = structure.as_dict()
    nan["sites"][1]["abc"][0] = float("nan")
    return [
        plain,
        {"structure": plain, "material_id": "mp-22862", "band_gap": 5.0, "energy_above_hull": 0},
        disordered,
        {"structure": nan, "material_id": "nan"},
        {"structure": None, "material_id": "none"},
        {"lattice": plain["lattice"]},
        [1, 2],
        3,
    ]


def _check_dicts(records, rejected):
    assert [record.material_id for record in records] == ["row-1", "mp-22862"]
    assert records[0].numbers.tolist() == records[1].numbers.tolist() == [11, 17]
    assert (records[1].band_gap, records[1].energy_above_hull) == (5.0, 0.0)
    assert [rejection.kind for rejection in rejected] == [
        "disordered",
        "not finite",
        "unreadable",
        "unreadable",
        "unreadable",
        "unreadable",
    ]


@pytest.mark.parametrize("compressed", [False, True])
def test_json_list(tmp_path, halite, compressed):
    path = tmp_path / ("a.json.gz" if compressed else "a.json")
    text = json.dumps(_dicts(halite), indent=compressed or None).encode()
    path.write_bytes(gzip.compress(text) if compressed else text)
    _check_dicts(*read(path))


@pytest.mark.parametrize("compressed", [False, True])
def test_jsonl(tmp_path, halite, compressed):
    path = tmp_path / ("a.jsonl.gz" if compressed else "a.jsonl")
    text = "\n".join(json.dumps(item) for item in _dicts(halite)).encode()
    path.write_bytes(gzip.compress(text) if compressed else text)
    _check_dicts(*read(path))


def test_jsonl_with_a_bad_line(tmp_path, halite):
    good = json.dumps(halite.as_dict())
    (tmp_path / "a.jsonl").write_text(f"{good}\n\n{good[:50]}\n{good}")
    records, rejected = read(tmp_path / "a.jsonl")
    assert [record.material_id for record in records] == ["row-1", "row-4"]
    assert [rejection.entry.split()[-1] for rejection in rejected] == ["3"]


def test_json_of_one_structure_and_by_id(tmp_path, halite):
    halite.to(filename=str(tmp_path / "halite.json"))
    assert [r.material_id for r in read(tmp_path / "halite.json")[0]] == ["halite"]
    (tmp_path / "b.json").write_text(json.dumps({"x": halite.as_dict(), "y": halite.as_dict()}))
    assert [r.material_id for r in read(tmp_path / "b.json")[0]] == ["x", "y"]


@pytest.mark.parametrize("text", ["", "{", "[", '[{"a": 1}', '[{"a": 1},]', '[{"a": 1} 2]', "[1]x"])
def test_json_that_is_none(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DatasetError, match=r"a\.json cannot be read"):
        read(tmp_path / "a.json")


def test_json_of_something_else(tmp_path):
    (tmp_path / "a.json").write_text("12")
    with pytest.raises(DatasetError, match="neither a list nor a dict"):
        read(tmp_path / "a.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=6),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
@settings(max_examples=100, deadline=None)
def test_array_is_decoded_piece_by_piece(items, size, indent):
    stream = io.StringIO(json.dumps(items, indent=indent) + "\n")
    assert stream.read(1) == "["
    assert list(_array_items(stream, size)) == items


def test_ase_database(tmp_path, halite):
    ase_db = pytest.importorskip("ase.db", reason="needs the extra ase")
    from ase import Atoms
    from ase.build import bulk

    path = tmp_path / "crystals.db"
    with ase_db.connect(path) as database:
        database.write(bulk("Cu", cubic=True), material_id="mp-30", formation_energy_per_atom=0.0)
        database.write(bulk("NaCl", "rocksalt", a=5.64), band_gap=5.0)
        database.write(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]]))
        database.write(bulk("Cu").repeat((4, 4, 4)))
        database.write(Atoms("NaX", cell=[4, 4, 4], pbc=True, positions=[[0] * 3, [2] * 3]))
        database.write(Atoms("Na", cell=[4, 4, 4], pbc=True, positions=[[np.nan, 0, 0]]))
        database.write(Atoms("Na", pbc=True))
    records, rejected = read(path)
    assert [record.material_id for record in records] == ["mp-30", "row-2"]
    assert [record.space_group for record in records] == [225, 225]
    assert records[0].formation_energy_per_atom == 0.0
    assert records[1].band_gap == 5.0
    assert [rejection.kind for rejection in rejected] == [
        "not periodic in all three directions",
        "more than 52 sites",
        "no element",
        "not finite",
        "unreadable",
    ]


def test_file_that_is_no_ase_database(tmp_path):
    pytest.importorskip("ase.db", reason="needs the extra ase")
    import sqlite3

    (tmp_path / "a.db").write_bytes(b"no database at all" * 100)
    with sqlite3.connect(tmp_path / "b.db") as other:
        other.execute("create table things (id integer)")
    (tmp_path / "c.db").write_bytes(b"")
    before = (tmp_path / "b.db").read_bytes()
    for name in ("a.db", "b.db", "c.db"):
        with pytest.raises(DatasetError, match=name):
            read(tmp_path / name)
    assert (tmp_path / "b.db").read_bytes() == before


POSCARS = {
    "direct": "comment\n1.0\n4 0 0\n0 5 0\n1 0 6\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n",
    "cartesian": "\n2.0\n2 0 0\n0 2.5 0\n0.5 0 3\nNa Cl\n1 1\nCartesian\n0 0 0\n1 1 1 Cl\n",
    "volume": "x\n-120\n2 0 0\n0 2.5 0\n0.5 0 3\nNa Cl\n1 1\nCartesian\n0 0 0\n1 1 1\n",
    "volume, direct": "x\n-90 # A^3\n2 0 0\n0 2 0\n1 0 3\nNa Cl\n1 1\nDirect\n0 0 0\n.1 .2 .3\n",
    "selective": "x\n1\n4 0 0\n0 5 0\n1 0 6\nNa Cl\n1 1\nSelective dynamics\nDirect\n"
    "0 0 0 T T F\n0.5 0.5 0.5 T T T\n",
    "velocities": "x\n1\n4 0 0\n0 5 0\n1 0 6\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n\n0 0 1\n0 0 1",
}


@pytest.mark.parametrize(
    "name", ["POSCAR", "CONTCAR.gz", "a.vasp", "POSCAR_12.relaxed", "b.vasp.gz"]
)
@pytest.mark.parametrize("text", POSCARS.values(), ids=POSCARS)
def test_poscar_is_what_ase_reads(tmp_path, name, text):
    ase_io = pytest.importorskip("ase.io", reason="needs the extra ase")
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    atoms = ase_io.read(io.StringIO(text.replace(" # A^3", "")), format="vasp")
    (record,), _ = read(path)
    assert record.material_id == name.removesuffix(".gz").removesuffix(".vasp")
    assert record.numbers.tolist() == [11, 17]
    np.testing.assert_allclose(record.frac_coords, atoms.get_scaled_positions(), atol=1e-6)
    np.testing.assert_allclose(record.lattice, atoms.cell.cellpar(), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "unreadable"),
        ("Dear reader,\nthis is no POSCAR.\n", "unreadable"),
        (POSCARS["direct"][:50], "unreadable"),
        (POSCARS["direct"].replace("Na Cl\n", ""), "no element names"),
        (POSCARS["direct"].replace("Na", "Xx"), "no element"),
        (POSCARS["direct"].replace("0.5 0.5 0.5", "0.5 nan 0.5"), "not finite"),
        (POSCARS["direct"].replace("1.0", "1.0 1.0 2.0"), "unreadable"),
    ],
)
def test_bad_poscar(tmp_path, text, kind):
    (tmp_path / "POSCAR").write_text(text)
    records, rejected = read(tmp_path / "POSCAR")
    assert ([], [kind]) == (records, [r.kind for r in rejected])


FRAME = '2\nLattice="4 0 0 0 5 0 1 0 6" Properties=species:S:1:pos:R:3 {}\nNa 0 0 0\nCl 2 2.5 3\n'


@pytest.mark.parametrize("ending", [".xyz", ".extxyz", ".extxyz.gz"])
def test_extended_xyz(tmp_path, ending):
    pytest.importorskip("ase.io", reason="needs the extra ase")
    frames = [
        FRAME.format("material_id=gen-1 band_gap=5.0 energy=-3.1"),
        "\n",
        FRAME.format('pbc="T T F"'),
        "2\nwithout a lattice\nO 0 0 0\nC 0 0 1.1\n",
        FRAME.format("").replace("2.5", "nan"),
        FRAME.format("").replace("Cl", "X"),
        FRAME.format("").replace("Cl 2", "Cl x"),
        FRAME.format("").replace("4 0 0 0", "4 0 0"),
        FRAME.format(""),
        "5\nNa 0 0 0\n",
    ]
    path = tmp_path / f"a{ending}"
    text = "".join(frames).encode()
    path.write_bytes(gzip.compress(text) if ending.endswith(".gz") else text)
    records, rejected = read(path)
    assert [record.material_id for record in records] == ["gen-1", "row-8"]
    for record in records:
        np.testing.assert_allclose(record.frac_coords, [[0, 0, 0], [0.375, 0.5, 0.5]], atol=1e-6)
    assert records[0].band_gap == 5.0
    assert [(r.entry.split("frame ")[-1], r.kind) for r in rejected] == [
        ("2 (line 6)", "not periodic in all three directions"),
        ("3 (line 10)", "not periodic in all three directions"),
        ("4 (line 14)", "not finite"),
        ("5 (line 18)", "no element"),
        ("6 (line 22)", "unreadable"),
        ("7 (line 26)", "unreadable"),
        ("9 (line 34)", "unreadable"),
    ]


def test_xyz_of_one_frame_has_the_name_of_its_file(tmp_path):
    pytest.importorskip("ase.io", reason="needs the extra ase")
    (tmp_path / "gen_7.xyz").write_text(FRAME.format(""))
    assert [record.material_id for record in read(tmp_path / "gen_7.xyz")[0]] == ["gen_7"]


def test_xyz_with_its_cell_after_the_atoms(tmp_path):
    pytest.importorskip("ase.io", reason="needs the extra ase")
    frame = "1\n\nNa 0 0 0\nVEC1 4 0 0\nVEC2 0 4 0\nVEC3 0 0 4\n"
    (tmp_path / "a.xyz").write_text(frame * 2)
    assert [record.space_group for record in read(tmp_path / "a.xyz")[0]] == [221, 221]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("Na 0 0 0\n", "no number of atoms in line 5"),
        ("-2\n", "no number of atoms in line 5"),
        ("9" * 5000 + "\n", "Exceeds the limit"),
    ],
)
def test_xyz_whose_frames_cannot_be_found(tmp_path, damage, words):
    pytest.importorskip("ase.io", reason="needs the extra ase")
    (tmp_path / "a.xyz").write_text(FRAME.format("") + damage + FRAME.format(""))
    with pytest.raises(DatasetError, match=rf"a\.xyz cannot be read \({words}"):
        read(tmp_path / "a.xyz")


def test_ids_stay_on_one_line(tmp_path):
    frame = pd.DataFrame({"material_id": ["a\nb"], "cif": [PYMATGEN_P1]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    dataset, _ = build_dataset(tmp_path / "a.csv", progress=False)
    assert dataset.material_ids == ["a b"]
    dataset.save(tmp_path / "a.npz")
