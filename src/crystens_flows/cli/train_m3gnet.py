"""The command that trains an M3GNet on one's own formation energies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystens_flows.cli.options import Config, Seed
from crystens_flows.cli.output import progress_bar, say


def train_m3gnet_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the model.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Data set file, CSV or JSON file, folder of CIFs or ASE database, with formation "
            "energies; the crystals that ship with the package if not given.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, help="Passes over the training structures.")
    ] = 40,
    n_train: Annotated[
        int | None,
        typer.Option(
            "--n-train", min=1, help="Train on so many structures.", show_default="all of them"
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Structures in one step.")
    ] = 32,
    seed: Seed = 0,
    config: Config = None,
) -> None:
    """Train an M3GNet for formation energies; started again with the same folder, it continues."""
    from crystens_flows.cli.sources import dataset_file
    from crystens_flows.datasets import Dataset, shipped
    from crystens_flows.generators import SHIPPED_DATA
    from crystens_flows.screening.m3gnet.epochs import validation_mae
    from crystens_flows.screening.m3gnet.training import M3GNetSettings, train_m3gnet
    from crystens_flows.screening.m3gnet.uncertainty import fit_uncertainty

    file = None if data is None else dataset_file(data, output, seed)
    dataset = shipped() if file is None else Dataset.load(file)
    settings = M3GNetSettings(epochs=epochs, batch_size=batch_size, n_train=n_train, seed=seed)
    with progress_bar("training") as progress:
        train_m3gnet(dataset, output, settings, str(data or SHIPPED_DATA), progress)
    with progress_bar("fitting the uncertainty") as progress:
        fit_uncertainty(output, dataset, progress)
    say(
        f"trained: mean absolute error {validation_mae(output):.4f} eV/atom on the structures to "
        f"validate\nmodel in {output}"
    )
