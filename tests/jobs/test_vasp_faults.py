"""
Faults of VASP, as they happen: processes that die, files that are cut, crystals that fall apart.

Eight candidates in one flow, each with a fault of its own, and one without: the flow is run, the
causes are mended, and it is run again.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from jobflow import Flow
from pymatgen.core import Lattice, Structure

from crystens_flows import local
from crystens_flows.builders import CandidateBuilder
from crystens_flows.flows.discovery import collect
from crystens_flows.jobs import QuadrupleRelaxMaker
from crystens_flows.jobs.read import candidates_from_structures, provenance_of_structures
from crystens_flows.schemas import candidate_id
from crystens_flows.stores import open_stores
from crystens_flows.testing import STAND_IN_VERSION, stand_in_command, stand_in_environment

pytest.importorskip("atomate2.vasp", reason="the relaxations are jobs of atomate2")
pytest.importorskip("custodian", reason="custodian runs VASP")
pytest.importorskip("ase", reason="the stand-in for VASP computes with ASE")

pytestmark = pytest.mark.slow


class Fault(NamedTuple):
    """What goes wrong in which step of which crystal, and what the reason says of it."""

    step: int
    formula: tuple[str, str]
    a: float
    options: dict
    reason: str


FAULTS = {
    "sound": Fault(0, ("Na", "Cl"), 5.70, {}, ""),
    "no command": Fault(
        1,
        ("Li", "F"),
        4.10,
        {},
        "the command for VASP, '$VASP_NO_COMMAND_1', cannot be started, /no/such/vasp_std is not",
    ),
    "no POTCAR": Fault(1, ("K", "Br"), 6.70, {}, "no POTCAR of PBE_54 for K (label K_sv)"),
    "cut CONTCAR": Fault(2, ("Mg", "O"), 4.30, {"cut_contcar": True}, "CONTCAR is broken"),
    "killed": Fault(3, ("Ca", "O"), 4.90, {"kill_after": 1}, "VASP was killed by SIGKILL"),
    "disk full": Fault(2, ("Sr", "O"), 5.20, {"max_file_size": 5000}, "files could not be written"),
    "explodes": Fault(
        1,
        ("Li", "Cl"),
        5.20,
        {"calculator": "faulty_calculators.Exploding"},
        "the cell exploded, its volume is",
    ),
    "collides": Fault(
        2,
        ("Na", "F"),
        4.70,
        {"calculator": "faulty_calculators.Colliding"},
        "atoms collided, two are 0.3",
    ),
    "does not converge": Fault(0, ("Ba", "O"), 5.60, {}, ""),
}
FAILING = [name for name, fault in FAULTS.items() if fault.step]
STRUCTURES = [
    Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(fault.a), fault.formula, [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()
    for fault in FAULTS.values()
]


def variable(name: str, step: int) -> str:
    return f"VASP_{name.replace(' ', '_').upper()}_{step}"


class Campaign:
    """The flow of all crystals in one folder, whose commands come from the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores = open_stores(folder / "store")
        self.environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
        provenance = provenance_of_structures(STRUCTURES, "faults")
        self.ids = {name: candidate_id(provenance, i) for i, name in enumerate(FAULTS)}
        relaxations = {
            name: self.maker(name).make(structure, candidate_id=self.ids[name])
            for name, structure in zip(FAULTS, STRUCTURES, strict=True)
        }
        self.uuids = {
            name: [job.uuid for job in flow.jobs[:4]] for name, flow in relaxations.items()
        }
        collected = collect(
            list(self.ids.values()), [flow.output for flow in relaxations.values()], "faults"
        )
        self.collected = collected.uuid
        self.flow = Flow(
            [
                candidates_from_structures(STRUCTURES, provenance, 0),
                *relaxations.values(),
                collected,
            ]
        )

    def maker(self, name: str) -> QuadrupleRelaxMaker:
        from crystens_flows.jobs.vasp import PaperRelaxMaker

        maker = QuadrupleRelaxMaker.from_relax_maker(PaperRelaxMaker())
        if name == "does not converge":
            maker.relax_maker_1.input_set_generator.max_ionic_steps = 2
        for number in (1, 2, 3, 4):
            step = getattr(maker, f"relax_maker_{number}")
            step.run_vasp_kwargs |= {
                "vasp_cmd": f"${variable(name, number)}",
                "custodian_kwargs": {"polling_time_step": 0.1, "monitor_freq": 30},
            }
        return maker

    def run(self, *, faulty: bool) -> local.RunSummary:
        for name, fault in FAULTS.items():
            for number in (1, 2, 3, 4):
                options = fault.options if faulty and number == fault.step else {}
                self.environment[variable(name, number)] = stand_in_command(
                    calls=self.folder / f"calls of {name}", **options
                )
        if faulty:
            self.environment[variable("no command", 1)] = "/no/such/vasp_std"
        with pytest.MonkeyPatch.context() as patch, stand_in_environment(self.folder / "p") as p:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            if faulty:
                (p / "POT_GGA_PAW_PBE_54" / "POTCAR.K_sv").unlink()
            summary = local.run(self.flow, self.stores.job_store, self.folder / "run")
        builder = CandidateBuilder(
            *(self.stores.job_store, self.stores.candidates),
            accept_stand_in=True,
            failures=summary.errors,
        )
        builder.run_incrementally()
        return summary

    def calls(self, name: str) -> list[str]:
        """Names of the folders in which VASP was started."""
        file = self.folder / f"calls of {name}"
        return [Path(line).name for line in file.read_text().splitlines()] if file.exists() else []

    def folder_of(self, name: str, step: int) -> Path:
        (found,) = (self.folder / "run" / "jobs").glob(f"*_{self.uuids[name][step - 1]}_1")
        return found

    def candidate(self, name: str):
        return self.stores.candidates.get(self.ids[name])


class Outcome(NamedTuple):
    """What there was after one start."""

    summary: local.RunSummary
    calls: dict[str, list[str]]
    candidates: dict
    collected: object


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return Campaign(tmp_path_factory.mktemp("faults"))


def outcome_of(campaign: Campaign, *, faulty: bool) -> Outcome:
    summary = campaign.run(faulty=faulty)
    return Outcome(
        summary,
        {name: campaign.calls(name) for name in FAULTS},
        {name: campaign.candidate(name) for name in FAULTS},
        campaign.stores.job_store.get_output(campaign.collected, load=True),
    )


@pytest.fixture(scope="module")
def first(campaign):
    return outcome_of(campaign, faulty=True)


@pytest.fixture(scope="module")
def kept(campaign, first):
    """Files in the folders of the steps that failed, before they are tried again."""
    return {
        name: {file.name for file in campaign.folder_of(name, FAULTS[name].step).iterdir()}
        for name in FAILING
    }


@pytest.fixture(scope="module")
def second(campaign, kept):
    return outcome_of(campaign, faulty=False)


@pytest.mark.parametrize("name", FAILING)
def test_a_fault_is_the_reason_of_its_candidate(name, first):
    fault, candidate = FAULTS[name], first.candidates[name]
    assert (candidate.status, candidate.rejected_by) == ("rejected", "relax")
    assert candidate.reason.startswith(f"relaxation failed: step {fault.step} of 4: {fault.reason}")
    assert "\n" not in candidate.reason
    relaxation = candidate.relaxation
    assert relaxation.completed_steps == fault.step - 1
    assert relaxation.stand_in is (fault.step > 1)
    assert [energy is None for energy in relaxation.energies] == [
        *[fault.step == 1] * 1,
        *[number >= fault.step for number in (1, 2, 3, 4)],
    ]
    assert (candidate.relaxed_structure is None) == (fault.step == 1)


@pytest.mark.parametrize("name", FAILING)
def test_the_folder_of_a_fault_is_kept(name, campaign, first, kept):
    folder = campaign.folder_of(name, FAULTS[name].step)
    assert f"the files are in {folder}" in first.candidates[name].reason or name == "no command"
    written = {file.removesuffix(".gz") for file in kept[name]}
    if name in ("killed", "cut CONTCAR", "disk full", "explodes", "collides"):
        assert {"INCAR", "POSCAR", "OUTCAR", "vasprun.xml", "vasp.out"} <= written


def test_the_others_go_on(first):
    for name in ("sound", "does not converge"):
        candidate = first.candidates[name]
        assert (candidate.status, candidate.reason) == ("relaxed", None)
        assert candidate.relaxation.completed_steps == 4
        assert candidate.relaxation.engine == f"VASP {STAND_IN_VERSION}"
        assert len(first.calls[name]) == 4
    # a step that takes NSW ionic steps is a result, and the next goes on from it
    assert first.candidates["sound"].relaxation.converged == [True] * 4
    unconverged = first.candidates["does not converge"].relaxation
    assert unconverged.converged == [False, True, True, True]
    assert unconverged.steps[0].n_ionic_steps == 2
    assert unconverged.energies[2] < unconverged.energies[1] - 1e-3
    collected = first.collected
    assert (collected["n_selected"], collected["n_relaxed"]) == (len(FAULTS), 2)


def test_nothing_is_started_after_a_fault(first):
    for name in FAILING:
        started = FAULTS[name].step - (name in ("no command", "no POTCAR"))
        assert len(first.calls[name]) == started, name
    failed = Counter(key.rpartition(" (")[0] for key in first.summary.failed)
    # the later steps get no structure, fail, and leave no job waiting
    assert failed == {
        f"crystens relax {number}": sum(0 < FAULTS[name].step <= number for name in FAULTS)
        for number in (1, 2, 3, 4)
    }


@pytest.mark.parametrize("name", FAILING)
def test_mended_it_goes_on_from_the_last_good_step(name, first, second):
    candidate = second.candidates[name]
    assert (candidate.status, candidate.reason, candidate.rejected_by) == ("relaxed", None, None)
    assert candidate.relaxation.completed_steps == 4
    before = first.candidates[name].relaxation
    n_good = FAULTS[name].step - 1
    assert candidate.relaxation.energies[:n_good] == before.energies[:n_good]
    assert candidate.relaxation.steps[:n_good] == before.steps
    # finished steps are not done again: one call for each that was missing
    calls = second.calls[name][len(first.calls[name]) :]
    assert len(calls) == 4 - n_good
    assert [call.split("_")[0] for call in calls] == [
        f"crystens-relax-{number}" for number in range(FAULTS[name].step, 5)
    ]


def test_resumed_energies_are_those_of_the_calculator(second):
    from pymatgen.io.ase import AseAtomsAdaptor

    from crystens_flows.testing.calculators import load_calculator

    assert second.summary.failed == {}
    for structure, candidate in zip(STRUCTURES, second.candidates.values(), strict=True):
        energies = candidate.relaxation.energies
        for each, energy in ((structure, energies[0]), (candidate.relaxed_structure, energies[4])):
            atoms = AseAtomsAdaptor.get_atoms(each)
            atoms.calc = load_calculator("pair")
            assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        assert candidate.energy_per_atom == pytest.approx(energies[4] / 2)
    assert second.collected["n_relaxed"] == len(FAULTS)
    assert second.collected["failed"] == {}


def test_nothing_is_left_to_do(campaign, second):
    again = campaign.run(faulty=True)
    assert again.n_run == 0
    assert again.failed == {}
    assert {name: campaign.calls(name) for name in FAULTS} == second.calls
