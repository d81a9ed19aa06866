"""crystens encode and decode."""

import csv
import json

import numpy as np
from pymatgen.core import Structure


def one_line(text):
    return text.count("\n") == 1


def test_encode_then_decode_gives_the_crystal_back(crystens, cif_folder, tmp_path):
    result = crystens("encode", cif_folder, "-o", "encoded")
    assert result.code == 0
    assert "encoded 1, rejected 1" in result.err
    rejected = list(csv.DictReader((tmp_path / "encoded" / "rejected.csv").open()))
    assert "broken.cif" in rejected[0]["entry"]
    assert rejected[0]["reason"]

    result = crystens("decode", "encoded/crystens.npy", "-o", "decoded", "--format", "json")
    assert result.code == 0
    records = json.loads(result.out)
    assert [(r["formula"], r["n_sites"], r["space_group"]) for r in records] == [("NaCl", 8, 225)]
    decoded = Structure.from_file(tmp_path / "decoded" / records[0]["file"])
    assert {path.name for path in tmp_path.iterdir()} == {"cifs", "encoded", "decoded"}
    assert decoded.matches(Structure.from_file(cif_folder / "salt.cif"))


def test_layers_of_descriptors_are_written_and_not_read(crystens, cif_folder, tmp_path):
    result = crystens("encode", cif_folder, "-o", "more", "--descriptors", "group, radius")
    assert result.code == 0
    assert "layers after the fourth: group, radius\n" in result.err
    assert crystens("encode", cif_folder, "-o", "plain").code == 0
    more, plain = (np.load(tmp_path / name / "crystens.npy") for name in ("more", "plain"))
    assert more.shape == (1, 6, 64, 64)
    assert np.array_equal(more[:, :4], plain)
    numbers = Structure.from_file(cif_folder / "salt.cif").atomic_numbers
    groups = [{11: 1, 17: 17}[z] / 18 for z in numbers]
    np.testing.assert_allclose(more[0, 4, range(12, 20), range(12, 20)], groups, rtol=1e-6)
    printed = [
        crystens("decode", f"{name}/crystens.npy", "-o", f"{name}-decoded", "--format", "json").out
        for name in ("more", "plain")
    ]
    assert printed[0] == printed[1]
    files = [next((tmp_path / f"{name}-decoded").glob("*.cif")) for name in ("more", "plain")]
    assert files[0].read_text() == files[1].read_text()


def test_records_as_csv_have_a_header(crystens, cif_folder):
    crystens("encode", cif_folder, "-o", "encoded")
    result = crystens("decode", "encoded/crystens.npy", "-o", "decoded", "--format", "csv")
    assert result.err == "decoded 1 of 1, rejected 0: decoded\n"
    rows = list(csv.DictReader(result.out.splitlines()))
    assert rows[0]["formula"] == "NaCl"


def test_one_broken_tensor_does_not_stop_the_others(crystens, cif_folder, tmp_path):
    crystens("encode", cif_folder, "-o", "encoded")
    tensors = np.load(tmp_path / "encoded" / "crystens.npy")
    broken = tensors.copy()
    broken[0, 0, 20, 20] = np.nan
    np.save(tmp_path / "mixed.npy", np.concatenate([broken, tensors]))
    result = crystens("decode", "mixed.npy", "-o", "decoded", "--format", "json")
    assert result.code == 0
    records = json.loads(result.out)
    assert records[0]["formula"] is None
    assert records[0]["reason"]
    assert records[1]["formula"] == "NaCl"


def test_errors_are_one_line_with_exit_code_1(crystens, cif_folder, tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((3, 64, 64), np.float32))
    np.save(tmp_path / "nan.npy", np.full((1, 4, 64, 64), np.nan, np.float32))
    np.save(tmp_path / "none.npy", np.zeros((0, 4, 64, 64), np.float32))
    np.save(tmp_path / "int.npy", np.zeros((1, 4, 64, 64), np.int64))
    np.savez(tmp_path / "several.npz", a=np.zeros(3))
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for arguments, words in [
        (("decode", "flat.npy"), "flat.npy holds (3, 64, 64)"),
        (("decode", "none.npy"), "no tensor"),
        (("decode", "int.npy"), "int.npy holds int64"),
        (("decode", "several.npz"), "several.npz is an archive of arrays (.npz): give a .npy file"),
        (("decode", "nan.npy"), "nan.npy: no tensor could be decoded (first reason: the tensor"),
        (("decode", "text.npy"), "text.npy is no numpy file"),
        (("decode", "absent.npy"), "there is no file absent.npy"),
        (("decode", "flat.npy", "-o", "used"), "used is in use"),
        (("encode", cif_folder, "-o", "used"), "used is in use"),
        (("encode", cif_folder, "--descriptors", "group,colour"), "'colour' is no descriptor: kno"),
        (("encode", "empty"), "empty"),
        (("encode", "absent"), "absent"),
    ]:
        result = crystens(*arguments)
        assert result.code == 1, arguments
        assert words in result.err
        assert one_line(result.err), result.err
        assert not result.out
        assert not list(tmp_path.glob("*crystens-*"))


def test_nothing_is_left_behind_by_an_encode_that_failed(crystens, tmp_path):
    (tmp_path / "cifs").mkdir()
    (tmp_path / "cifs" / "broken.cif").write_text("this is no CIF")
    assert crystens("encode", "cifs", "-o", "encoded").code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cifs"]
