"""What a run leaves for its report: candidates with real crystals, and a summary of them."""

from __future__ import annotations

from pymatgen.core import Lattice, Structure

from crystens_flows.candidate_status import CandidateStatus
from crystens_flows.relaxation.results import summarise_steps_read
from crystens_flows.relaxation.steps import RelaxStep
from crystens_flows.report.relaxations import candidate_record
from crystens_flows.schemas import (
    CandidateDocument,
    Provenance,
    RelaxDocument,
    ScreenRecord,
    SelectRecord,
    TuneRecord,
)

CRYSTALS = {
    "rutile": (
        *("P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"]),
        [[0, 0, 0], [0.305, 0.305, 0]],
    ),
    "perovskite": (
        *("Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"]),
        [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0]],
    ),
    "spinel": (
        *("Fd-3m", Lattice.cubic(8.083), ["Mg", "Al", "O"]),
        [[0, 0, 0], [0.625, 0.625, 0.625], [0.3874, 0.3874, 0.3874]],
    ),
    "wurtzite": (
        *("P6_3mc", Lattice.hexagonal(3.25, 5.207), ["Zn", "O"]),
        [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.3819]],
    ),
    "half-Heusler": (
        *("F-43m", Lattice.cubic(5.93), ["Ti", "Ni", "Sn"]),
        [[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]],
    ),
    "baddeleyite": (
        *("P2_1/c", Lattice.monoclinic(5.150, 5.212, 5.317, 99.23), ["Zr", "O", "O"]),
        [[0.2754, 0.0395, 0.2083], [0.07, 0.3317, 0.3447], [0.4496, 0.7569, 0.4792]],
    ),
}


def crystal(name: str) -> Structure:
    group, lattice, species, places = CRYSTALS[name]
    return Structure.from_spacegroup(group, lattice, species, places)


def relaxation(structure: Structure, identifier: str, steps: int = 4) -> RelaxDocument:
    """Relaxations in which the cell grows a little in each."""
    n = len(structure)
    energies = [-8.0 * n + 0.4 * 0.3**k for k in range(5)]
    pressures = [14.2, -2.1, 0.4, -0.05]
    grown = [structure.copy() for _ in range(steps)]
    for k, each in enumerate(grown, 1):
        each.scale_lattice(structure.volume * (1 + 0.01 * k))
    found = [
        RelaxStep(
            structure=each,
            initial_energy=energies[k],
            energy=energies[k + 1],
            stress=[[p, 0, 0], [0, p, 0], [0, 0, p]],
            converged=True,
            engine="CHGNet",
            dir_name=f"host:/job{k}",
            stand_in=False,
        )
        for k, (each, p) in enumerate(zip(grown, pressures, strict=False))
    ]
    uuids = [f"u{k}" for k in range(4)]
    return summarise_steps_read([*found, *[None] * (4 - steps)], identifier, uuids, structure)


def candidate(number: int, name: str, *, steps: int = 4, tuned: bool = True) -> CandidateDocument:
    """Candidate of a rank, decoded off its places and tuned back to them."""
    structure = crystal(name)
    decoded = structure.copy()
    decoded.perturb(0.08, seed=0)
    identifier = f"c-{number:020x}"
    formula = structure.composition.reduced_formula
    document = relaxation(structure, identifier, steps)
    energy, above = -2.5 + 0.2 * number, -0.013 + 0.017 * number
    return CandidateDocument(
        candidate_id=identifier,
        campaign="oxides",
        index=number,
        status=CandidateStatus.RELAXED if steps == 4 else CandidateStatus.REJECTED,
        rejected_by=None if steps == 4 else "relax",
        reason=document.reason,
        formula=formula,
        n_sites=len(structure),
        space_group=structure.get_space_group_info()[1],
        structure=decoded,
        formation_energy_per_atom=energy,
        energy_above_hull=above,
        smact_valid=True,
        screens={
            "novelty": ScreenRecord(candidate_id=identifier, passed=True),
            "cgcnn": ScreenRecord(
                candidate_id=identifier, passed=True, formation_energy_per_atom=energy + 0.02
            ),
            "hull": ScreenRecord(
                candidate_id=identifier,
                passed=True,
                formation_energy_per_atom=energy,
                energy_above_hull=above,
                uncertainty=0.03,
                values={
                    "energy_models": ["chgnet", "sevennet"],
                    "decomposition": {"TiO2": 0.6, "Ti3O5": 0.4},
                },
            ),
        },
        selection=SelectRecord(
            candidate_id=identifier, decision="selected", rank=number, n_ranked=58, value=above
        ),
        tuning=TuneRecord(
            candidate_id=identifier,
            structure=structure if tuned else decoded,
            changed=tuned,
            reason=TUNED if tuned else "nothing better nearby",
            values={
                "space_group_before": 1,
                "space_group_after": structure.get_space_group_info()[1] if tuned else 1,
                "energy_before": energy + 0.11,
                "energy_after": energy,
                "formula": formula,
            },
        ),
        relaxed_structure=document.structure if steps == 4 else None,
        relaxation=document,
        provenance=Provenance(
            campaign="oxides", generator="wyckoff", checkpoint_sha256="ab" * 32, seed=0
        ),
    )


def candidates() -> list[CandidateDocument]:
    """One of each crystal; one was not tuned, the relaxation of the last one failed."""
    return [
        candidate(number, name, tuned=number != 3, steps=2 if number == len(CRYSTALS) else 4)
        for number, name in enumerate(CRYSTALS, 1)
    ]


TUNED = "made more symmetric, sites moved by up to 0.08 A"

OPTIONS = {
    "n_samples": 240,
    "seed": 0,
    "generator": "default",
    "screening": {
        "models": ["cgcnn", "m3gnet", "chgnet", "sevennet"],
        "known": "shipped",
        "selection": {"n_pool": 35, "n_select": 6},
    },
    "relaxer": {"engine": "chgnet"},
}


def summary(documents: list[CandidateDocument]) -> dict:
    relaxed = [each for each in documents if each.relaxed_structure is not None]
    return {
        "campaign": "oxides",
        "n_samples": 240,
        "funnel": {
            "sampled": 240,
            "decoded": 236,
            "screened": 148,
            "unique": 131,
            "selected": len(documents),
            "relaxed": len(relaxed),
        },
        "n_novel": 97,
        "rejected": {
            "decode": {"no sites": 3, "overlapping sites": 1},
            "validity": {"sites too near to each other": 17, "density": 2},
            "cgcnn": {"formation energy too high": 41},
            "m3gnet": {"formation energy too high": 26, "no energy": 2},
            "select": {"duplicate": 17},
            "relax": {"relaxation failed": len(documents) - len(relaxed)},
        },
        "failed_jobs": {},
        "best": [
            {
                "candidate_id": each.candidate_id,
                "formula": each.formula,
                "n_sites": each.n_sites,
                "rank": each.selection.rank,
                "formation_energy_per_atom": each.formation_energy_per_atom,
                "energy_above_hull": each.energy_above_hull,
                "engine": each.relaxation.engine,
                "energies": each.relaxation.energies,
                "pressures": each.relaxation.pressures,
            }
            for each in relaxed
        ],
        "relaxations": [candidate_record(each) for each in documents],
        "store": "files in the folder oxides/store",
    }
