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
    TuneDocument,
    TuneRecord,
    candidate_id,
)

CELLS = (("Na", "Cl"), ("Ga", "As"), ("K", "Br"), ("Mg", "O"), ("Li", "F"))


def provenance(campaign: str = "default", seed: int = 0) -> Provenance:
    return Provenance(
        campaign=campaign, generator="wyckoff", checkpoint_sha256="ab" * 32, seed=seed
    )


def structure_of(index: int) -> Structure:
    """Every fifth has the same elements; the length of the cell is the index's own."""
    species = CELLS[index % len(CELLS)]
    lattice = Lattice.cubic(4 + 0.01 * index)
    return Structure(lattice, list(species) * 2, [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0, 0, 0.5]])


def energy_of(index: int) -> float:
    return -0.01 * ((index * 37) % 101)


MAX_ABOVE_HULL = 0.15
"""What lies higher the selection filters out."""


def above_of(index: int) -> float:
    """Energy above hull; some are above :data:`MAX_ABOVE_HULL`, some below zero."""
    return round(-0.02 + 0.01 * ((index * 13) % 23), 3)


def known_as_of(index: int) -> str | None:
    return f"mp-{index}" if index % 11 == 3 else None


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


@job(output_schema=ScreenDocument)
def hull(prov: Provenance, start: int, n: int, after=None) -> ScreenDocument:
    """Hold what the other screen passes against the hull of known compounds."""
    records = [
        ScreenRecord(
            candidate_id=candidate_id(prov, index),
            passed=True,
            formation_energy_per_atom=energy_of(index),
            energy_above_hull=above_of(index),
            uncertainty=0.03,
            known_as=known_as_of(index),
            values={
                "energy_models": ["chgnet"],
                "agree": True,
                "decomposition": {structure_of(index).composition.reduced_formula: 1.0},
                "elements_only": False,
            },
        )
        for index in range(start, start + n)
        if passes(index)
    ]
    return ScreenDocument(screen="hull", model={"name": "a release"}, records=records)


def passes(index: int) -> bool:
    return index % 7 != 6 and index % 5 != 4


@job(output_schema=SelectDocument)
def select(prov: Provenance, n: int, n_select: int = 3, after=None) -> SelectDocument:
    """Filter by the hull, rank by formation energy; one more than selected is a duplicate."""
    passed = [index for index in range(n) if passes(index)]
    by_energy = sorted(passed, key=energy_of)
    ranked = [index for index in by_energy if above_of(index) <= MAX_ABOVE_HULL]
    records = [
        SelectRecord(
            candidate_id=candidate_id(prov, index),
            decision="filtered",
            reason=f"energy above hull too high: {above_of(index):.3f} eV/atom, at most 0.15",
            rank=rank,
            n_ranked=len(by_energy),
            value=energy_of(index),
        )
        for rank, index in enumerate(by_energy, 1)
        if above_of(index) > MAX_ABOVE_HULL
    ]
    for rank, index in enumerate(ranked, 1):
        first = candidate_id(prov, ranked[0])
        duplicate = rank == n_select + 1
        decision = "selected" if rank <= n_select else "pool" if rank < 8 else "ranked"
        records.append(
            SelectRecord(
                candidate_id=candidate_id(prov, index),
                decision="duplicate" if duplicate else decision,
                duplicate_of=first if duplicate else None,
                reason=f"duplicate: of {first}" if duplicate else f"rank {rank} of {len(ranked)}",
                rank=rank,
                n_ranked=len(ranked),
                value=energy_of(index),
            )
        )
    selected = [
        SelectedCandidate(
            candidate_id=candidate_id(prov, index),
            structure=structure_of(index),
            formation_energy_per_atom=energy_of(index),
            energy_above_hull=above_of(index),
        )
        for index in ranked[:n_select]
    ]
    return SelectDocument(settings={"n_select": n_select}, records=records, selected=selected)


def tuned_of(index: int) -> Structure:
    structure = structure_of(index)
    if index % 4 == 0:
        structure.scale_lattice(0.97 * structure.volume)
    return structure


@job(output_schema=TuneDocument)
def tune(prov: Provenance, indices: list[int], after=None) -> TuneDocument:
    """Shrink the cells of those with an index that four divides."""
    records = [
        TuneRecord(
            candidate_id=candidate_id(prov, index),
            structure=tuned_of(index),
            changed=index % 4 == 0,
            reason="made more symmetric" if index % 4 == 0 else None,
            values={"tolerance": 0.1},
        )
        for index in indices
    ]
    selected = [
        SelectedCandidate(candidate_id=each.candidate_id, structure=each.structure)
        for each in records
    ]
    return TuneDocument(model={"name": "chgnet"}, records=records, selected=selected)


def selected_of(n: int, n_select: int = 3) -> list[int]:
    """Return the indices that :func:`select` selects."""
    kept = [index for index in range(n) if passes(index) and above_of(index) <= MAX_ABOVE_HULL]
    return sorted(kept, key=energy_of)[:n_select]


@job(output_schema=RelaxDocument)
def relax(
    identifier: str, structure: Structure, steps: int = 4, energy: float = -16.0, **more
) -> RelaxDocument:
    energies = [energy + 0.1 * (4 - k) if k <= steps else None for k in range(5)]
    fields = {
        "candidate_id": identifier,
        "structure": structure if steps else None,
        "energy": energies[steps] if steps else None,
        "dir_name": "host:/scratch" if steps else None,
        "energies": energies,
        "pressures": [1.0 if k < steps else None for k in range(4)],
        "converged": [True if k < steps else None for k in range(4)],
        "n_sites": len(structure) if steps else None,
        "engine": "CHGNet",
        "completed_steps": steps,
        "reason": None if steps == 4 else f"step {steps + 1}: forces exploded",
    }
    return RelaxDocument(**{**fields, **more})


def campaign_jobs(name: str = "default", n: int = 40, chunk: int = 10, seed: int = 0) -> list:
    """All jobs of a campaign, in order, those after the selection included."""
    prov = provenance(name, seed)
    jobs: list = []
    for start in range(0, n, chunk):
        sampled = sample(prov, start, chunk)
        decoded = decode(prov, start, chunk, sampled.output.crystens)
        first = screen(prov, start, chunk, after=decoded.output.stage)
        jobs += [sampled, decoded, first, hull(prov, start, chunk, after=first.output.stage)]
    selection = select(prov, n, after=[each.output.stage for each in jobs if each.name == "hull"])
    selection.update_config(JobConfig(on_missing_references=OnMissing.NONE))
    chosen = selected_of(n)
    tuned = tune(prov, chosen, after=selection.output.stage)
    jobs += [selection, tuned]
    for number, record in enumerate(tune.original(prov, chosen).records):
        jobs.append(relax(record.candidate_id, record.structure, steps=(4, 4, 2)[number % 3]))
    return jobs


def run_jobs(jobs: list, job_store: JobStore) -> None:
    run_locally(
        Flow(jobs), store=job_store, log=False, ensure_success=True, allow_external_references=True
    )


def contents(store) -> dict[str, dict]:
    """All documents of a maggma store by candidate_id, without what differs from run to run."""
    left_out = ("_id", "last_updated", "jobs", "completed_at")
    return {
        doc["candidate_id"]: {k: v for k, v in doc.items() if k not in left_out}
        for doc in store.query({})
    }
