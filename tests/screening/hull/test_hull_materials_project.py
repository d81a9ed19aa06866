from __future__ import annotations

from collections import Counter

import pytest

from crystens_flows.errors import DatasetError, InputError
from crystens_flows.screening.hull import HullReference, HullService
from materials_project_server import KEY, materials_project

pytest.importorskip("mp_api.client", reason="needs the extra mp")

ENTRIES = [
    ("mp-22862", "NaCl", "Cl-Na", -2.1),
    ("mp-149", "Na", "Na", 0.0),
    ("mp-13", "Cl2", "Cl", 0.0),
    ("mp-2", "KCl", "Cl-K", -2.2),
    ("mp-3", "KCl3", "Cl-K", None),
]
MANY = ["H", "Li", "Be", "B", "C", "N", "O", "F", "Na", "Mg", "Al"]


def thermo(query):
    """Find the entries of some chemical systems."""
    return [
        {"material_id": name, "formula_pretty": formula, "formation_energy_per_atom": energy}
        for name, formula, system, energy in ENTRIES
        if system in query["chemsys"].split(",")
    ]


@pytest.fixture
def server():
    with materials_project(thermo) as running:
        yield running


@pytest.fixture
def no_key(monkeypatch):
    from pymatgen.core import SETTINGS

    monkeypatch.delenv("MP_API_KEY", raising=False)
    monkeypatch.delitem(SETTINGS, "PMG_MAPI_KEY", raising=False)


def systems_asked(server):
    """Count how often each chemical system was asked for."""
    queries = [query for path, query in server.queries if "thermo" in path]
    assert {query["thermo_types"] for query in queries} == {"GGA_GGA+U"}
    return Counter(system for query in queries for system in query["chemsys"].split(","))


READ = """
import json, sys
from crystens_flows.errors import DatasetError
from crystens_flows.screening.hull import HullReference
found = []
for systems, key in json.loads(sys.argv[1]):
    try:
        reference = HullReference.from_materials_project(systems, api_key=key)
        results = reference.evaluate(["NaCl", "NaK", "Na", "KCl"], [-2.0, 0.0, 0.1, -2.0])
        found.append([reference.ids, reference.name,
                      [r.energy_above_hull for r in results], [r.reason for r in results]])
    except DatasetError as error:
        found.append(str(error))
print(json.dumps(found))
"""


def test_queries(server):
    found, nothing, refused = server.run(
        READ, [(["Na-Cl", "K-Cl", "Cl-Na"], KEY), (["Li"], KEY), (["Na-Cl"], KEY[::-1])]
    )
    ids, name, above_hull, reasons = found
    assert ids == ["mp-13", "mp-149", "mp-2", "mp-22862"]
    assert "GGA_GGA+U" in name
    assert above_hull == [pytest.approx(0.1), None, pytest.approx(0.1), pytest.approx(0.2)]
    # nobody asked for this system, so that having no entry of it says nothing
    assert reasons == [None, "chemical system not in the reference: K-Na", None, None]
    assert set(systems_asked(server)) == {"Na", "Cl", "K", "Cl-Na", "Cl-K", "Li"}
    assert "no entries in Li" in nothing
    assert "gave no answer" in refused
    assert "check the API key" in refused
    assert "\n" not in refused


EVALUATE = """
import json, os, sys
from pymatgen.core import Composition
from crystens_flows.screening.hull import HullService
key, *batches = json.loads(sys.argv[1])
os.environ["MP_API_KEY"] = key
service = HullService("mp")
found = []
for formulas in batches:
    energies = [None if formula == "CsF" else -2.0 for formula in formulas]
    results = service.evaluate([Composition(f) for f in formulas], energies)
    found.append([[r.energy_above_hull, list(r.decomposition_ids), r.elements_only, r.reason,
                   shift and shift.shift] for r, shift in results])
print(json.dumps(found))
"""


def test_service_asks_for_each_system_once(server):
    many = "".join(MANY)
    first, second = server.run(
        EVALUATE, [KEY, ["NaCl", "Na2Cl2", many, "XNaCl"], ["KCl", "NaCl", "CsF", "PoAt", many]]
    )
    assert systems_asked(server) == Counter(["Na", "Cl", "K", "Cl-Na", "Cl-K", "At", "Po", "At-Po"])
    # those of which there is no entry too, but not that of the candidate without an energy
    salt, salt_again, too_many, dummy = first
    assert salt == salt_again == second[1]
    above, ids, elements_only, reason, shift = salt
    assert above == pytest.approx(-2.0 + shift + 2.1)
    assert (ids, elements_only, reason) == (["mp-22862"], False, None)
    assert second[0][1:4] == [["mp-2"], False, None]
    assert second[2][3] == "no energy: it is missing"
    unknown = second[3]
    assert unknown[0] == pytest.approx(-2.0 + unknown[4])
    assert unknown[2:4] == [True, None]
    for each in (too_many, second[4]):
        assert each[0] is None
        assert each[3].startswith("chemical system not in the reference: Al-B-Be")
    assert dummy[0] is None
    assert "is no element" in dummy[3]


def test_service_says_at_once_that_there_is_no_key(no_key):
    with pytest.raises(DatasetError, match=r"API key: give api_key or set MP_API_KEY.*shipped"):
        HullService("mp")


def test_without_a_key(no_key):
    with pytest.raises(DatasetError, match=r"API key: give api_key or set MP_API_KEY.*shipped"):
        HullReference.from_materials_project(["Na-Cl"])


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        (["Na-Xq"], "'Na-Xq' holds 'Xq', which is no element"),
        (["Na-*"], "which is no element"),
        ([], "no chemical systems"),
        (["-".join(MANY)], "at most 10"),
    ],
)
def test_no_chemical_system(systems, message):
    with pytest.raises(InputError, match=message.replace("*", r"\*")):
        HullReference.from_materials_project(systems, api_key=KEY)
