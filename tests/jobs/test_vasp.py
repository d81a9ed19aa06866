"""The path of VASP through atomate2 and custodian, with the stand-in in VASP's place."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystens_flows.errors import InputError, RelaxationError
from crystens_flows.jobs import QuadrupleRelaxMaker
from crystens_flows.relaxation import read_step, summarise_relaxation
from crystens_flows.schemas import RelaxDocument
from crystens_flows.testing import STAND_IN_VERSION, stand_in_command, stand_in_environment
from crystens_flows.testing.calculators import load_calculator
from stand_in_runs import ROCK_SALT, run_flow

pytest.importorskip("atomate2.vasp.jobs.base", reason="needs the extra vasp")

from crystens_flows.jobs.vasp import NOT_MENDED, PaperRelaxMaker, mp_relax_makers

# sites of one element apart from each other, f electrons, hardly any symmetry
EUROPIUM_TITANATE = Structure(
    Lattice.orthorhombic(3.9, 4.0, 4.1),
    ["O", "Eu", "O", "Ti", "O"],
    [[0.5, 0.5, 0.02], [0.02, 0.01, 0], [0.5, 0, 0.5], [0.5, 0.5, 0.5], [0, 0.5, 0.5]],
)
INCAR = """\
EDIFF = 1e-05
EDIFFG = 1e-05
ENCUT = 400.0
GGA = Ps
IBRION = 2
ISIF = 3
ISMEAR = 0
NSW = 99
SIGMA = 0.1
"""
KPOINTS = """\
Automatic kpoint scheme
0
Gamma
3 3 3
"""


@pytest.fixture(autouse=True, scope="module")
def potcars(tmp_path_factory):
    with stand_in_environment(tmp_path_factory.mktemp("potcars")) as folder:
        yield folder


def with_stand_in(maker, command=None):
    """Let a maker start the stand-in, and look at it more often than at VASP."""
    maker.run_vasp_kwargs["vasp_cmd"] = command or stand_in_command("pair")
    maker.run_vasp_kwargs["custodian_kwargs"] = {"polling_time_step": 0.05, "monitor_freq": 200}
    return maker


def paper(command=None, **tags):
    maker = PaperRelaxMaker()
    maker.input_set_generator.user_incar_settings.update(tags)
    return with_stand_in(maker, command)


def four():
    return QuadrupleRelaxMaker.from_relax_maker(paper())


def run_step(maker, folder, structure=ROCK_SALT):
    """Run one job in a folder of its own, without a manager."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        return maker.make.original(maker, structure).output


def around_stand_in(folder, after):
    """Write a command that does what VASP might do, after the stand-in has run."""
    file = folder / "vasp.py"
    run = f"subprocess.run({shlex.split(stand_in_command('pair'))!r}, check=True)"
    file.write_text(f"import os, pathlib, subprocess, sys\n{run}\n{after}\n")
    return shlex.join([sys.executable, str(file)])


@pytest.fixture(scope="module")
def relaxed(tmp_path_factory):
    """Four steps in one go."""
    flow = four().make(EUROPIUM_TITANATE, candidate_id="c-1")
    store = run_flow(flow, tmp_path_factory.mktemp("relaxed"))
    return flow.output.resolve(store), [job.output.resolve(store) for job in flow.jobs[:4]]


def text(task, name):
    with gzip.open(Path(task.dir_name.split(":", 1)[1]) / f"{name}.gz", "rt") as stream:
        return stream.read()


def test_the_papers_files_in_all_four_steps(relaxed):
    for task in relaxed[1]:
        assert text(task, "INCAR") == INCAR
        assert text(task, "KPOINTS") == KPOINTS
        titles = [line.split() for line in text(task, "POTCAR").splitlines() if "TITEL" in line]
        assert [title[3] for title in titles] == ["Eu_2", "Ti_sv", "O"]
        assert text(task, "POSCAR").splitlines()[5:7] == ["Eu Ti O", "1 1 3"]
        assert task.custodian[0].corrections == []


def test_nothing_but_the_structure_goes_from_step_to_step(relaxed):
    document, tasks = relaxed
    for before, after in pairwise(tasks):
        start = after.calcs_reversed[0].input.structure
        assert start.lattice.matrix == pytest.approx(before.structure.lattice.matrix, abs=1e-8)
        assert start.frac_coords == pytest.approx(before.structure.frac_coords, abs=1e-8)
    assert (document.completed_steps, document.reason, document.stand_in) == (4, None, True)
    assert document.engine == f"VASP {STAND_IN_VERSION}"
    assert document.energies[0] > document.energies[1] + 0.1
    assert document.converged == [step.n_ionic_steps < 99 for step in document.steps]
    assert document.hull == {"reason": "a stand-in for VASP computed this"}
    assert document.method == {
        "functional": "PBEsol",
        "cutoff": 400.0,
        "kpoints": [3, 3, 3],
        "gamma_centred": True,
        "smearing": "Gaussian, 0.1 eV",
        "potcars": [f"PAW_PBE {label} 01Jan2000" for label in ("Eu_2", "Ti_sv", "O")],
    }


def told(document):
    """Return what must be the same, whether a relaxation was interrupted or not."""
    own = {"dir_name": True, "step_uuids": True, "steps": {"__all__": {"dir_name", "uuid"}}}
    return json.loads(document.model_dump_json(exclude=own))


def test_goes_on_from_the_last_good_step(relaxed, tmp_path):
    whole, tasks = relaxed
    uuids = ["a", "b", "c", "d"]
    documents = [*tasks[:2], None, None]
    first = summarise_relaxation(documents, "c-1", uuids, EUROPIUM_TITANATE)
    assert (first.completed_steps, first.reason) == (2, "relaxation failed: step 3 of 4")
    flow = four().make(EUROPIUM_TITANATE, previous=first)
    names = [job.name for job in flow.jobs]
    assert names == ["crystens relax 3", "crystens relax 4", "crystens relax summary"]
    again = json.loads(json.dumps(flow, cls=MontyEncoder), cls=MontyDecoder)
    document = flow.output.resolve(run_flow(again, tmp_path))
    assert isinstance(document, RelaxDocument)
    assert told(document) == told(whole)
    assert document.step_uuids == ["a", "b", *(job.uuid for job in flow.jobs[:2])]
    assert [step.uuid for step in document.steps] == document.step_uuids


def test_not_converged_is_a_result(tmp_path):
    task = run_step(paper(NSW=3), tmp_path / "run")
    step = read_step(task)
    assert (step.converged, step.diverged, step.n_ionic_steps) == (False, None, 3)
    assert step.corrections == []
    assert step.initial_energy > step.energy
    files = {file.name for file in (tmp_path / "run").iterdir()}
    assert not any(name.startswith("error.") for name in files)  # what custodian makes on repeats
    assert text(task, "INCAR") == INCAR.replace("NSW = 99", "NSW = 3")


def test_what_custodian_corrected_is_told(tmp_path):
    command = around_stand_in(
        tmp_path,
        "if not pathlib.Path('error.1.tar.gz').exists():\n"
        "    print('ZBRENT: fatal error in bracketing')",
    )
    step = read_step(run_step(paper(command, NSW=2), tmp_path / "run"))
    assert step.corrections == [
        "VaspErrorHandler: zbrent: CONTCAR copied to POSCAR; INCAR EDIFF = 1e-06; INCAR NELMIN = 8"
    ]
    assert (step.initial_energy, step.initial_energy_zero_sigma) == (None, None)
    assert step.energy < -3.75  # lower than that of the structure given


def test_corrections_that_begin_anew_keep_the_first_energy(tmp_path):
    command = around_stand_in(
        tmp_path,
        "if not pathlib.Path('error.1.tar.gz').exists():\n"
        "    print('WARNING: PSMAXN'); print(' ERROR in subspace rotation PSSYEVX')",
    )
    step = read_step(run_step(paper(command, ALGO="Fast", NSW=2), tmp_path / "run"))
    assert step.corrections == ["VaspErrorHandler: pssyevx: INCAR ALGO = Normal"]
    atoms = AseAtomsAdaptor.get_atoms(ROCK_SALT)
    atoms.calc = load_calculator("pair")
    assert step.initial_energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)


@pytest.mark.parametrize("message", ["BRMIX: very serious problems", "Routine ZPOTRF failed"])
def test_no_handler_changes_kpoints_or_cell(message, tmp_path):
    """VASP itself ends with these, or goes on; the stand-in goes on."""
    command = around_stand_in(tmp_path, f"print('LAPACK: {message}')")
    task = run_step(paper(command, NSW=2), tmp_path / "run")
    assert task.custodian[0].corrections == []
    assert text(task, "KPOINTS") == KPOINTS


def test_handlers():
    from custodian.vasp.handlers import VaspErrorHandler

    handlers = PaperRelaxMaker().run_vasp_kwargs["handlers"]
    names = {type(handler).__name__ for handler in handlers}
    changing = {"UnconvergedErrorHandler", "PositiveEnergyErrorHandler", "LargeSigmaHandler"}
    assert not names & {*changing, "IncorrectSmearingHandler", "KspacingMetalHandler"}
    assert set(VaspErrorHandler.error_msgs) > NOT_MENDED
    (caught,) = [h for h in handlers if isinstance(h, VaspErrorHandler)]
    assert set(caught.errors_subset_to_catch) == set(VaspErrorHandler.error_msgs) - NOT_MENDED


CELL_TWICE_AS_LONG = """
lines = pathlib.Path('CONTCAR').read_text().splitlines()
lines[1] = '2.0'
pathlib.Path('CONTCAR').write_text('\\n'.join(lines) + '\\n')
"""


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("", "there is no command for VASP: set ATOMATE2_VASP_CMD"),
        ("$NO_SUCH_VARIABLE", r"'\$NO_SUCH_VARIABLE', cannot be started"),
        ("no_vasp_std -x", "'no_vasp_std -x', cannot be started, no_vasp_std is not found: set"),
        ("vasp 'x", "cannot be read .No closing quotation."),
        ("false", "VASP ended with exit status 1; the files are in"),
        ("sh -c 'echo out of luck >&2; exit 137'", "killed by SIGKILL: .*said: out of luck; the"),
        (stand_in_command("pair", kill_after=2), "VASP was killed by SIGKILL: see whether memory"),
        (stand_in_command("pair", max_file_size=5000), r"could not be written \(File too large\)"),
        (stand_in_command("pair", cut_contcar=True), "CONTCAR is broken"),
        ("rm CONTCAR", "VASP left no CONTCAR"),
        (CELL_TWICE_AS_LONG, r"the cell exploded, its volume is 6\.\d+ of what it was; the files"),
    ],
)
def test_failures_say_why(command, reason, tmp_path):
    folder = tmp_path / "run"
    if command.startswith("rm "):
        command = around_stand_in(tmp_path, "os.remove('CONTCAR')")
    elif command == CELL_TWICE_AS_LONG:
        command = around_stand_in(tmp_path, command)
    maker = paper(NSW=3)
    maker.run_vasp_kwargs["vasp_cmd"] = command
    with pytest.raises(RelaxationError, match=reason) as raised:
        run_step(maker, folder)
    assert "\n" not in str(raised.value)
    if "the files are in" in str(raised.value):
        assert str(raised.value).endswith(f"the files are in {folder}")
        assert any(file.name.startswith("INCAR") for file in folder.iterdir())


def test_errors_that_nothing_mends_are_named(tmp_path):
    command = around_stand_in(tmp_path, "print('internal error in SET_CORE_WF')")
    with pytest.raises(RelaxationError, match="VaspErrorHandler cannot mend: set_core_wf; the"):
        run_step(paper(command, NSW=2), tmp_path / "run")
    command = around_stand_in(tmp_path, "print(' ERROR in subspace rotation PSSYEVX')")
    maker = paper(command, NSW=2, ALGO="Fast")
    maker.run_vasp_kwargs["max_errors"] = 1
    with pytest.raises(RelaxationError, match="as many corrections by custodian as are allowed"):
        run_step(maker, tmp_path / "again")


def test_missing_potcars_are_named(potcars, tmp_path, monkeypatch):
    from pymatgen.core import SETTINGS

    hidden = potcars / "POT_GGA_PAW_PBE_54" / "POTCAR.Na_pv"
    hidden.rename(tmp_path / "hidden")
    reason = (
        f"no POTCAR of PBE_54 for Na .label Na_pv.: looked for {hidden.parent}/POTCAR.LABEL and .*"
        "set PMG_VASP_PSP_DIR"
    )
    try:
        with pytest.raises(RelaxationError, match=reason):
            run_step(paper(), tmp_path / "1")
    finally:
        (tmp_path / "hidden").rename(hidden)
    monkeypatch.delitem(SETTINGS, "PMG_VASP_PSP_DIR")
    reason = "for Na .label Na_pv., Cl .label Cl.: PMG_VASP_PSP_DIR is not set; set PMG_VASP"
    with pytest.raises(RelaxationError, match=reason):
        run_step(paper(), tmp_path / "2")


def test_a_crystal_that_is_lost_stops_the_chain(tmp_path):
    maker = four()
    with_stand_in(maker.relax_maker_1, around_stand_in(tmp_path, CELL_TWICE_AS_LONG))
    flow = maker.make(ROCK_SALT)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(io.StringIO()):
        run_locally(flow, store=store, log=False, create_folders=True)
    document = flow.output.resolve(store)
    assert (document.completed_steps, document.reason) == (0, "relaxation failed: step 1 of 4")
    assert document.hull == {"reason": "the relaxation did not finish"}
    started = [job for job in tmp_path.glob("job_*") if any(job.glob("INCAR*"))]
    assert len(started) == 1


def makers_of(flow):
    return [job.maker for job, _ in flow.iterflow() if job.maker is not None]


def test_powerups_reach_every_step():
    from atomate2.vasp.powerups import (
        update_user_incar_settings,
        update_user_kpoints_settings,
        update_user_potcar_settings,
        update_vasp_custodian_handlers,
    )

    maker = QuadrupleRelaxMaker.from_relax_maker(PaperRelaxMaker())
    flow = maker.make(ROCK_SALT)
    flow = update_user_incar_settings(flow, {"ENCUT": 520, "NCORE": 4})
    flow = update_user_incar_settings(flow, {"NSW": 7}, name_filter="crystens relax 2")
    flow = update_user_kpoints_settings(flow, {"reciprocal_density": 99})
    flow = update_user_potcar_settings(flow, {"Na": "Na_sv"})
    flow = update_vasp_custodian_handlers(flow, ())
    makers = makers_of(flow)
    assert len(makers) == 4
    for number, step in enumerate(makers, start=1):
        assert isinstance(step, PaperRelaxMaker)
        files = step.input_set_generator.get_input_set(ROCK_SALT, potcar_spec=True)
        incar = INCAR.replace("400", "520").replace("NSW", "NCORE = 4\nNSW")
        assert str(files["INCAR"]) == incar.replace("99", "7" if number == 2 else "99")
        assert str(files["KPOINTS"]).splitlines()[2:4] == ["Gamma", "8 8 8"]
        assert files["POTCAR.spec"] == "Na_sv\nCl"
        assert step.run_vasp_kwargs["handlers"] == ()
    # of the makers before there is a flow, too
    changed = update_user_incar_settings(maker, {"NSW": 7})
    fields = (changed.relax_maker_1, changed.relax_maker_2, changed.relax_maker_3)
    for step in (*fields, changed.relax_maker_4):
        assert step.input_set_generator.user_incar_settings == {"NSW": 7}
    assert str(PaperRelaxMaker().input_set_generator.get_input_set(
        ROCK_SALT, potcar_spec=True)["INCAR"]) == INCAR  # fmt: skip
    mp = update_user_incar_settings(mp_relax_makers().make(ROCK_SALT), {"NCORE": 4})
    assert len(makers_of(mp)) == 5
    for step in makers_of(mp):
        assert step.input_set_generator.user_incar_settings == {"NCORE": 4}


@pytest.mark.parametrize("maker", [four(), mp_relax_makers("mp")], ids=["paper", "mp"])
def test_survives_serialisation(maker):
    again = json.loads(json.dumps(maker, cls=MontyEncoder), cls=MontyDecoder)
    assert again.hull_entries == maker.hull_entries
    flow = json.loads(json.dumps(again.make(ROCK_SALT), cls=MontyEncoder), cls=MontyDecoder)
    for before, after in zip(makers_of(maker.make(ROCK_SALT)), makers_of(flow), strict=True):
        assert type(before) is type(after)
        files = [each.input_set_generator.get_input_set(ROCK_SALT, potcar_spec=True)
                 for each in (before, after)]  # fmt: skip
        assert str(files[0]["INCAR"]) == str(files[1]["INCAR"])
        handlers = [list(each.run_vasp_kwargs["handlers"]) for each in (before, after)]
        assert [h.as_dict() for h in handlers[0]] == [h.as_dict() for h in handlers[1]]
        assert before.stop_children_kwargs == after.stop_children_kwargs


def test_goes_through_fireworks():
    pytest.importorskip("fireworks", reason="needs the extra fireworks")
    from fireworks import Workflow
    from jobflow.managers.fireworks import flow_to_workflow

    for maker, kind in ((four(), "PaperRelaxMaker"), (mp_relax_makers(), "MPRelaxMaker")):
        workflow = flow_to_workflow(maker.make(ROCK_SALT), store=JobStore(MemoryStore()))
        again = Workflow.from_dict(json.loads(json.dumps(workflow.to_dict(), default=str)))
        jobs = [MontyDecoder().process_decoded(fw.tasks[0]["job"]) for fw in again.fws]
        kinds = {job.name: type(job.maker).__name__ for job in jobs if job.maker is not None}
        static = {"crystens relax static": "MPStaticMaker"} if kind == "MPRelaxMaker" else {}
        assert kinds == {f"crystens relax {k}": kind for k in (1, 2, 3, 4)} | static
        assert {job.name for job in jobs} == {*kinds, "crystens relax summary"}


def test_the_materials_projects_steps(tmp_path):
    """Two of the four, as each takes seconds: the last one, and the static calculation."""
    maker = mp_relax_makers()
    for step in (maker.relax_maker_4, maker.static_maker):
        with_stand_in(step)
    task = run_step(maker.relax_maker_4, tmp_path / "relax")
    incar = dict(line.split(" = ") for line in text(task, "INCAR").splitlines())
    assert incar.items() >= {"ENCUT": "520.0", "ISIF": "3", "ISPIN": "2", "LASPH": "True"}.items()
    assert "GGA" not in incar
    assert read_step(task).method["functional"] == "PBE"
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(io.StringIO()):
        folder = tmp_path / "static"
        folder.mkdir()
        with contextlib.chdir(folder):
            static = maker.static_maker.make.original(
                maker.static_maker, task.structure, prev_dir=task.dir_name
            ).output
    assert "NSW = 0\n" in text(static, "INCAR")
    assert static.output.energy == pytest.approx(task.output.energy, abs=1e-6)


def test_nothing_is_left_to_do(relaxed):
    with pytest.raises(InputError, match="finished all steps"):
        four().make(EUROPIUM_TITANATE, previous=relaxed[0])
