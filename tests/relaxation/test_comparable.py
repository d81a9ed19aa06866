"""Which energies are held against the Materials Project's, and how."""

from __future__ import annotations

import contextlib
import io
import json
from copy import deepcopy

import numpy as np
import pytest
from monty.json import MontyDecoder, MontyEncoder
from monty.serialization import dumpfn
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.entries.computed_entries import ComputedEntry

from crystens_flows.datasets import shipped
from crystens_flows.relaxation.comparable import compare, judge
from crystens_flows.relaxation.mp_entries import shipped_elements
from crystens_flows.relaxation.vasp_entry import corrected_entry
from crystens_flows.schemas import RelaxDocument
from crystens_flows.testing import stand_in_command, stand_in_environment
from materials_project_server import KEY, materials_project
from stand_in_runs import ROCK_SALT

pytest.importorskip("atomate2.vasp.jobs.mp", reason="needs the extra vasp")

YTTRIUM_CHROMITE = Structure.from_spacegroup(
    "Pnma",
    Lattice.orthorhombic(5.615, 7.667, 5.317),
    ["Y", "Cr", "O", "O"],
    [[0.0674, 0.25, 0.9811], [0, 0, 0.5], [0.4591, 0.25, 0.1], [0.3, 0.05, 0.7]],
)
MP_TITLES = {
    "Na": "PAW_PBE Na_pv 05Jan2001",
    "Cl": "PAW_PBE Cl 17Jan2003",
    "Y": "PAW_PBE Y_sv 06Sep2000",
    "Cr": "PAW_PBE Cr_pv 07Sep2000",
    "O": "PAW_PBE O 08Apr2002",
}
SALT_ENERGY = -6.77796
"""Of NaCl, two atoms, by the Materials Project, before corrections, eV."""


@pytest.fixture(scope="module")
def statics(tmp_path_factory):
    """Documents of the Materials Project's static calculation, made by the stand-in."""
    from atomate2.vasp.jobs.mp import MPGGAStaticMaker

    maker = MPGGAStaticMaker()
    maker.run_vasp_kwargs = {
        "vasp_cmd": stand_in_command("pair"),
        "custodian_kwargs": {"polling_time_step": 0.05, "monitor_freq": 200},
    }
    documents = {}
    with stand_in_environment(tmp_path_factory.mktemp("potcars")):
        for name, structure in (("NaCl", ROCK_SALT), ("YCrO3", YTTRIUM_CHROMITE)):
            folder = tmp_path_factory.mktemp(name)
            with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
                task = maker.make.original(maker, structure).output
            documents[name] = json.loads(json.dumps(task, cls=MontyEncoder))
    return documents


def as_if_vasp(document, energy):
    """Give a document of the stand-in the version, POTCARs and energy that VASP would."""
    document = deepcopy(document)
    (run,) = document["calcs_reversed"]
    run["vasp_version"] = document["vasp_version"] = "6.4.2"
    for spec in run["input"]["potcar_spec"]:
        label = spec["titel"].split()[1]
        spec["titel"] = MP_TITLES[label.split("_")[0]]
    run["output"]["energy"] = document["output"]["energy"] = energy
    return document


@pytest.fixture
def salt(statics):
    return as_if_vasp(statics["NaCl"], SALT_ENERGY)


def test_formation_energy_of_rock_salt(salt):
    found = judge(salt)
    # -0.614 eV for each chloride ion; the elements by the Materials Project, 2022
    by_hand = (SALT_ENERGY - 0.614 - (-1.322525 - 1.848537)) / 2
    assert found["formation_energy_per_atom"] == pytest.approx(by_hand, abs=1e-5)
    # and so it stands in the data set of an earlier release
    dataset = shipped()
    published = dataset.formation_energy_per_atom[list(dataset.material_ids).index("mp-22862")]
    assert found["formation_energy_per_atom"] == pytest.approx(published, abs=2e-3)
    assert found["energy_above_hull"] is None
    assert found["hull"]["corrections"] == {"MP2020 anion correction (Cl)": -0.614}
    assert found["hull"]["elements"] == shipped_elements().name
    assert found["hull"]["reason"].startswith("no entries given to make a hull of")


def test_corrections_as_published(statics):
    """Of YCrO3 the Materials Project's page states both energies, for mp-18725 and 20 atoms."""
    document = as_if_vasp(statics["YCrO3"], -171.6043)
    entry = corrected_entry(document)
    corrections = {each.name: each.value for each in entry.energy_adjustments}
    assert corrections == {
        "MP2020 anion correction (oxide)": pytest.approx(-8.2440),
        "MP2020 GGA/GGA+U mixing correction (Cr)": pytest.approx(-7.9960),
    }
    assert entry.energy == pytest.approx(-187.8443, abs=1e-4)
    found = judge(document)["formation_energy_per_atom"]
    assert found == pytest.approx(-3.212, abs=0.015)  # of an earlier release, as the page states


def test_objects_and_pymatgens_own_entry(salt):
    task = MontyDecoder().process_decoded(salt)
    assert type(task).__name__ == "TaskDoc"
    assert judge(task) == judge(salt)
    theirs = task.structure_entry
    ours = corrected_entry(task)
    assert ours.uncorrected_energy == theirs.energy == SALT_ENERGY
    assert ours.parameters["run_type"] == "GGA"
    assert ours.parameters["hubbards"] == theirs.parameters["hubbards"] == {}


def spoiled(document, tags=(), **changes):
    (run,) = document["calcs_reversed"]
    for tag, value in dict(tags).items():
        run["input"]["incar"][tag] = value
    for path, value in changes.items():
        place = document
        *way, last = path.split("__")
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        place[int(last) if last.isdigit() else last] = value
    return document


AS_MP = "not as the Materials Project computes: "
INPUT = "calcs_reversed__0__input__"


@pytest.mark.parametrize(
    ("tags", "changes", "reason"),
    [
        ({}, {"run_type": "PBEsol"}, AS_MP + "Entry None has invalid run type PBEsol. Must be"),
        ({}, {"run_type": "r2SCAN"}, AS_MP + "Entry None has invalid run type r2SCAN. Must be"),
        ({"ENCUT": 400}, {}, AS_MP + "ENCUT = 400, expected 520"),
        ({"ENCUT": 700}, {}, AS_MP + "ENCUT = 700, expected 520"),
        ({"ISPIN": 1}, {}, AS_MP + "ISPIN = 1, expected 2"),
        ({"LASPH": False}, {}, AS_MP + "LASPH = False, expected True"),
        ({"PREC": "Normal"}, {}, AS_MP + "PREC = Normal, expected Accurate"),
        ({"NSW": 99}, {}, "it is a relaxation, no static calculation"),
        (
            {},
            {f"{INPUT}kpoints__kpoints": [[3, 3, 3]]},
            AS_MP + "k-points: 3 x 3 x 3, expected at least 8 x 8 x 8",
        ),
        ({}, {f"{INPUT}kpoints__nkpoints": 30}, AS_MP + "k-points: no mesh, expected at least"),
        (
            {},
            {f"{INPUT}potcar_spec__0__titel": "PAW_PBE Na 08Apr2002"},
            AS_MP + "Incompatible POTCAR",
        ),
        (
            {},
            {f"{INPUT}potcar_spec__0__titel": "PAW_PBE Na_pv 19Sep2006"},
            "POTCAR Na_pv 19Sep2006, but the reference of Na was computed with Na_pv 05Jan2001",
        ),
        ({}, {f"{INPUT}potcar_spec": []}, "the document does not say which POTCARs were used"),
        (
            {},
            {"run_type": "PBE+U", f"{INPUT}hubbards": {"Na": 2.0}},
            AS_MP + "Invalid U value of 2.0 on Na, expected 0.0",
        ),
        ({}, {"state": "failed"}, "the static calculation did not converge"),
        (
            {},
            {"calcs_reversed__0__output__ionic_steps": []},
            "the static calculation has no result: energy is None",
        ),
        (
            {},
            {"calcs_reversed__0__vasp_version": "0.0.0-standin"},
            "a stand-in for VASP computed this",
        ),
    ],
)
def test_what_is_not_comparable_is_refused(salt, tags, changes, reason):
    found = judge(spoiled(salt, tags, **changes))
    assert found["hull"]["reason"].startswith(reason)
    assert list(found["hull"]) == ["reason"]
    assert "\n" not in found["hull"]["reason"]
    assert (found["formation_energy_per_atom"], found["energy_above_hull"]) == (None, None)


def test_u_is_asked_for_where_the_materials_project_has_it(statics):
    document = as_if_vasp(statics["YCrO3"], -171.6043)
    document["calcs_reversed"][0]["input"]["hubbards"] = {}
    found = judge(document)
    assert found["hull"]["reason"] == AS_MP + "Invalid U value of 0.0 on Cr, expected 3.7"


def test_potentials_are_refused(tmp_path):
    from atomate2.ase.jobs import EmtRelaxMaker

    maker = EmtRelaxMaker(steps=1)
    copper = Structure(Lattice.cubic(2.6), ["Cu"], [[0, 0, 0]])
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(io.StringIO()):
        document = maker.make.original(maker, copper)
    assert judge(document)["hull"] == {"reason": "it is no calculation of VASP"}


GGA = {"run_type": "GGA", "is_hubbard": False, "hubbards": {}}


def entry(formula, energy, entry_id, parameters=GGA, titles=MP_TITLES):
    """Make an entry with a total energy for all atoms of the formula."""
    composition = Composition(formula)
    specs = [{"titel": titles[element.symbol]} for element in composition.elements]
    return ComputedEntry(
        composition, energy, parameters={**parameters, "potcar_spec": specs}, entry_id=entry_id
    )


ENTRIES = [
    entry("Na2", -2.60, "mp-1-GGA"),
    entry("Na3", -3.9675, "mp-2-GGA"),
    entry("Cl4", -7.394, "mp-3-GGA"),
    entry("NaCl", -6.90, "mp-4-GGA"),
    entry("NaCl3", -9.70, "mp-5-GGA"),
    entry("Na2Cl", -99.0, "mp-6-R2SCAN", {**GGA, "run_type": "R2SCAN"}),
    entry("NaCl2", -99.0, "mp-7-GGA", titles={**MP_TITLES, "Na": "PAW_PBE Na 08Apr2002"}),
    entry("O2", -9.9, "mp-8-GGA"),
]


@pytest.fixture
def entries(tmp_path):
    file = tmp_path / "entries.json.gz"
    dumpfn(ENTRIES, file)
    return file


def by_pymatgen(energy):
    """Formation energy and energy above hull from pymatgen's phase diagram, corrections by hand."""
    known = [
        PDEntry("Na", -3.9675 / 3),
        PDEntry("Cl", -7.394 / 4),
        PDEntry("NaCl", -6.90 - 0.614),
        PDEntry("NaCl3", -9.70 - 3 * 0.614),
    ]
    diagram = PhaseDiagram(known)
    ours = PDEntry("NaCl", energy - 0.614)
    above = diagram.get_decomp_and_e_above_hull(ours, allow_negative=True, check_stable=False)[1]
    return diagram.get_form_energy_per_atom(ours), above


@pytest.mark.parametrize("energy", [SALT_ENERGY, -7.1])
def test_hull_of_entries_given(statics, entries, energy):
    found = judge(as_if_vasp(statics["NaCl"], energy), str(entries))
    formation_energy, above = by_pymatgen(energy)
    assert found["formation_energy_per_atom"] == pytest.approx(formation_energy, abs=1e-6)
    assert found["energy_above_hull"] == pytest.approx(above, abs=1e-6)
    assert (above > 0) == (energy == SALT_ENERGY)
    hull = found["hull"]
    assert hull["n_entries"] == 5  # without r2SCAN, other POTCARs and other systems
    assert hull["decomposition_ids"] == ["mp-4-GGA"]
    assert hull["elements"] == str(entries)
    assert "reason" not in hull
    json.dumps(found, allow_nan=False)


def test_entries_that_cannot_be_used(salt, tmp_path):
    nowhere = judge(salt, str(tmp_path / "nowhere.json"))
    assert "nowhere.json cannot be read" in nowhere["hull"]["reason"]
    file = tmp_path / "entries.json"
    file.write_text('{"a": 1}')
    assert "holds no list of entries" in judge(salt, str(file))["hull"]["reason"]
    dumpfn(ENTRIES[5:], file)
    assert judge(salt, str(file))["hull"]["reason"].endswith(
        "none of the 2 entries in Cl-Na is comparable with the Materials Project's GGA and GGA+U"
    )
    dumpfn(ENTRIES[1:2], file)
    found = judge(salt, str(file))
    assert found["hull"]["reason"] == f"{file}: no energy of the element Cl"
    other = entry("Na3", -3.9675, "mp-2-GGA", titles={"Na": "PAW_PBE Na_pv 19Sep2006"})
    dumpfn([other, *ENTRIES[2:]], file)
    reason = "POTCAR Na_pv 05Jan2001, but the reference of Na was computed with Na_pv 19Sep2006"
    assert judge(salt, str(file))["hull"]["reason"] == reason


READ = """
import json, sys
from pymatgen.core import Composition
from crystens_flows.relaxation.mp_entries import read_entries
found = read_entries("mp", Composition("NaCl"))
print(json.dumps(sorted([str(e.entry_id), e.energy_per_atom] for e in found)))
"""


def test_entries_of_the_materials_project(monkeypatch):
    pytest.importorskip("mp_api.client", reason="needs the extra mp")

    def documents(query):
        asked = query["chemsys"].split(",")
        inside = [each for each in ENTRIES if each.composition.chemical_system in asked]
        return [
            {
                "entries": {str(each.parameters["run_type"]): _with_structure(each)},
                "thermo_type": "GGA_GGA+U",
            }
            for each in inside
        ]

    monkeypatch.setenv("MP_API_KEY", KEY)
    with materials_project(documents) as server:
        found = server.run(READ, None)
    queries = [query for path, query in server.queries if "thermo" in path]
    assert {query["thermo_types"] for query in queries} == {"GGA_GGA+U"}
    assert {s for query in queries for s in query["chemsys"].split(",")} == {"Na", "Cl", "Cl-Na"}
    ids = [f"mp-{number}-GGA" for number in (1, 2, 3, 4, 5)]
    assert [entry_id for entry_id, _ in found] == ids
    assert dict(found)["mp-4-GGA"] == pytest.approx((-6.90 - 0.614) / 2)


def _with_structure(each):
    """Place the atoms anywhere: the client wants them, and nothing looks at them."""
    symbols = [e.symbol for e, amount in each.composition.items() for _ in range(int(amount))]
    places = np.linspace(0, 0.9, len(symbols))[:, None] * np.ones(3)
    structure = Structure(Lattice.cubic(9), symbols, places).as_dict()
    content = {**each.as_dict(), "@class": "ComputedStructureEntry", "structure": structure}
    return json.loads(json.dumps(content, cls=MontyEncoder))


def finished(**changes):
    fields = {
        "energies": [-1.0] * 5,
        "pressures": [0.0] * 4,
        "converged": [True] * 4,
        "completed_steps": 4,
        "engine": "VASP 6.4.2",
        "method": {"functional": "PBEsol"},
        **changes,
    }
    return RelaxDocument(**fields)


def test_the_document_says_it(salt, entries):
    document = compare(finished(), salt, str(entries))
    assert document.formation_energy_per_atom < -2
    assert document.energy_above_hull > 0
    assert document.hull["decomposition"] == {"NaCl": pytest.approx(1.0)}
    assert document.energies == [-1.0] * 5
    RelaxDocument.model_validate(document.model_dump())


@pytest.mark.parametrize(
    ("changes", "made", "reason"),
    [
        ({}, False, "VASP 6.4.2 with PBEsol: no static calculation with the Materials Project's"),
        ({"engine": "CHGNet", "method": {}}, False, "CHGNet: no static calculation with the"),
        ({}, True, "the static calculation failed"),
        ({"stand_in": True}, True, "a stand-in for VASP computed this"),
        ({"completed_steps": 3}, True, "the relaxation did not finish"),
    ],
)
def test_the_document_says_why_not(changes, made, reason):
    document = compare(finished(**changes), None, made=made)
    assert document.hull["reason"].startswith(reason)
    assert document.formation_energy_per_atom is None
    assert document.energy_above_hull is None


def test_shipped_elements_against_a_potential():
    """CHGNet was trained on energies of the same kind; what was fitted to it is as it is."""
    from importlib.resources import files

    fitted = files("crystens_flows.screening.potentials") / "references" / "chgnet.json"
    references = json.loads(fitted.read_text())["references"]
    ours = shipped_elements().energies
    differences = [ours[symbol] - references[symbol] for symbol in references]
    assert len(differences) > 80
    assert np.abs(differences).max() < 0.11
    assert np.median(np.abs(differences)) < 0.02


def test_shipped_potcars_are_the_materials_projects():
    from pymatgen.io.vasp.sets import MPRelaxSet

    labels = MPRelaxSet.CONFIG["POTCAR"]
    elements = shipped_elements()
    assert set(elements.potcars) == set(elements.energies)
    for symbol, potcar in elements.potcars.items():
        assert potcar.split()[0] == labels[symbol]
