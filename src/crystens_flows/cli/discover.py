"""The command that runs the whole pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystens_flows.cli.condition_options import (
    BandGap,
    ChemicalSystem,
    FormationEnergy,
    Formula,
    Guidance,
    Sites,
    SpaceGroup,
    conditions_of,
)
from crystens_flows.cli.options import Config, GeneratorName, Number, Seed
from crystens_flows.cli.output import progress_bar, reasons, say
from crystens_flows.cli.relax import EngineName
from crystens_flows.cli.screening_options import (
    Hull,
    Known,
    MaxEnergyAboveHull,
    Models,
    PerSystem,
    Pool,
    RankBy,
    RankedQuantity,
    RejectKnown,
    RequireChargeBalance,
    Select,
    screening_options,
)
from crystens_flows.errors import CrystensError
from crystens_flows.settings import DEFAULT_OUTPUT_FOLDER


def discover(
    number: Number = 240,
    seed: Seed = 0,
    generator: GeneratorName = "default",
    formula: Formula = None,
    chemical_system: ChemicalSystem = None,
    n_sites: Sites = None,
    space_group: SpaceGroup = None,
    formation_energy: FormationEnergy = None,
    band_gap: BandGap = None,
    guidance: Guidance = 2.0,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")] = Path(
        DEFAULT_OUTPUT_FOLDER
    ),
    campaign: Annotated[
        str, typer.Option("--campaign", help="Name of the campaign, kept with each candidate.")
    ] = "default",
    chunk_size: Annotated[
        int, typer.Option("--chunk-size", min=1, max=1000, help="Samples a job.")
    ] = 64,
    pool: Pool = 35,
    select: Select = 6,
    rank_by: RankBy = RankedQuantity.ENERGY_ABOVE_HULL,
    max_energy_above_hull: MaxEnergyAboveHull = None,
    per_system: PerSystem = 1,
    models: Models = None,
    hull: Hull = "shipped",
    known: Known = "shipped",
    reject_known: RejectKnown = False,
    require_charge_balance: RequireChargeBalance = False,
    tune: Annotated[
        bool,
        typer.Option("--tune/--no-tune", help="Whether selected candidates are tuned first."),
    ] = True,
    engine: EngineName = "chgnet",
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="Store folder, store file (YAML) or mongodb:// URI; else the configured one; "
            "else embedded, in the folder of the run.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
) -> None:
    """
    Sample crystals, screen and relax them, and store every candidate.

    Interrupted at any point, it goes on where it was when started again with the same folder.
    """
    from crystens_flows.campaign.options import DiscoveryOptions, RelaxerOptions
    from crystens_flows.discovery import run_discovery
    from crystens_flows.settings import get_settings

    screening = screening_options(
        pool=pool,
        select=select,
        rank_by=rank_by,
        max_energy_above_hull=max_energy_above_hull,
        per_system=per_system,
        models=models,
        hull=hull,
        known=known,
        reject_known=reject_known,
        require_charge_balance=require_charge_balance,
    )
    options = DiscoveryOptions(
        n_samples=number,
        seed=seed,
        generator=generator,
        conditions=conditions_of(
            formula=formula,
            chemical_system=chemical_system,
            n_sites=n_sites,
            space_group=space_group,
            formation_energy=formation_energy,
            band_gap=band_gap,
            guidance=guidance,
        ),
        campaign=campaign,
        chunk_size=chunk_size,
        screening=screening,
        tune=tune,
        relaxer=RelaxerOptions(engine=engine),
        store=store or get_settings().STORE,
    )
    with progress_bar("starting") as progress:
        summary = run_discovery(options, output, progress)

    funnel = summary.funnel
    rejected = sum(sum(r.values()) for r in summary.rejected.values())
    say(
        f"sampled {funnel['sampled']} of {summary.n_samples}, rejected {rejected}, "
        f"selected {funnel['selected']}, relaxed {funnel['relaxed']}"
    )
    for stage, found in summary.rejected.items():
        say(f"  rejected by {stage}: {sum(found.values())}")
        for line in reasons(found):
            say(line)
    for name, error in summary.failed_jobs.items():
        say(f"  job failed: {name}: {error}")
    if summary.best:
        say("relaxed, best rank first:")
        for best in summary.best:
            above = best["energy_above_hull"]
            say(
                f"  {best['candidate_id']}  {best['formula']:<20}"
                f" above hull {'   -  ' if above is None else f'{above:6.3f}'} eV/atom"
                f"  E0 {best['energies'][0]:10.4f}  E4 {best['energies'][-1]:10.4f} eV"
                f"  P4 {best['pressures'][-1]:8.2f} kbar"
            )
    say(
        f"report: {output}/report.html\n"
        f"table: {output}/candidates.csv, relaxed structures: {output}/relaxed\n"
        f"store: {summary.store}\n"
        f"query it: crystens candidates query --store {summary.store} "
        "--sort energy_above_hull --limit 5"
    )
    if funnel["sampled"] == 0:
        raise CrystensError(
            f"no sample was made, all jobs failed: the log is {output}/run/run.log; start the same "
            "command again when the cause is mended"
        )
