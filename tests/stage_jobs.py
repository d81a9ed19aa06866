"""Jobs that return the documents of the stages, quickly and the same each time."""

from __future__ import annotations

import numpy as np
from jobflow import Flow, JobConfig, JobStore, OnMissing, job, run_locally
from pymatgen.core import Lattice, Structure

from crystens_flows.schemas import (
    ArrayBlob,
    DecodedCandidate,
    DecodeDocument,
    Provenance,
    RelaxDocument,
    SampleDocument,
    ScreenDocument,
    ScreenRecord,
    SelectDocument,
    SelectedCandidate,
    SelectRecord,
    candidate_id,
)

CELLS = (("Na", "Cl"), ("Ga", "As"), ("K", "Br"), ("Mg", "O"), ("Li", "F"))


def provenance(campaign: str = "default", seed: int = 0) -> Provenance:
    return Provenance(campaign=campaign, generator="flow", checkpoint_sha256="ab" * 32, seed=seed)


def structure_of(index: int) -> Structure:
    """Every fifth has the same elements; the length of the cell is the index's own."""
    species = CELLS[index % len(CELLS)]
    lattice = Lattice.cubic(4 + 0.01 * index)
    return Structure(lattice, list(species) * 2, [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0, 0, 0.5]])


def energy_of(index: int) -> float:
    return -0.01 * ((index * 37) % 101)


def ids(prov: Provenance, start: int, n: int) -> list[str]:
    return [candidate_id(prov, start + k) for k in range(n)]


@job(data=ArrayBlob, output_schema=SampleDocument)
def sample(prov: Provenance, start: int, n: int) -> SampleDocument:
    tensors = np.zeros((n, 4, 2, 2), dtype=np.float32)
    return SampleDocument(provenance=prov, start=start, n_samples=n, crystens=ArrayBlob(tensors))


@job(output_schema=DecodeDocument)
def decode(prov: Provenance, start: int, n: int, crystens=None) -> DecodeDocument:
    """Every seventh cannot be decoded."""
    candidates = [
        DecodedCandidate(
            candidate_id=candidate_id(prov, index),
            index=index,
            structure=None if index % 7 == 6 else structure_of(index),
            reason="no sites" if index % 7 == 6 else None,
            space_group=1 + index % 230,
            consistency={"figure_3": 0.1 * index, "distance": None},
        )
        for index in range(start, start + n)
    ]
    return DecodeDocument(provenance=prov, candidates=candidates)


@job(output_schema=ScreenDocument)
def screen(
    prov: Provenance, start: int, n: int, name: str = "cgcnn", shift: float = 0.0, after=None
):
    """Every seventh has no structure and no record; every fifth does not pass."""
    records = [
        ScreenRecord(
            candidate_id=candidate_id(prov, index),
            passed=index % 5 != 4,
            reason="charges cannot balance" if index % 5 == 4 else None,
            formation_energy_per_atom=energy_of(index) + shift,
            smact_valid=index % 5 != 4,
        )
        for index in range(start, start + n)
        if index % 7 != 6
    ]
    return ScreenDocument(screen=name, model={"name": name}, records=records)


@job(output_schema=SelectDocument)
def select(prov: Provenance, n: int, n_select: int = 3, after=None) -> SelectDocument:
    passed = [index for index in range(n) if index % 7 != 6 and index % 5 != 4]
    ranked = sorted(passed, key=energy_of)
    records, selected = [], []
    for rank, index in enumerate(ranked, 1):
        identifier = candidate_id(prov, index)
        if rank == n_select + 1:
            first = candidate_id(prov, ranked[0])
            records.append(
                SelectRecord(candidate_id=identifier, decision="duplicate", duplicate_of=first)
            )
            continue
        decision = "selected" if rank <= n_select else "pool" if rank < 8 else "ranked"
        records.append(SelectRecord(candidate_id=identifier, decision=decision, rank=rank))
        if decision == "selected":
            selected.append(
                SelectedCandidate(
                    candidate_id=identifier,
                    structure=structure_of(index),
                    formation_energy_per_atom=energy_of(index),
                )
            )
    return SelectDocument(settings={"n_select": n_select}, records=records, selected=selected)


@job(output_schema=RelaxDocument)
def relax(identifier: str, structure: Structure, steps: int = 4, energy: float = -16.0):
    energies = [energy + 0.1 * (4 - k) if k <= steps else None for k in range(5)]
    return RelaxDocument(
        candidate_id=identifier,
        structure=structure if steps else None,
        energy=energies[steps] if steps else None,
        dir_name="host:/scratch" if steps else None,
        energies=energies,
        pressures=[1.0 if k < steps else None for k in range(4)],
        converged=[True if k < steps else None for k in range(4)],
        n_sites=len(structure) if steps else None,
        engine="CHGNet",
        completed_steps=steps,
        reason=None if steps == 4 else f"step {steps + 1}: forces exploded",
    )


def campaign_jobs(name: str = "default", n: int = 40, chunk: int = 10, seed: int = 0) -> list:
    """All jobs of a campaign, in order, those after the selection included."""
    prov = provenance(name, seed)
    jobs: list = []
    for start in range(0, n, chunk):
        sampled = sample(prov, start, chunk)
        decoded = decode(prov, start, chunk, sampled.output.crystens)
        jobs += [sampled, decoded, screen(prov, start, chunk, after=decoded.output.stage)]
    selection = select(prov, n, after=[each.output.stage for each in jobs if each.name == "screen"])
    selection.update_config(JobConfig(on_missing_references=OnMissing.NONE))
    jobs.append(selection)
    chosen = select.original(prov, n).selected
    for number, candidate in enumerate(chosen):
        jobs.append(relax(candidate.candidate_id, candidate.structure, steps=(4, 4, 2)[number % 3]))
    return jobs


def run_jobs(jobs: list, job_store: JobStore) -> None:
    run_locally(
        Flow(jobs), store=job_store, log=False, ensure_success=True, allow_external_references=True
    )


def contents(store) -> dict[str, dict]:
    """All documents of a maggma store by candidate_id, without what differs from run to run."""
    left_out = ("_id", "last_updated", "jobs")
    return {
        doc["candidate_id"]: {k: v for k, v in doc.items() if k not in left_out}
        for doc in store.query({})
    }
