"""Commands around a generator: train it, sample from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

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
from crystens_flows.cli.options import Config, Format, GeneratorName, Number, OutputFormat, Seed
from crystens_flows.cli.output import progress_bar, say


def _trainable(name: str) -> str:
    from crystens_flows.generators import TRAINABLE_GENERATORS

    if name not in TRAINABLE_GENERATORS:
        raise typer.BadParameter(
            f"'{name}' cannot be trained: give one of {', '.join(sorted(TRAINABLE_GENERATORS))}"
        )
    return name


def _settings(value: str | dict[str, Any]) -> dict[str, Any]:
    """Take settings from a configuration file, or read them from the command line."""
    try:
        settings = yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError as exc:
        raise typer.BadParameter(f"cannot be read as YAML: {str(exc).splitlines()[0]}") from None
    if not isinstance(settings, dict):
        raise typer.BadParameter(
            f"{value!r} names no settings: give for example '{{batch_size: 64}}'"
        )
    return settings


def train(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the checkpoint.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Data set file, CSV or JSON file, folder of CIFs or ASE database; the crystals "
            "that ship with the package if not given.",
            show_default=False,
        ),
    ] = None,
    generator: Annotated[
        str,
        typer.Option("--generator", help="Which generator to train.", callback=_trainable),
    ] = "default",
    seed: Seed = 0,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Training steps.", show_default="the generator's"),
    ] = None,
    settings: Annotated[
        dict[str, Any] | None,
        typer.Option(
            "--settings",
            help="Settings of the generator as YAML, e.g. '{batch_size: 64}'; in a configuration "
            "file, lines below 'settings:'.",
            parser=_settings,
            metavar="YAML",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            help="Pause after so many minutes, as before the walltime of a cluster's job; the same "
            "command again goes on. The exit code is 0, as for a training that is done.",
            show_default="no limit",
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Train a generator; started again with the same folder, it continues."""
    from crystens_flows.cli.sources import dataset_file
    from crystens_flows.generators import SHIPPED_GENERATORS, TrainingPaused, train_generator

    file = None if data is None else dataset_file(data, output, seed)
    try:
        with progress_bar("training") as progress:
            trained = train_generator(
                generator,
                file,
                output,
                seed=seed,
                steps=steps,
                settings=settings,
                progress=progress,
                seconds=None if minutes is None else 60 * minutes,
            )
    except TrainingPaused as paused:
        say(
            f"paused: step {paused.done} of {paused.total}, state in {output}\n"
            "go on: start the same command again"
        )
        return
    folder = f"./{output}" if str(output) in SHIPPED_GENERATORS else output
    say(
        f"trained: kind '{trained.kind}', {trained.card.get('training_minutes')} minutes, "
        f"checkpoint in {output}\nsample from it: crystens sample --generator {folder}"
    )


def sample(
    number: Number = 20,
    seed: Seed = 0,
    start: Annotated[int, typer.Option("--start", min=0, help="Index of the first sample.")] = 0,
    generator: GeneratorName = "default",
    formula: Formula = None,
    chemical_system: ChemicalSystem = None,
    n_sites: Sites = None,
    space_group: SpaceGroup = None,
    formation_energy: FormationEnergy = None,
    band_gap: BandGap = None,
    guidance: Guidance = 2.0,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for tensors and structures.")
    ] = Path("crystens-samples"),
    output_format: Format = OutputFormat.TABLE,
    config: Config = None,
) -> None:
    """Sample crystals, any or such as are asked for: CrysTens in one file, a CIF each."""
    from crystens_flows.cli.folders import FolderWriter
    from crystens_flows.cli.tensors import decode_to, print_decoded
    from crystens_flows.generators import check_conditions, load_generator

    conditions = conditions_of(
        formula=formula,
        chemical_system=chemical_system,
        n_sites=n_sites,
        space_group=space_group,
        formation_energy=formation_energy,
        band_gap=band_gap,
        guidance=guidance,
    )
    check_conditions(generator, conditions)
    with FolderWriter(output) as writer:
        loaded = load_generator(generator)
        with progress_bar("sampling") as progress:
            tensors = loaded.sample(number, seed, start, progress, conditions)
        writer.save_tensors(len(tensors), [tensors])
        rows = decode_to(writer, tensors, f"generator {generator}", start)
    print_decoded(rows, output, output_format)
