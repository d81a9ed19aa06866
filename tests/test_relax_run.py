"""Relaxing structures of one's own in one folder: kept, gone on with, and told."""

from __future__ import annotations

import csv
import json

import pytest
from ase.build import bulk
from ase.calculators import emt
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystens_flows.errors import InputError, OutputFolderError, StoreError
from crystens_flows.jobs import BatchRelaxMaker
from crystens_flows.jobs.engines import relax_maker
from crystens_flows.relax_results import RelaxInput, write_results
from crystens_flows.relax_run import RelaxOptions, kept_run, relax_flow, resume_relax, run_relax
from crystens_flows.stores import open_stores

EMT = "ase.calculators.emt.EMT"
OPTIONS = RelaxOptions(engine=EMT, steps=60, campaign="mine")


def fcc(element, a):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [element], [[0, 0, 0]])


def given(*structures):
    return [
        RelaxInput(f"{each.formula}.cif", each.formula, each)
        if isinstance(each, Structure)
        else RelaxInput("bad.cif", "bad", None, "unreadable: no crystal at all")
        for each in structures
    ]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Copper, a file that could not be read, sodium (of which EMT knows nothing), aluminium."""
    folder = tmp_path_factory.mktemp("runs") / "emt"
    structures = given(fcc("Cu", 3.5), None, fcc("Na", 4.0), fcc("Al", 4.1))
    return folder, run_relax(OPTIONS, structures, folder)


def test_what_became_of_each(ran):
    folder, run = ran
    assert [outcome.status for outcome in run.outcomes] == [
        *("relaxed", "unreadable", "failed", "relaxed")
    ]
    assert (run.count("relaxed"), run.count("failed"), run.count("unreadable")) == (2, 1, 1)
    copper, unreadable, sodium, _ = run.outcomes
    assert copper.reason is None
    assert unreadable.candidate_id is None
    assert unreadable.reason == "unreadable: no crystal at all"
    assert sodium.reason == (
        "relaxation failed: step 1 of 4: NotImplementedError: No EMT-potential for Na"
    )
    failed = [path for path in (folder / "run" / "jobs").iterdir() if "relax-1" in path.name]
    assert sodium.folder in map(str, failed)


def test_the_energies_are_those_of_the_calculator(ran):
    _, run = ran
    for outcome, atoms in (
        (run.outcomes[0], bulk("Cu", a=3.5)),
        (run.outcomes[3], bulk("Al", a=4.1)),
    ):
        atoms.calc = emt.EMT()
        assert outcome.relaxation.energies[0] == pytest.approx(atoms.get_potential_energy())
        after = AseAtomsAdaptor.get_atoms(outcome.relaxation.structure)
        after.calc = emt.EMT()
        assert outcome.relaxation.energies[4] == pytest.approx(after.get_potential_energy())
        pressure = -after.get_stress(voigt=False).trace() / 3 * 1602.1766208
        assert outcome.relaxation.pressures[3] == pytest.approx(pressure, abs=1e-3)


def test_each_structure_is_a_candidate(ran):
    folder, run = ran
    stores = open_stores(folder / "store", create=False)
    found = {each.candidate_id: each for each in stores.candidates.documents(campaign="mine")}
    stores.close()
    assert run.store == str(folder / "store")
    assert list(found) == [each.candidate_id for each in run.outcomes if each.candidate_id]
    statuses = [str(each.status) for each in found.values()]
    assert statuses == ["relaxed", "rejected", "relaxed"]
    sodium = found[run.outcomes[2].candidate_id]
    assert sodium.reason == run.outcomes[2].reason
    assert {each.provenance.generator for each in found.values()} == {"files"}
    copper = found[run.outcomes[0].candidate_id]
    assert copper.structure == fcc("Cu", 3.5)
    assert copper.relaxed_structure == run.outcomes[0].relaxation.structure


def test_the_files(ran, tmp_path):
    _, run = ran
    summary = write_results(run, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("figure13.svg", "relaxations.csv", "relaxations.json", "relaxed", "summary.json")
    ]
    assert sorted(path.name for path in (tmp_path / "relaxed").iterdir()) == [
        *("0000-Cu1.cif", "0003-Al1.cif")
    ]
    copper = Structure.from_file(tmp_path / "relaxed" / "0000-Cu1.cif")
    assert copper.volume == pytest.approx(run.outcomes[0].relaxation.structure.volume, rel=1e-6)
    with (tmp_path / "relaxations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["relaxed", "unreadable", "failed", "relaxed"]
    assert float(rows[0]["E4"]) == run.outcomes[0].relaxation.energies[4]
    assert rows[1]["E4"] == rows[2]["E4"] == ""
    records = json.loads((tmp_path / "relaxations.json").read_text())
    assert [len(record["steps"]) for record in records] == [4, 0, 0, 4]
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (summary["n_relaxed"], summary["n_failed"], summary["n_unreadable"]) == (2, 1, 1)
    assert [each["entry"] for each in summary["not_relaxed"]] == ["bad.cif", "Na1.cif"]
    write_results(run, tmp_path)  # those of an earlier start are replaced


def test_it_goes_on_without_the_structures(ran):
    folder, before = ran
    log = (folder / "run" / "progress.jsonl").read_text()
    options, structures = kept_run(folder)
    assert [each.reason for each in structures] == [
        None,
        "unreadable: no crystal at all",
        None,
        None,
    ]
    assert structures[0].structure == fcc("Cu", 3.5)
    assert options.engine == EMT
    after = resume_relax(folder)
    assert [each.status for each in after.outcomes] == [each.status for each in before.outcomes]
    assert after.outcomes[0].relaxation == before.outcomes[0].relaxation
    new = [
        json.loads(line)
        for line in (folder / "run" / "progress.jsonl").read_text()[len(log) :].splitlines()
    ]
    # the four steps of sodium were tried again, and nothing else
    assert [line["state"] for line in new] == ["began", "failed"] * 4


def test_what_was_lacking_is_done_when_it_is_there(tmp_path, monkeypatch):
    """A calculator that comes to know sodium: its four steps and their summary are made anew."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "late_calculator.py").write_text(
        "from pathlib import Path\n"
        "from ase.calculators.lj import LennardJones\n"
        "class Late(LennardJones):\n"
        "    def calculate(self, atoms=None, *args, **kwargs):\n"
        f"        if 'Na' in atoms.symbols and not Path({str(tmp_path / 'known')!r}).exists():\n"
        "            raise RuntimeError('sodium is not known yet')\n"
        "        super().calculate(atoms, *args, **kwargs)\n"
    )
    options = RelaxOptions(engine="late_calculator.Late", steps=2)
    structures = given(fcc("Cu", 2.0), fcc("Na", 2.0))
    folder = tmp_path / "run"
    first = run_relax(options, structures, folder)
    assert [outcome.status for outcome in first.outcomes] == ["relaxed", "failed"]
    assert "sodium is not known yet" in first.outcomes[1].reason
    (tmp_path / "known").touch()
    second = resume_relax(folder)
    assert [outcome.status for outcome in second.outcomes] == ["relaxed", "relaxed"]
    assert second.outcomes[0].relaxation == first.outcomes[0].relaxation
    stores = open_stores(folder / "store", create=False)
    assert {str(each.status) for each in stores.candidates.documents()} == {"relaxed"}
    stores.close()


def test_potentials_relax_structures_together():
    structures = [fcc("Cu", 3.5 + 0.01 * k) for k in range(5)]
    maker = BatchRelaxMaker(chunk_size=2)
    flow = relax_flow(structures, maker, "mine")
    names = [job.name for job in flow.jobs]
    assert names == [
        "crystens read",
        *(f"crystens relax batch {part}" for part in ("0 to 1", "2 to 3", "4 to 4")),
    ]
    assert flow.jobs[2].function_args[0] == structures[2:4]
    assert all(job.metadata == {"campaign": "mine"} for job in flow.jobs)
    single = relax_flow(structures, relax_maker(EMT), "mine")
    assert len(single.job_uuids) == 1 + 5 * 5


def test_a_batch_that_fails_is_named(tmp_path, monkeypatch):
    """The job itself fails, as where weights are gone or memory is short."""
    from crystens_flows.relaxation import batch

    def fail(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(batch, "relax_four_times", fail)
    structures = given(fcc("Cu", 3.5), None, fcc("Al", 4.1))
    run = run_relax(RelaxOptions(engine="chgnet"), structures, tmp_path / "run")
    assert [outcome.status for outcome in run.outcomes] == ["failed", "unreadable", "failed"]
    for outcome in (run.outcomes[0], run.outcomes[2]):
        assert outcome.reason == "relaxation failed: MemoryError: no room"
        assert "crystens-relax-batch-0-to-1" in outcome.folder
    monkeypatch.undo()
    again = resume_relax(tmp_path / "run")
    assert [outcome.status for outcome in again.outcomes] == ["relaxed", "unreadable", "relaxed"]
    assert again.outcomes[0].relaxation.engine.startswith("CHGNet")


def test_a_folder_is_of_one_run(ran, tmp_path):
    folder, _ = ran
    with pytest.raises(OutputFolderError, match="in use by a run with steps 60, not 61"):
        run_relax(OPTIONS.model_copy(update={"steps": 61}), given(fcc("Cu", 3.5)), folder)
    with pytest.raises(OutputFolderError, match="in use by a run with structures_sha256"):
        run_relax(OPTIONS, given(fcc("Cu", 3.6)), folder)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputFolderError, match="holds no run of 'crystens relax'"):
        run_relax(OPTIONS, given(fcc("Cu", 3.5)), tmp_path)
    for nothing in (tmp_path, tmp_path / "absent"):
        with pytest.raises(OutputFolderError, match="holds no run of 'crystens relax' to go on"):
            kept_run(nothing)
    for damaged in ("[]", "[{}]", "nothing"):
        (tmp_path / "options.yaml").write_text("engine: chgnet\n")
        (tmp_path / "structures.json").write_text(damaged)
        if damaged == "[]":
            assert kept_run(tmp_path)[1] == []
        else:
            with pytest.raises(OutputFolderError, match="that can be read"):
                kept_run(tmp_path)


def test_what_is_wrong_leaves_the_folder_free(tmp_path):
    structures = given(fcc("Cu", 3.5))
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="none of the 1 structures can be relaxed"):
        run_relax(OPTIONS, given(None), folder)
    with pytest.raises(InputError, match="has no option --fmax"):
        run_relax(RelaxOptions(engine="vasp", fmax=0.1), structures, folder)
    with pytest.raises(StoreError):
        run_relax(OPTIONS.model_copy(update={"store": "absent.yaml"}), structures, folder)
    assert not folder.exists()
