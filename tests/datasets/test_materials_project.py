from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import MaterialsProject, Record, build_dataset
from crystens_flows.datasets.materials_project import entry_from_summary
from crystens_flows.datasets.parse import parse_entry
from crystens_flows.errors import DatasetError
from materials_project_server import KEY, materials_project

pytest.importorskip("mp_api.client", reason="needs the extra mp")

HALITE = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
MATERIALS = {
    f"mp-{number}": {
        "material_id": f"mp-{number}",
        "structure": HALITE.as_dict(),
        "formation_energy_per_atom": -2.0,
        "energy_above_hull": 0.01 * i,
        "band_gap": None,
        "nsites": 2,
    }
    for i, number in enumerate((22862, 149, 13))
}


def summary(query):
    """Find the materials of a query; none of them is left out for its chemical system."""
    ids = query["material_ids"].split(",") if "material_ids" in query else list(MATERIALS)
    limit = float(query.get("energy_above_hull_max", "inf"))
    found = [MATERIALS[name] for name in ids if name in MATERIALS]
    return [doc for doc in found if doc["energy_above_hull"] <= limit]


@pytest.fixture
def server():
    with materials_project(summary) as running:
        yield running


READ = """
import json, sys
from crystens_flows.datasets import MaterialsProject, build_dataset
from crystens_flows.errors import DatasetError
try:
    dataset, rejected = build_dataset(MaterialsProject(**json.loads(sys.argv[1])), progress=False)
    print(json.dumps([dataset.material_ids, dataset.energy_above_hull.round(3).tolist()]))
except DatasetError as error:
    print(json.dumps(str(error)))
"""


def test_query(server):
    ids, above_hull = server.run(
        READ, {"api_key": KEY, "chemsys": ["Na-Cl", "K-*"], "max_energy_above_hull": 0.015}
    )
    assert ids == ["mp-149", "mp-22862"]
    assert above_hull == pytest.approx([0.01, 0.0])
    queries = [query for path, query in server.queries if path != "/heartbeat"]
    assert queries[0]["chemsys"] == "Na-Cl,K-*"
    assert (queries[0]["nsites_min"], queries[0]["nsites_max"]) == ("1", "52")
    assert queries[0]["_fields"] == "material_id"
    assert "structure" in queries[-1]["_fields"]


def test_key_that_is_refused(server):
    message = server.run(READ, {"api_key": KEY[::-1]})
    assert "gave no answer" in message
    assert "check the API key" in message
    assert "\n" not in message


def test_no_such_material(server):
    assert "empty data set" in server.run(READ, {"api_key": KEY, "material_ids": ["mp-1"]})


def test_without_a_key(monkeypatch):
    from pymatgen.core import SETTINGS

    monkeypatch.delenv("MP_API_KEY", raising=False)
    monkeypatch.delitem(SETTINGS, "PMG_MAPI_KEY", raising=False)
    with pytest.raises(DatasetError, match=r"API key: give api_key or set MP_API_KEY.*shipped"):
        build_dataset(MaterialsProject(chemsys=("Na-Cl",)), progress=False)


def test_summary_document():
    from emmet.core.summary import SummaryDoc

    # what the client makes of an answer that holds some fields only
    doc = SummaryDoc.model_construct(**{**MATERIALS["mp-149"], "structure": HALITE})
    record = parse_entry(entry_from_summary(doc))
    assert isinstance(record, Record)
    assert (record.material_id, record.space_group) == ("mp-149", 221)
    assert record.formation_energy_per_atom == -2.0
    assert record.band_gap != record.band_gap


def test_summary_document_without_structure():
    from emmet.core.summary import SummaryDoc

    rejection = parse_entry(entry_from_summary(SummaryDoc.model_construct(material_id="mp-2")))
    assert (rejection.material_id, rejection.reason) == ("mp-2", "no structure")
