"""What a run does: one model for a run in one folder and for a campaign on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobflow import Flow, JobStore, Maker
from pydantic import BaseModel, ConfigDict, Field

from crystens_flows.errors import InputError
from crystens_flows.generators.conditions import Conditions
from crystens_flows.masking import StoreText
from crystens_flows.schemas import TrainDocument
from crystens_flows.screening.pipeline import ScreeningOptions

if TYPE_CHECKING:
    from crystens_flows.flows import DiscoveryFlowMaker


class RelaxerOptions(BaseModel):
    """What relaxes, as :func:`crystens_flows.jobs.engines.relax_maker` takes it."""

    model_config = ConfigDict(extra="forbid")

    engine: str = Field("chgnet", description="Name of an engine, or the path of an ASE calculator")
    steps: int | None = Field(None, gt=0, description="Ionic steps at most; None as the engine.")
    fmax: float | None = Field(None, gt=0, description="Ends below this force, eV/A.")
    hull_entries: str | None = Field(
        None, description="Entries that energies comparable with the Materials Project are held to."
    )

    def maker(self) -> Maker:
        """Return the maker of the relaxations."""
        from crystens_flows.jobs.engines import relax_maker

        names = ("steps", "fmax", "hull_entries")
        return relax_maker(self.engine, **{name: getattr(self, name) for name in names})


class TrainOptions(BaseModel):
    """A training that comes before the sampling, as ``crystens train`` takes it."""

    model_config = ConfigDict(extra="forbid")

    generator: str = Field(
        description="Which generator to train: default, substitution, imagen, gan or wgan."
    )
    steps: int | None = Field(None, gt=0, description="Training steps; None as the generator.")
    seed: int = Field(0, ge=0, description="Seed of the training.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Settings by name.")
    data: str | None = Field(
        None, description="Data set file (.npz); None for the crystals that ship with the package."
    )
    folder: str = Field(
        "checkpoint", description="Where the checkpoint goes; relative to the folder of the job."
    )
    walltime_minutes: float | None = Field(
        None,
        gt=0,
        description="Time of the training in one job, which another one goes on after; None for "
        "no limit.",
    )

    def maker(self) -> Maker:
        """Return the maker of the training."""
        from crystens_flows.jobs.train import TrainMaker

        return TrainMaker(
            generator=self.generator,
            seed=self.seed,
            steps=self.steps,
            settings=self.settings,
            folder=self.folder,
            walltime_minutes=self.walltime_minutes,
        )


class DiscoveryOptions(BaseModel):
    """What a run does; kept in its folder, so that it can be continued and repeated."""

    model_config = ConfigDict(extra="forbid")

    n_samples: int = Field(gt=0, description="Number of samples.")
    seed: int = Field(0, ge=0, description="Seed of the sampling.")
    generator: str = Field("default", description="Shipped name or folder of a checkpoint.")
    checkpoint_sha256: str = Field("", description="SHA-256 of the generator's weights.")
    conditions: Conditions | None = Field(
        None, description="What all crystals are to meet, e.g. a formula; None for nothing."
    )
    train: TrainOptions | None = Field(
        None, description="Training of the generator to sample from, in place of 'generator'."
    )
    campaign: str = Field("default", min_length=1, description="Name of the campaign.")
    chunk_size: int | None = Field(
        None, gt=0, le=1000, description="Samples a job; None for a size by their number."
    )
    screening: ScreeningOptions = Field(
        default_factory=ScreeningOptions, description="Screens, thresholds and selection."
    )
    tune: bool = Field(True, description="Whether selected candidates are tuned first.")
    relaxer: RelaxerOptions = Field(
        default_factory=RelaxerOptions, description="What relaxes the selected candidates."
    )
    store: StoreText | None = Field(
        None, repr=False, description="Store; None for the one in the run's folder."
    )
    extended_by: list[int] = Field(
        default_factory=list, description="Samples of each extension, after the first."
    )


@dataclass(frozen=True)
class Part:
    """
    Samples of a campaign that were submitted together.

    Parameters
    ----------
    start
        Index of the first.
    n_samples
        How many.
    """

    start: int
    n_samples: int

    @property
    def stop(self) -> int:
        """Index of the first sample that comes after it."""
        return self.start + self.n_samples


def parts(options: DiscoveryOptions) -> list[Part]:
    """
    Return what was submitted together: the beginning, then each extension.

    Parameters
    ----------
    options
        The options of the run.
    """
    found = [Part(0, options.n_samples)]
    for n_samples in options.extended_by:
        found.append(Part(found[-1].stop, n_samples))
    return found


def kept_options(options: DiscoveryOptions) -> dict[str, Any]:
    """
    Return what must be the same in all parts of a campaign, as plain types.

    Parameters
    ----------
    options
        The options.

    Returns
    -------
    dict
        All but how many samples, in what time, and where they are stored: no connection string.
    """
    left_out = {"n_samples": True, "extended_by": True, "store": True}
    return options.model_dump(
        mode="json", exclude={**left_out, "train": {"walltime_minutes": True}}
    )


def find_trained(job_store: JobStore, options: DiscoveryOptions) -> TrainDocument:
    """
    Return what the beginning of a campaign has trained.

    Parameters
    ----------
    job_store
        Where the outputs of its jobs are.
    options
        The options of the campaign.

    Returns
    -------
    TrainDocument
        The checkpoint.

    Raises
    ------
    InputError
        If the training has not ended.
    """
    found = job_store.query_one(
        {"metadata.campaign": options.campaign, "output.stage": "train"}, properties=["output"]
    )
    if found is None:
        raise InputError(
            f"the generator of campaign {options.campaign} is not trained yet: extend the campaign "
            "when it is; `crystens status` says"
        )
    known = TrainDocument.model_fields
    return TrainDocument(**{k: v for k, v in found["output"].items() if k in known})


def flow_maker(options: DiscoveryOptions) -> DiscoveryFlowMaker:
    """
    Make the flow's maker from the options of a run.

    Parameters
    ----------
    options
        The options.

    Returns
    -------
    DiscoveryFlowMaker
        The maker.
    """
    from crystens_flows.flows import DiscoveryFlowMaker
    from crystens_flows.jobs import SampleMaker, SelectMaker, TuneMaker, prefilter_makers

    screening = options.screening
    return DiscoveryFlowMaker(
        train_maker=None if options.train is None else options.train.maker(),
        dataset=None if options.train is None else options.train.data,
        sample_maker=SampleMaker(
            generator=options.generator,
            checkpoint_sha256=options.checkpoint_sha256 or None,
            conditions=options.conditions,
        ),
        screen_makers=prefilter_makers(screening),
        select_maker=SelectMaker(rules=screening.selection, hull=screening.hull),
        tune_maker=TuneMaker(hull=screening.hull) if options.tune else None,
        relax_maker=options.relaxer.maker(),
        chunk_size=options.chunk_size,
    )


def make_flow(options: DiscoveryOptions, part: Part, trained: TrainDocument | None = None) -> Flow:
    """
    Make the flow of a part of a campaign.

    Parameters
    ----------
    options
        What the campaign does.
    part
        Its samples.
    trained
        What an earlier part has trained.

    Returns
    -------
    Flow
        The flow; the campaign is in the metadata of its jobs, the part in its own.
    """
    flow = flow_maker(options).make(
        part.n_samples, options.seed, options.campaign, part.start, trained
    )
    flow.metadata = {
        **(flow.metadata or {}),
        "campaign": options.campaign,
        "start": part.start,
        "n_samples": part.n_samples,
        "options": kept_options(options),
    }
    return flow
