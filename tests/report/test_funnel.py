"""The funnel: nobody is lost between its steps."""

from __future__ import annotations

from itertools import pairwise

from report_run import OPTIONS, candidates, summary

from crystens_flows.report.funnel import funnel_section, funnel_steps


def test_each_step_has_those_of_the_step_before_that_did_not_fall():
    steps = funnel_steps(OPTIONS, summary(candidates()))
    names = [step.name for step in steps]
    assert names[:4] == ["asked for", "sampled", "decoded", "valid"]
    assert names[-5:] == ["passed all screens", "unique", "novel", "selected", "relaxed"]
    # known crystals are marked, so the selection begins with all that are unique
    kept = [step for step in steps if step.name != "novel"]
    for before, after in pairwise(kept):
        assert before.count - sum(after.fallen.values()) == after.count, after.name
    assert steps[-3].fallen == {"known crystals, marked and kept": 34}


def test_what_a_failed_job_held_back_is_said():
    told = summary(candidates())
    told["funnel"] |= {"sampled": 200, "decoded": 196, "screened": 100, "unique": 83}
    told["funnel"] |= {"relaxed": 2}
    fallen = {step.name: step.fallen for step in funnel_steps(OPTIONS, told)}
    assert fallen["sampled"] == {"not sampled": 40}
    assert fallen["passed all screens"] == {"not screened": 8}
    assert fallen["relaxed"]["not relaxed"] > 0


def test_screens_and_limits_of_a_user_are_steps():
    told = summary(candidates())
    told["rejected"]["band gap"] = {"too narrow": 5}
    told["rejected"]["select"]["energy above hull too high"] = 9
    options = {"screening": {**OPTIONS["screening"], "reject_known": True}}
    steps = {step.name: step for step in funnel_steps(options, told)}
    assert steps["passed band gap"].fallen == {"too narrow": 5}
    assert steps["within the limits"].fallen == {"energy above hull too high": 9}
    assert "passed novelty" in steps


def test_a_summary_of_little_is_enough():
    told = {"n_samples": 2, "funnel": {"relaxed": 1}, "rejected": {}}
    assert [step.name for step in funnel_steps({}, told)] == ["asked for", "relaxed"]


def test_many_reasons_fold():
    told = summary(candidates())
    told["rejected"]["decode"] = {f"reason {k}": 1 for k in range(8)}
    section = funnel_section(funnel_steps(OPTIONS, told))
    assert "<summary>5 more</summary>" in section
    assert all(f"1 reason {k}" in section for k in range(8))
