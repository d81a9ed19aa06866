from __future__ import annotations

import csv
import json
from typing import get_args

import pytest
import yaml
from pymatgen.core import Lattice, Structure

from crystens_flows.cli.screening_options import MODELS as MODELS_OF_THE_CLI
from crystens_flows.cli.screening_options import RankedQuantity
from crystens_flows.screening.pipeline import ModelName
from crystens_flows.screening.selection import QUANTITIES

MODELS = ("--models", "cgcnn,chgnet")
KEYS = {"status", "reason", "energy_above_hull", "cgcnn", "chgnet", "validity", "hull", "tuning"}


@pytest.fixture
def cifs(tmp_path):
    """Return a folder of two salts, one that overlaps and one that is no CIF."""
    folder = tmp_path / "cifs"
    folder.mkdir()
    for name, metal, a in (("a-halite", "Na", 5.64), ("c-sylvite", "K", 6.29)):
        salt = Structure.from_spacegroup(
            225, Lattice.cubic(a), [metal, "Cl"], [[0, 0, 0], [0.5, 0, 0]]
        )
        salt.perturb(0.03, seed=0)
        salt.to(str(folder / f"{name}.cif"), fmt="cif")
    overlapping = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.1]])
    overlapping.to(str(folder / "b-overlapping.cif"), fmt="cif")
    (folder / "d-nothing.cif").write_text("no crystal at all")
    return folder


def test_a_folder_of_cifs(crystens, cifs, tmp_path):
    folder = tmp_path / "screened"
    result = crystens("screen", cifs, "-o", folder, *MODELS, "--select", "1", "--tune")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split()[:3] == ["index", "id", "formula"]
    assert {line.split()[2] for line in lines[1:]} == {"NaCl", "KCl"}
    assert "4 structures" in result.err
    assert "read           1 fell,      3 left" in result.err
    assert "validity       1 fell,      2 left" in result.err
    assert "selected 1" in result.err

    records = json.loads((folder / "records.json").read_text())
    assert [record["index"] for record in records] == [0, 1, 2, 3]
    assert [record["id"] for record in records] == [
        *("a-halite", "b-overlapping", "c-sylvite", "d-nothing"),
    ]
    assert all(record.keys() >= KEYS for record in records)
    status = [record["status"] for record in records]
    assert sorted(status) == ["rejected", "rejected", "screened", "selected"]
    assert records[1]["rejected_by"] == "validity"
    assert records[3]["rejected_by"] == "read"
    assert records[3]["chgnet"] == {"formation_energy_per_atom": None}
    chosen = records[status.index("selected")]
    assert chosen["chgnet"]["formation_energy_per_atom"] == pytest.approx(-2.0, abs=0.3)
    assert abs(chosen["energy_above_hull"]) < 0.1
    assert chosen["tuning"]["changed"]
    assert chosen["tuning"]["space_group_after"] == 225

    with (folder / "records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [record["id"] for record in records]
    assert float(rows[0]["chgnet.formation_energy_per_atom"]) == pytest.approx(
        records[0]["chgnet"]["formation_energy_per_atom"]
    )
    models = json.loads((folder / "models.json").read_text())
    assert models["chgnet"]["name"].startswith("CHGNet")
    assert models["hull"]["n_entries"] > 33_758
    options = yaml.safe_load((folder / "options.yaml").read_text())
    assert options["models"] == ["cgcnn", "chgnet"]
    files = sorted(path.name for path in (folder / "selected").iterdir())
    assert len(files) == 2
    tuned = Structure.from_file(folder / "selected" / files[0])
    assert tuned.composition.reduced_formula == chosen["formula"]
    assert tuned.get_space_group_info()[1] == 225


def test_the_models_that_can_be_named_are_those_that_there_are():
    assert get_args(ModelName) == MODELS_OF_THE_CLI
    assert {each.value for each in RankedQuantity} < {"weighted", *QUANTITIES}


def test_records_on_standard_output_and_options_from_a_file(crystens, cifs, tmp_path):
    (tmp_path / "my.yaml").write_text("models: chgnet\nformat: json\nnumber: 1\nknown: none\n")
    result = crystens("screen", cifs, "-o", tmp_path / "out", "--config", tmp_path / "my.yaml")
    assert result.code == 0, result.err
    (record,) = json.loads(result.out)
    assert record["id"] == "a-halite"
    assert "cgcnn" not in record
    assert "novelty" not in record
    assert record["chgnet"]["formation_energy_per_atom"] is not None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere.csv",), 1, "nowhere.csv does not exist"),
        ((), 2, "missing argument 'sources'"),
        (("cifs", "--models", "cgcnn,magic"), 2, "'magic' is no model: known are cgcnn, m3gnet"),
        (("cifs", "--models", "cgcnn,cgcnn"), 2, "a model is named twice"),
        (("cifs", "--hull", "no.csv"), 2, "there is no file no.csv"),
        (("cifs", "--select", "9", "--pool", "3"), 2, "--select 9 is more than --pool 3"),
        (("cifs", "--known", "no-such-folder"), 2, "there is no file or folder no-such-folder"),
        (("cifs", "--max-energy-above-hull", "nan"), 2, "--max-energy-above-hull nan is no fin"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(crystens, cifs, tmp_path, arguments, code, message):
    result = crystens("screen", *arguments, "-o", tmp_path / "out")
    assert result.code == code
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
