"""What is said of the jobs of a campaign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from crystens_flows.campaign.backends import Backend, JobRecord, JobStatus
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.options import Part
from crystens_flows.campaign.status import campaign_status, failed_jobs

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def job(key, name, status, reason=None, before=None, lasted=2):
    ended = None if before is None else NOW - before * MINUTE
    started = None if ended is None else ended - lasted * MINUTE
    return JobRecord(str(key), name, status, reason, started, ended, folder=f"/scratch/{key}")


JOBS = [
    job(1, "crystens sample", JobStatus.FINISHED, before=300),
    job(2, "crystens sample", JobStatus.FINISHED, before=30, lasted=4),
    job(3, "crystens sample", JobStatus.FINISHED, before=10),
    job(4, "crystens sample", JobStatus.FAILED, "ValueError: /a/b holds 17 of 20 atoms"),
    job(5, "crystens sample", JobStatus.FAILED, "ValueError: /c/d holds 3 of 20 atoms"),
    job(6, "crystens relax 2", JobStatus.FAILED, "VASP is not there", before=5),
    job(7, "crystens relax 1", JobStatus.FINISHED, before=18, lasted=2),
    job(8, "crystens relax selected", JobStatus.WAITING),
    job(9, "crystens hull", JobStatus.RUNNING),
    job(10, "store_inputs", JobStatus.PAUSED),
]


class Listed(Backend):
    """A backend whose jobs are written above; nothing is asked of it but to list them."""

    def parts(self):
        return [Part(0, 10), Part(10, 5)]

    def jobs(self):
        return iter(JOBS)

    submit = retry = pause = resume = None


def status(campaign_file):
    return campaign_status(Listed(read_campaign(campaign_file())), NOW)


def test_counts_by_stage_in_the_order_of_the_stages(campaign_file):
    found = status(campaign_file)
    assert (found.campaign, found.n_samples, found.n_parts) == ("small", 15, 2)
    assert [each.stage for each in found.stages] == [
        "sample",
        "screen",
        "relax",
        "collect",
        "other",
    ]
    states = ("waiting", "running", "finished", "failed", "paused")
    counts = {each.stage: [getattr(each, name) for name in states] for each in found.stages}
    assert counts == {
        "sample": [0, 0, 3, 2, 0],
        "screen": [0, 1, 0, 0, 0],
        "relax": [0, 0, 1, 1, 0],
        "collect": [1, 0, 0, 0, 0],
        "other": [0, 0, 0, 0, 1],
    }


def test_throughput_is_of_the_last_hour(campaign_file):
    stages = {each.stage: each for each in status(campaign_file).stages}
    assert stages["sample"].per_hour == 2  # the first ended five hours ago
    assert stages["sample"].minutes == round((2 + 4 + 2) / 3, 3)
    assert stages["relax"].per_hour == 3  # one, in the twenty minutes since it began
    assert (stages["screen"].per_hour, stages["screen"].minutes) == (None, None)


def test_failures_that_differ_in_numbers_alone_are_one(campaign_file):
    first, second = status(campaign_file).failures
    assert (first.stage, first.n_jobs, first.jobs) == ("sample", 2, ["4", "5"])
    assert first.reason == "ValueError: PATH holds N of N atoms"
    assert first.example == JOBS[3].reason
    assert first.folders == ["/scratch/4", "/scratch/5"]
    assert (second.stage, second.n_jobs, second.example) == ("relax", 1, "VASP is not there")


def test_failed_jobs_by_reason_and_stage():
    keys = [job.key for job in failed_jobs(JOBS)]
    assert keys == ["4", "5", "6"]
    assert [job.key for job in failed_jobs(JOBS, "vasp IS not")] == ["6"]
    assert [job.key for job in failed_jobs(JOBS, "atoms", "sample")] == ["4", "5"]
    assert failed_jobs(JOBS, "atoms", "relax") == []
