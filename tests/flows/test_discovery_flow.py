from __future__ import annotations

import contextlib
import io
from collections import Counter

import pytest
from jobflow import JobStore, OnMissing, run_locally
from maggma.stores import MemoryStore, MontyStore
from monty.json import jsanitize
from pymatgen.core import Lattice, Structure

from crystens_flows.builders import CandidateBuilder
from crystens_flows.candidates import CandidateStore
from crystens_flows.errors import InputError
from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.flows.discovery import relax_selected
from crystens_flows.jobs import (
    BatchRelaxMaker,
    CGCNNPrefilterMaker,
    HullPrefilterMaker,
    QuadrupleRelaxMaker,
    SampleMaker,
    SelectMaker,
    ValidityPrefilterMaker,
    prefilter_makers,
)
from crystens_flows.schemas import SelectedCandidate
from crystens_flows.screening.selection import SelectionRules


def fcc(element, a):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [element], [[0, 0, 0]])


METALS = [fcc("Al", 3.9), fcc("Cu", 3.5), fcc("Na", 4.8), fcc("Ni", 3.6), fcc("Al", 4.0)]


@pytest.fixture
def store():
    return JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})


def run(flow, store, folder):
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        run_locally(flow, store=store, log=False, create_folders=True)
    return store


def documents(store, stage):
    """Return the documents of a stage as they are stored."""
    return [doc["output"] for doc in store.query({"output.stage": stage}, load=False)]


def emt(steps=3):
    """An ASE calculator for a few metals; for other elements it raises."""
    from atomate2.ase.jobs import EmtRelaxMaker

    return QuadrupleRelaxMaker.from_relax_maker(EmtRelaxMaker(steps=steps))


def emt_batch(steps=3, chunk_size=2):
    """The same, many in a job."""
    return BatchRelaxMaker(
        calculator="ase.calculators.emt.EMT", steps=steps, fmax=0.1, chunk_size=chunk_size
    )


def without_relaxing(chunk_size):
    return DiscoveryFlowMaker(
        select_maker=SelectMaker(rules=SelectionRules(n_pool=10, n_select=0)),
        chunk_size=chunk_size,
    )


@pytest.mark.parametrize(
    ("n_samples", "chunk_size", "chunks"),
    [(20, 10, [(0, 10), (10, 10)]), (25, 10, [(0, 10), (10, 10), (20, 5)]), (3, 64, [(0, 3)])],
)
def test_chunks(n_samples, chunk_size, chunks):
    flow = DiscoveryFlowMaker(chunk_size=chunk_size).make(n_samples, seed=7, campaign="c")
    names = Counter(job.name for job, _ in flow.iterflow())
    screens = {maker.name: len(chunks) for maker in prefilter_makers()}
    assert {"crystens validity", "crystens m3gnet", "crystens hull"} < screens.keys()
    assert names == {
        "crystens sample": len(chunks),
        "crystens decode": len(chunks),
        **screens,
        "crystens select": 1,
        "crystens tune": 1,
        "crystens relax selected": 1,
    }
    samples = [job for job in flow.jobs if job.name == "crystens sample"]
    found = [(job.function_kwargs["start"], job.function_args[0]) for job in samples]
    assert found == chunks
    assert all(job.function_kwargs["seed"] == 7 for job in samples)
    assert all(job.metadata == {"campaign": "c"} for job, _ in flow.iterflow())


def test_what_cannot_be_made():
    with pytest.raises(InputError, match="0 samples"):
        DiscoveryFlowMaker().make(0)
    with pytest.raises(InputError, match="chunk_size = 0"):
        DiscoveryFlowMaker(chunk_size=0).make(1)
    with pytest.raises(InputError, match="chunk_size = 5000: give 1 to 1000"):
        DiscoveryFlowMaker(chunk_size=5000).make(1)


def test_the_chunk_size_changes_nothing(tmp_path):
    """The default generator, decoded, screened and selected, in chunks of 10 and of 64."""
    found = []
    for chunk_size in (10, 64):
        store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
        run(without_relaxing(chunk_size).make(24, seed=5), store, tmp_path)
        decoded = [c for doc in documents(store, "decode") for c in doc["candidates"]]
        screened = {
            (doc["screen"], record["candidate_id"]): record
            for doc in documents(store, "screen")
            for record in doc["records"]
        }
        (selected,) = documents(store, "select")
        found.append(
            (sorted(decoded, key=lambda c: c["index"]), screened, selected["records"]),
        )
    (decoded, screened, selected), (others, screened_otherwise, selected_otherwise) = found
    assert decoded == others
    assert len(decoded) == 24
    # sums in single precision depend on the batch in their last digits
    assert screened.keys() == screened_otherwise.keys()
    for key, record in screened.items():
        assert_near(record, screened_otherwise[key])
    assert len(selected) > 10
    assert [r["decision"] for r in selected] == [r["decision"] for r in selected_otherwise]
    for record, other in zip(selected, selected_otherwise, strict=True):
        assert record["value"] == pytest.approx(other["value"], abs=TOLERANCE)


TOLERANCE = 1e-4


def assert_near(record, other):
    if isinstance(record, dict):
        assert record.keys() == other.keys()
        for key, value in record.items():
            assert_near(value, other[key])
    elif isinstance(record, float):
        assert record == pytest.approx(other, rel=TOLERANCE, abs=TOLERANCE)
    else:
        assert record == other


def test_a_candidate_that_fails_does_not_stop_the_others(store, tmp_path):
    maker = DiscoveryFlowMaker(relax_maker=emt(), chunk_size=2)  # EMT has no sodium
    flow = maker.make_from_structures(METALS, campaign="own")
    run(flow, store, tmp_path)
    document = flow.output.resolve(store)
    (selection,) = documents(store, "select")
    ids = [record["candidate_id"] for record in selection["records"]]
    assert (document.campaign, document.n_selected, document.n_relaxed) == ("own", 4, 3)
    assert document.failed == {ids[2]: "relaxation failed: step 1 of 4"}
    assert set(document.relaxed) == {ids[0], ids[1], ids[3]}
    relaxed = {doc["candidate_id"]: doc for doc in documents(store, "relax")}
    energies = [relaxed[i]["energy"] / relaxed[i]["n_sites"] for i in document.relaxed]
    assert energies == sorted(energies)
    assert selection["records"][4]["duplicate_of"] == ids[0]
    metadata = [doc["metadata"] for doc in store.query({"name": {"$regex": "relax"}})]
    assert metadata
    assert all(each == {"campaign": "own"} for each in metadata)


def built(store):
    """Return the candidates that the builder makes of a store, by identifier."""
    candidates = CandidateStore(MemoryStore("candidates"))
    candidates.connect()
    CandidateBuilder(store, candidates).run_incrementally()
    return {document.candidate_id: document for document in candidates.documents()}


def test_batches_of_candidates_give_what_one_at_a_time_gives(store, tmp_path):
    """Two jobs of two candidates each; EMT has no sodium, which is in the second."""
    flow = DiscoveryFlowMaker(relax_maker=emt_batch(), chunk_size=2).make_from_structures(METALS)
    run(flow, store, tmp_path)
    names = Counter(doc["name"] for doc in store.query({"name": {"$regex": "relax"}}))
    assert names["crystens relax batch"] == 2
    document = flow.output.resolve(store)
    candidates = built(store)

    other_store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    other_flow = DiscoveryFlowMaker(relax_maker=emt(), chunk_size=2).make_from_structures(METALS)
    run(other_flow, other_store, tmp_path)
    other = other_flow.output.resolve(other_store)
    assert (
        (document.n_selected, document.n_relaxed) == (other.n_selected, other.n_relaxed) == (4, 3)
    )
    assert document.relaxed == other.relaxed
    ((failed, reason),) = document.failed.items()
    assert [failed] == list(other.failed)
    assert reason.startswith("relaxation failed: step 1 of 4, emt failed: NotImplementedError")
    assert candidates[failed].status == "rejected"
    assert (candidates[failed].rejected_by, candidates[failed].reason) == ("relax", reason)
    others = built(other_store)
    for identifier in document.relaxed:
        ours, theirs = candidates[identifier], others[identifier]
        assert ours.status == theirs.status == "relaxed"
        assert ours.relaxation.completed_steps == 4
        assert len(ours.relaxation.energies) == 5
        assert ours.relaxation.energies == pytest.approx(theirs.relaxation.energies, abs=1e-6)
        assert ours.relaxation.pressures == pytest.approx(theirs.relaxation.pressures, abs=1e-3)
        assert ours.energy_per_atom == pytest.approx(theirs.energy_per_atom, abs=1e-6)
        assert ours.relaxed_structure.matches(theirs.relaxed_structure)


def test_a_batch_that_fails_does_not_lose_the_others(store, tmp_path):
    selected = [
        SelectedCandidate(candidate_id=f"c-{i}", structure=metal, formation_energy_per_atom=-1.0)
        for i, metal in enumerate([METALS[0], METALS[1], METALS[3], METALS[4]])
    ]
    flow = relax_selected.original(emt_batch(), selected, "own").replace
    batches = [job for job in flow.jobs if job.name == "crystens relax batch"]
    assert [len(job.function_args[0]) for job in batches] == [2, 2]
    batches[0].maker.calculator = "no_such_package.Calculator"
    run(flow, store, tmp_path)
    document = flow.output.resolve(store)
    assert (document.campaign, document.n_selected, document.n_relaxed) == ("own", 4, 2)
    assert document.failed == dict.fromkeys(["c-0", "c-1"], "the relaxation left no summary")
    assert sorted(document.relaxed) == ["c-2", "c-3"]


def test_candidates_are_relaxed_in_batches_with_chgnet_by_default():
    maker = DiscoveryFlowMaker().relax_maker
    assert isinstance(maker, BatchRelaxMaker)
    assert maker.calculator == "chgnet"
    selected = [
        SelectedCandidate(candidate_id=f"c-{i}", structure=METALS[0])
        for i in range(maker.chunk_size)
    ]
    flow = relax_selected.original(maker, selected).replace
    assert [job.name for job in flow.jobs] == ["crystens relax batch", "crystens collect"]


def test_a_chunk_that_fails_does_not_stop_the_others(store, tmp_path):
    flow = without_relaxing(4).make(12, seed=5)
    samples = [job for job in flow.jobs if job.name == "crystens sample"]
    samples[1].maker.generator = str(tmp_path / "no-checkpoint")
    run(flow, store, tmp_path)
    (selection,) = documents(store, "select")
    assert selection["missing_chunks"] == [1]
    indices = [c["index"] for doc in documents(store, "decode") for c in doc["candidates"]]
    assert indices == [0, 1, 2, 3, 8, 9, 10, 11]
    document = flow.output.resolve(store)
    assert (document.n_selected, document.n_relaxed, document.failed) == (0, 0, {})


def test_nothing_is_made_up_when_all_chunks_fail(store, tmp_path):
    flow = DiscoveryFlowMaker(sample_maker=SampleMaker(generator="nowhere"), chunk_size=2).make(4)
    run(flow, store, tmp_path)
    assert {doc["output"]["stage"] for doc in store.query()} == {"screen"}
    assert [doc["records"] for doc in documents(store, "screen")] == [[]] * store.count()


def test_no_job_waits_for_one_that_failed():
    """A manager never starts a job whose parent failed, unless missing references are allowed."""
    flow = DiscoveryFlowMaker(chunk_size=2).make(4)
    for job, parents in flow.iterflow():
        allowed = job.config.on_missing_references == OnMissing.NONE
        assert allowed or not parents


def test_powerups_reach_the_relaxations():
    from atomate2.vasp.jobs.core import RelaxMaker
    from atomate2.vasp.powerups import update_user_incar_settings

    maker = DiscoveryFlowMaker(relax_maker=QuadrupleRelaxMaker.from_relax_maker(RelaxMaker()))
    flow = update_user_incar_settings(maker.make(4), {"ENCUT": 400})
    flow = update_user_incar_settings(flow, {"NSW": 7}, name_filter="crystens relax 2")
    (job,) = [job for job, _ in flow.iterflow() if job.name == "crystens relax selected"]
    candidate = SelectedCandidate(
        candidate_id="c-1", structure=METALS[0], formation_energy_per_atom=-1.0
    )
    relax_maker, _, campaign = job.function_args
    replacement = relax_selected.original(relax_maker, [candidate], campaign).replace
    jobs = {job.name: job for job, _ in replacement.iterflow()}
    for number in (1, 2, 3, 4):
        settings = jobs[f"crystens relax {number}"].maker.input_set_generator.user_incar_settings
        assert settings == ({"ENCUT": 400, "NSW": 7} if number == 2 else {"ENCUT": 400})


def cheap_screens():
    return [ValidityPrefilterMaker(), CGCNNPrefilterMaker(), HullPrefilterMaker()]


def in_parts(monkeypatch, at_once=4):
    """Let flows select in parts, of so few candidates, however few there are."""
    monkeypatch.setattr("crystens_flows.flows.discovery.ALL_AT_ONCE", 1)
    monkeypatch.setattr("crystens_flows.flows.select_parts.PART", at_once)


MANY = [
    fcc(element, a)
    for a, elements in ((3.9, ["Al", "Cu", "Ag"]), (3.7, ["Ni", "Cu", "Al", "Pd", "Ag"]))
    for element in elements
]


def test_a_selection_in_parts_gives_what_one_at_once_gives(tmp_path, monkeypatch):
    """From the structures to the candidates: shards of two chunks, with duplicates across both."""
    found = []
    for parts in (False, True):
        store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
        if parts:
            in_parts(monkeypatch)
        maker = DiscoveryFlowMaker(
            screen_makers=cheap_screens(),
            select_maker=SelectMaker(rules=SelectionRules(n_pool=5, n_select=3)),
            tune_maker=None,
            relax_maker=emt_batch(),
            chunk_size=2,
        )
        flow = maker.make_from_structures(MANY)
        names = Counter(job.name for job, _ in flow.iterflow())
        assert names["crystens select gather"] == (4 if parts else 0)
        run(flow, store, tmp_path)
        found.append((flow.output.resolve(store), built(store)))
    (document, candidates), (document_of_parts, candidates_of_parts) = found
    assert document.n_selected == 3
    assert document_of_parts == document
    decisions = Counter(each.selection.decision for each in candidates.values() if each.selection)
    assert decisions["selected"] == 3
    assert decisions["duplicate"] >= 1
    assert candidates_of_parts.keys() == candidates.keys()
    for identifier, candidate in candidates.items():
        other = candidates_of_parts[identifier]
        differing = {
            name
            for name, value in candidate.model_dump(mode="json").items()
            if other.model_dump(mode="json")[name] != value
        }
        # other jobs, at other times, with other identifiers of the steps
        assert differing <= {"jobs", "completed_at", "last_updated", "relaxation"}


def test_a_chunk_that_fails_does_not_stop_a_selection_in_parts(store, tmp_path, monkeypatch):
    in_parts(monkeypatch)
    maker = DiscoveryFlowMaker(
        screen_makers=cheap_screens(),
        select_maker=SelectMaker(rules=SelectionRules(n_pool=5, n_select=0)),
        tune_maker=None,
        chunk_size=3,
    )
    flow = maker.make(12, seed=5)
    for job, parents in flow.iterflow():
        assert job.config.on_missing_references == OnMissing.NONE or not parents
    samples = [job for job, _ in flow.iterflow() if job.name == "crystens sample"]
    samples[1].maker.generator = str(tmp_path / "no-checkpoint")
    run(flow, store, tmp_path)
    (selection,) = [doc for doc in documents(store, "select") if "standing" in doc]
    assert selection["missing_chunks"] == [1]
    indices = {candidate.index for candidate in built(store).values() if candidate.selection}
    assert indices
    assert not indices & {3, 4, 5}
    document = flow.output.resolve(store)
    assert (document.n_selected, document.n_relaxed, document.failed) == (0, 0, {})


def test_a_shard_that_fails_does_not_stop_a_selection_in_parts(store, tmp_path, monkeypatch):
    in_parts(monkeypatch)
    maker = DiscoveryFlowMaker(
        screen_makers=cheap_screens(), tune_maker=None, relax_maker=emt_batch(), chunk_size=2
    )
    flow = maker.make_from_structures(MANY)
    shards = [job for job, _ in flow.iterflow() if job.name == "crystens select distinct"]
    lost = shards[0]
    lost.function_args = (lost.function_args[0], lost.function_args[1], "no rules")
    run(flow, store, tmp_path)
    (selection,) = [doc for doc in documents(store, "select") if "standing" in doc]
    assert selection["missing_chunks"] == [0, 1, 2, 3]
    decided = [each for each in built(store).values() if each.selection]
    assert 0 < len(decided) < len(MANY)
    assert flow.output.resolve(store).n_selected == len(selection["selected"]) > 0


def test_nothing_is_made_up_when_all_chunks_of_a_selection_in_parts_fail(
    store, tmp_path, monkeypatch
):
    in_parts(monkeypatch)
    flow = DiscoveryFlowMaker(sample_maker=SampleMaker(generator="nowhere"), chunk_size=2).make(8)
    run(flow, store, tmp_path)
    assert [doc["records"] for doc in documents(store, "screen")] == [[]] * store.count()


def test_many_are_relaxed_in_parts(store, tmp_path, monkeypatch):
    """What one job makes relaxations of; a part that is lost does not lose the others."""
    monkeypatch.setattr("crystens_flows.flows.relaxing.PART", 2)
    monkeypatch.setattr("crystens_flows.flows.discovery.RELAX_PART", 2)
    maker = DiscoveryFlowMaker(
        screen_makers=cheap_screens(),
        select_maker=SelectMaker(rules=SelectionRules(n_pool=5, n_select=5)),
        tune_maker=None,
        relax_maker=emt_batch(),
    )
    flow = maker.make_from_structures([METALS[0], METALS[1], METALS[2], METALS[3]])
    parts = [job for job, _ in flow.iterflow() if job.name == "crystens relax selected"]
    assert [(job.function_kwargs["start"], job.function_kwargs["stop"]) for job in parts] == [
        (0, 2),
        (2, 4),
        (4, 6),  # five are wanted, but there are only four
    ]
    parts[0].function_args = ("no maker", *parts[0].function_args[1:])
    run(flow, store, tmp_path)
    (selection,) = documents(store, "select")
    ids = [each["candidate_id"] for each in selection["selected"]]
    document = flow.output.resolve(store)
    assert (document.n_selected, len(ids)) == (4, 4)
    lost = {i for i, why in document.failed.items() if why == "the relaxation left no summary"}
    assert lost == set(ids[:2])
    assert document.n_relaxed + len(document.failed) == 4
    assert document.relaxed == sorted(document.relaxed, key=document.energies_per_atom.get)
    assert set(document.relaxed) <= set(ids[2:])


@pytest.mark.parametrize(
    ("n_samples", "size"), [(1, 64), (1024, 64), (1025, 128), (4096, 256), (10_000, 512)]
)
def test_chunks_grow_with_the_campaign(n_samples, size):
    flow = DiscoveryFlowMaker(screen_makers=[]).make(n_samples)
    samples = [job for job, _ in flow.iterflow() if job.name == "crystens sample"]
    sizes = [job.function_args[0] for job in samples]
    assert sum(sizes) == n_samples
    assert sizes[0] == min(size, n_samples)
    names = Counter(job.name for job, _ in flow.iterflow())
    assert (names["crystens select shortlist"] > 0) == (n_samples > 1024)


def test_no_job_of_a_large_campaign_has_many_inputs():
    flow = DiscoveryFlowMaker(screen_makers=cheap_screens()).make(100_000)
    jobs = list(flow.iterflow())
    assert max(len(parents) for _, parents in jobs) <= 17  # 16 and the selection
    assert len(jobs) < 2_000


@pytest.mark.parametrize("relax_maker", [emt(), emt_batch()], ids=["one at a time", "batches"])
def test_runs_from_files_and_after_serialisation(relax_maker, tmp_path):
    """The flow, written down and read again as a workflow manager does, on stores in files."""
    from jobflow import Flow

    store = JobStore(
        MontyStore("jobs", database_path=str(tmp_path)),
        additional_stores={"data": MontyStore("data", database_path=str(tmp_path))},
    )
    maker = DiscoveryFlowMaker(relax_maker=relax_maker, chunk_size=2)
    flow = maker.make_from_structures(METALS[:2])
    again = Flow.from_dict(jsanitize(flow.as_dict(), strict=True, enum_values=True))
    run(again, store, tmp_path)
    document = again.output.resolve(store)
    assert (document.n_selected, document.n_relaxed) == (2, 2)
