"""Jobs that do nothing, in the shape of those of a campaign."""

from jobflow import Flow, Job, JobConfig, OnMissing, Response, job

_CONFIG = JobConfig(on_missing_references=OnMissing.NONE)


@job(name="empty", config=_CONFIG)
def empty(parents=()):
    """Do nothing after the jobs whose outputs are given."""
    return len(parents)


@job(name="empty starter", config=_CONFIG)
def start_empty(parents=(), links=()):  # noqa: ARG001 - for their order alone
    """Be replaced by jobs that do nothing; each comes after those of them that it is told."""
    jobs: list[Job] = []
    for before in links:
        jobs.append(empty([jobs[k].output for k in before]))
    return Response(replace=Flow(jobs, output=jobs[-1].output))
