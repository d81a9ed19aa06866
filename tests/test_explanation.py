from __future__ import annotations

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore

from crystens_flows.builders import CandidateBuilder
from crystens_flows.candidates import CandidateStore
from crystens_flows.explanation import explain
from crystens_flows.schemas import (
    CandidateDocument,
    RelaxStepRecord,
    ScreenRecord,
    SelectRecord,
)
from stage_jobs import campaign_jobs, ids, provenance, run_jobs, selected_of


@pytest.fixture(scope="module")
def candidates() -> list[CandidateDocument]:
    """A campaign of forty, by index, as the builder makes it from jobs that ran."""
    job_store = JobStore(MemoryStore("jobs"), additional_stores={"data": MemoryStore("data")})
    store = CandidateStore(MemoryStore("candidates"))
    job_store.connect()
    store.connect()
    run_jobs(campaign_jobs(), job_store)
    CandidateBuilder(job_store, store).run_incrementally()
    return list(store.documents(sort="index"))


NAMES = ids(provenance(), 0, 40)
BEST, SECOND, THIRD, FOURTH, FIFTH = selected_of(40, n_select=5)


def test_what_could_not_be_decoded(candidates):
    assert explain(candidates[6]) == [
        f"{NAMES[6]}: no structure; sample 6 of campaign 'default', from generator 'wyckoff', "
        "seed 0",
        "so: rejected by 'decode': no sites",
    ]


def test_rejected_by_a_screen(candidates):
    assert explain(candidates[4]) == [
        f"{NAMES[4]}: LiF, 4 sites; sample 4 of campaign 'default', from generator 'wyckoff', "
        "seed 0",
        "cgcnn: rejected: charges cannot balance",
        "so: rejected by 'cgcnn': charges cannot balance",
    ]


def test_filtered(candidates):
    reason = "energy above hull too high: 0.170 eV/atom, at most 0.15"
    assert explain(candidates[5])[1:] == [
        "cgcnn: passed: formation energy -0.840 eV/atom; charges can balance",
        "hull: passed: formation energy -0.840 eV/atom from chgnet, models agree (0.030 eV/atom "
        "apart); 0.170 eV/atom above the hull of known compounds (here NaCl)",
        f"selection: not selected: {reason}",
        f"so: rejected by 'select': {reason}",
    ]


def test_duplicate(candidates):
    said = explain(candidates[FOURTH])
    assert said[-2:] == [
        f"selection: not selected: the same crystal as {NAMES[BEST]}, which was given first",
        f"so: rejected by 'select': duplicate: of {NAMES[BEST]}",
    ]


def test_pool(candidates):
    said = explain(candidates[FIFTH])
    n_ranked = len(selected_of(40, n_select=40))
    assert said[-2:] == [
        f"selection: not selected: rank 5 of {n_ranked}",
        "so: passed all screens, but was not selected",
    ]


def test_selected_tuned_and_relaxed(candidates):
    n_ranked = len(selected_of(40, n_select=40))
    assert explain(candidates[BEST])[-4:] == [
        f"selection: selected: rank 1 of {n_ranked}",
        "tuning: changed: made more symmetric",
        "relaxation: 4 of 4 steps with CHGNet, which changed the energy by -0.4000 eV a cell; "
        "pressure 1.00 kbar at the end",
        "so: relaxed",
    ]
    assert explain(candidates[SECOND])[-3] == "tuning: unchanged: nothing to improve"


def test_relaxation_failed(candidates):
    assert explain(candidates[THIRD])[-2:] == [
        "relaxation: 2 of 4 steps with CHGNet, which changed the energy by -0.2000 eV a cell; "
        "pressure 1.00 kbar at the end",
        "so: rejected by 'relax': step 3: forces exploded",
    ]
    relaxation = candidates[THIRD].relaxation.model_copy(
        update={
            "engine": None,
            "completed_steps": 0,
            "energies": [None] * 5,
            "pressures": [None] * 4,
        }
    )
    nothing = candidates[THIRD].model_copy(update={"relaxation": relaxation})
    assert explain(nothing)[-2] == "relaxation: 0 of 4 steps"


def test_what_a_relaxation_changed(candidates):
    step = {"volume": 110.0, "space_group": 225, "corrections": ["BRMIX: {'IMIX': 1}"]}
    relaxation = candidates[BEST].relaxation.model_copy(
        update={
            "engine": "VASP 6.4.2",
            "initial_volume": 100.0,
            "initial_space_group": 1,
            "steps": [RelaxStepRecord(**step)] * 4,
            "converged": [False, True, True, True],
            "energy_above_hull": -0.0125,
            "stand_in": True,
        }
    )
    candidate = candidates[BEST].model_copy(update={"relaxation": relaxation})
    assert explain(candidate)[-6:] == [
        "relaxation: 4 of 4 steps with VASP 6.4.2, which changed the energy by -0.4000 eV a cell "
        "and the volume by +10.0 %; pressure 1.00 kbar at the end; space group 1 became 225",
        "relaxation: not converged in 1 of 4 steps",
        "relaxation: corrected on the way: BRMIX: {'IMIX': 1}",
        "DFT: 0.013 eV/atom below the hull of known compounds",
        "relaxation: its energies and pressures were made by a stand-in for VASP: no results of "
        "DFT",
        "so: relaxed",
    ]


def test_below_the_hull_and_known(candidates):
    assert candidates[0].energy_above_hull < 0
    assert (
        "; 0.020 eV/atom below the hull of known compounds (here NaCl)" in explain(candidates[0])[2]
    )
    assert explain(candidates[3])[2].endswith("; known already as mp-3")


def with_screens(candidate: CandidateDocument, **screens: dict) -> CandidateDocument:
    """The candidate before any selection, with other screens than its own."""
    records = {
        name: ScreenRecord(**{"candidate_id": candidate.candidate_id, "passed": True, **found})
        for name, found in screens.items()
    }
    return candidate.model_copy(
        update={
            "screens": records,
            "selection": None,
            "tuning": None,
            "relaxation": None,
            "status": "screened",
            "rejected_by": None,
            "reason": None,
        }
    )


def test_a_hull_of_the_elements_only(candidates):
    found = {"energy_above_hull": -1.25, "values": {"elements_only": True, "decomposition": {}}}
    said = explain(with_screens(candidates[0], hull=found))
    assert said[1:] == [
        "hull: passed: 1.250 eV/atom below the elements, of which no compound is known to the hull",
        "so: screened and not rejected; no selection has been made yet",
    ]


def test_a_mixture_has_its_largest_part_first(candidates):
    values = {"decomposition": {"Na": 1 / 3, "NaCl": 2 / 3}}
    said = explain(with_screens(candidates[0], hull={"energy_above_hull": 0.1, "values": values}))
    assert said[1] == (
        "hull: passed: 0.100 eV/atom above the hull of known compounds (here 67 % NaCl + 33 % Na)"
    )


@pytest.mark.parametrize(
    ("models", "agree", "apart", "sentence"),
    [
        (
            ["sevennet", "chgnet"],
            False,
            0.25,
            "-2.000 eV/atom from sevennet and chgnet, models disagree (0.250 eV/atom apart)",
        ),
        (["chgnet"], True, 0.0, "-2.000 eV/atom from chgnet, models agree (0.000 eV/atom apart)"),
        (["cgcnn"], None, None, "-2.000 eV/atom from cgcnn, no second model to compare with"),
    ],
)
def test_how_far_models_differ(candidates, models, agree, apart, sentence):
    found = {
        "formation_energy_per_atom": -2.0,
        "uncertainty": apart,
        "values": {"energy_models": models, "agree": agree},
    }
    said = explain(with_screens(candidates[0], hull=found))
    assert said[1] == f"hull: passed: formation energy {sentence}"


def test_what_one_model_expects_to_be_off(candidates):
    found = {"formation_energy_per_atom": -2.0, "uncertainty": 0.05}
    assert explain(with_screens(candidates[0], m3gnet=found))[1] == (
        "m3gnet: passed: formation energy -2.000 +- 0.050 eV/atom"
    )


def test_screens_in_the_order_they_are_asked_then_those_of_a_user(candidates):
    names = ("mine", "hull", "cgcnn", "novelty", "validity")
    said = explain(with_screens(candidates[0], **{name: {} for name in names}))
    assert said[1:-1] == [
        "validity: passed",
        "novelty: passed: not among the known crystals",
        *("cgcnn: passed", "hull: passed", "mine: passed"),
    ]


@pytest.mark.parametrize(
    ("selection", "sentences"),
    [
        (
            {"decision": "pool", "reason": "others come first: 6 of the pool are selected"},
            ["selection: not selected: others come first: 6 of the pool are selected"],
        ),
        ({"decision": "selected", "rank": 3}, ["selection: selected: rank 3"]),
        ({"decision": "ranked"}, ["selection: not selected: no reason was given"]),
        (
            {
                "decision": "selected",
                "reason": "rank 1 of 2",
                "rank_in_system": 1,
                "energy_above_hull_with_candidates": -0.03,
            },
            [
                "selection: selected: rank 1 of 2",
                "among candidates of Cl-Na: rank 1, 0.030 eV/atom below the hull that has the "
                "other candidates in it too",
            ],
        ),
    ],
)
def test_the_selection_in_words(candidates, selection, sentences):
    record = SelectRecord(candidate_id=NAMES[0], **selection)
    candidate = with_screens(candidates[0]).model_copy(update={"selection": record})
    assert explain(candidate)[1:-1] == sentences


def test_what_is_yet_to_come(candidates):
    bare = with_screens(candidates[0])
    assert explain(bare.model_copy(update={"status": "decoded"}))[-1] == (
        "so: decoded, not screened yet"
    )
    assert explain(bare.model_copy(update={"status": "selected"}))[-1] == (
        "so: selected, not relaxed yet"
    )


def test_where_a_users_own_structure_comes_from(candidates):
    source = provenance().model_copy(update={"generator": "files", "seed": None})
    candidate = candidates[0].model_copy(update={"provenance": source})
    assert explain(candidate)[0].endswith("structure 0 of campaign 'default', read from files")


def test_each_of_a_campaign_has_a_beginning_and_an_end(candidates):
    for candidate in candidates:
        said = explain(candidate)
        assert said[0].startswith(f"{candidate.candidate_id}: ")
        assert said[-1].startswith("so: ")
        assert not any("None" in sentence or "nan" in sentence for sentence in said)
