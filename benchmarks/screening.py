"""Speed of CGCNN beside cgcnn2's own two ways, and of selecting; last line JSON."""

import argparse
import json
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from cgcnn2.data import CIFData_NoTarget, collate_pool
from cgcnn2.model import CrystalGraphConvNet
from cgcnn2.utils import cgcnn_pred
from pymatgen.core import Structure
from torch.utils.data import DataLoader

from crystens_flows.datasets import shipped
from crystens_flows.screening.cgcnn import (
    PROPERTIES,
    predict_formation_energies,
    predict_properties,
)
from crystens_flows.screening.cgcnn.weights import package_folder
from crystens_flows.screening.selection import Rankable, SelectionRules, select

WEIGHTS = PROPERTIES["formation_energy_per_atom"].file


def timed(function, *arguments):
    """Call and return the result and the seconds of processor time: all runs on one thread."""
    began = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - began


def cgcnn2_predictions(folder: Path) -> dict[str, float]:
    """Predict the CIFs of a folder as the command line of cgcnn2 does, 256 at a time."""
    checkpoint = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    args, normalizer = checkpoint["args"], checkpoint["normalizer"]
    model = CrystalGraphConvNet(
        92, 41, args["atom_fea_len"], args["n_conv"], args["h_fea_len"], args["n_h"]
    )
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()
    found = {}
    loader = DataLoader(CIFData_NoTarget(str(folder)), batch_size=256, collate_fn=collate_pool)
    with torch.no_grad():
        for inputs, _, names in loader:
            output = model(*inputs)[0][:, 0] * normalizer["std"] + normalizer["mean"]
            found.update(zip(names, output.tolist(), strict=True))
    return found


def cgcnn2_predictions_one_by_one(folder: Path) -> list[float]:
    """Predict the CIFs of a folder as the function of cgcnn2 does, one at a time."""
    return [float(value) for value in cgcnn_pred(str(WEIGHTS), str(folder), verbose=0)[0]]


def read(folder: Path) -> list[Structure]:
    return [Structure.from_file(path) for path in sorted(folder.glob("*.cif"))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=500)
    parser.add_argument("--select", type=int, default=10_000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    dataset = shipped()
    chosen = np.linspace(0, len(dataset) - 1, arguments.number).astype(int)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, structure in enumerate(dataset.structures(chosen)):
            structure.to(str(folder / f"{i:06d}.cif"), fmt="cif")
        shutil.copy(package_folder() / "asset" / "atom_init.json", folder)
        predict_properties([dataset.structure(0)])
        peer, batch_seconds = timed(cgcnn2_predictions, folder)
        _, single_seconds = timed(cgcnn2_predictions_one_by_one, folder)
        structures, reading = timed(read, folder)
    predictions, seconds = timed(predict_formation_energies, structures)
    _, all_seconds = timed(predict_properties, structures)
    energies = np.array([p.formation_energy_per_atom for p in predictions], dtype=float)
    difference = np.nanmax(np.abs(energies - [peer[name] for name in sorted(peer)]))
    known = dataset.formation_energy_per_atom[chosen]

    result = {
        "structures": arguments.number,
        "sites_each": float(np.mean([len(structure) for structure in structures])),
        "per_second": arguments.number / seconds,
        "all_properties_per_second": arguments.number / all_seconds,
        "cgcnn2_one_by_one_per_second": arguments.number / (single_seconds - reading),
        "cgcnn2_batches_per_second": arguments.number / (batch_seconds - reading),
        "ratio_one_by_one": (single_seconds - reading) / seconds,
        "ratio_batches": (batch_seconds - reading) / seconds,
        "ratio_one_by_one_with_reading_cifs": single_seconds / (seconds + reading),
        "ratio_batches_with_reading_cifs": batch_seconds / (seconds + reading),
        "largest_difference": float(difference),
        "mean_absolute_error": float(np.nanmean(np.abs(energies - known))),
    }
    print(f"CGCNN          {result['per_second']:8.0f} structures/s, in memory, one thread")
    print(
        f"all properties {result['all_properties_per_second']:8.0f} structures/s, {len(PROPERTIES)}"
    )
    for way in ("one_by_one", "batches"):
        ratio, with_cifs = result[f"ratio_{way}"], result[f"ratio_{way}_with_reading_cifs"]
        print(f"cgcnn2         {result[f'cgcnn2_{way}_per_second']:8.0f} structures/s, {way}")
        print(f"ratio          {ratio:8.1f} less reading the CIFs, {with_cifs:.1f} with it")
    print(f"difference     {result['largest_difference']:8.1e} eV/atom at most")
    print(f"error          {result['mean_absolute_error']:8.3f} eV/atom, Materials Project")

    many = [dataset.structure(i % len(dataset)) for i in range(arguments.select)]
    selecting = -time.perf_counter()
    rankable = [
        Rankable(str(i), structure, {"formation_energy_per_atom": 0.0})
        for i, structure in enumerate(many)
    ]
    records = select(rankable, SelectionRules.paper())
    selecting += time.perf_counter()

    result |= {
        "selected_from": len(many),
        "duplicates": sum(record.decision == "duplicate" for record in records),
        "select_seconds": selecting,
    }
    print(f"selection      {selecting:8.1f} s for {len(many)} candidates")
    print(json.dumps(result))
