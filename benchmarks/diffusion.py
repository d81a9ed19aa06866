"""
The diffusion model: steps and samples beside imagen-pytorch's own loop, samplers, ways down.

``speed`` times a training step and a sampled batch and the same of ImagenTrainer, in turn.
``samplers`` samples from a checkpoint with each sampler and compares tables 1 and 2 of the paper
with those of 1000 ancestral steps. ``downscale`` trains small networks with each way of
down-scaling, and samples from them; K-S is the Kolmogorov-Smirnov statistic of their six lattice
parameters against the crystals held out, on average. The last line is JSON.
"""

import argparse
import json
import math
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pymatgen.core import Structure
from scipy.stats import ks_2samp

from crystens_flows.datasets import shipped
from crystens_flows.generators import load_generator
from crystens_flows.generators.imagen.data import Crystals
from crystens_flows.generators.imagen.downscale import DOWNSCALES
from crystens_flows.generators.imagen.generator import ImagenGenerator
from crystens_flows.generators.imagen.library import import_imagen
from crystens_flows.generators.imagen.networks import NETWORKS
from crystens_flows.generators.imagen.settings import ImagenSettings, SamplingSettings
from crystens_flows.generators.imagen.training import NetworkTrainer, make_accelerator
from crystens_flows.generators.settings import read_settings
from crystens_flows.generators.training_set import training_set
from crystens_flows.representation import decode
from crystens_flows.screening.validity import structural_validity

SMALL = Path(__file__).parents[1] / "workflows" / "small-imagen.yaml"
SAMPLERS = (
    ("ancestral", 1000),
    ("ancestral", 200),
    ("sde", 200),
    ("sde", 100),
    ("sde", 50),
    ("ddim", 100),
    ("dpm", 100),
    ("dpm", 50),
)
TABLES = (
    "length_variance",
    "angle_variance",
    "space_group_variance",
    "coordinate_variance",
    "coordinate_disagreement",
    "pairwise_disagreement",
)


def seconds(call: Callable[[], Any]) -> float:
    """Return processor time, which other processes disturb less; on a GPU the time that passes."""
    if not torch.cuda.is_available():
        began = time.process_time()
        call()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def in_turn(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Time calls one after the other, again and again; medians."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            taken = seconds(call)
            if repeat:  # the first is to warm up
                found[name].append(taken)
    return {name: float(np.median(values)) for name, values in found.items()}


def speed(settings: ImagenSettings, repeats: int, batch: int, steps: int) -> dict[str, Any]:
    """Time one step of each network, and a batch sampled in the same number of steps."""
    library, accelerator = import_imagen(), make_accelerator()
    crystals = Crystals(training_set(shipped(), "validation"))
    rows = np.arange(settings.batch_size)
    precision = "bf16" if accelerator.mixed_precision == "bf16" else "no"
    sizes = (settings.base, settings.super_resolution)

    def peer() -> Any:
        """Make the library's model, whose networks have the same sizes, and its trainer."""
        unets = [library.Unet(**size.model_dump(), channels=4) for size in sizes]
        model = library.Imagen(
            unets, image_sizes=(32, 64), channels=4, timesteps=steps, condition_on_text=False
        )
        return library.ImagenTrainer(model, precision=precision, verbose=False)

    result: dict[str, Any] = {"parameters": {}, "batch_size": settings.batch_size}
    networks = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(NETWORKS, start=1):
            network = NETWORKS[name](settings)
            trainer = NetworkTrainer(name, network, settings, Path(folder), 0, 0, accelerator)
            plain = peer()
            networks[name] = network
            result["parameters"][name] = sum(p.numel() for p in network.parameters())

            def own_step(trainer: NetworkTrainer = trainer) -> None:
                trainer.take_step(crystals)

            def plain_step(trainer: Any = plain, number: int = number) -> None:
                trainer(torch.from_numpy(crystals.tensors(rows)), unet_number=number)
                trainer.update(unet_number=number)

            times = in_turn({"own": own_step, "imagen_trainer": plain_step}, repeats)
            result[f"{name}_step"] = times | {"ratio": times["own"] / times["imagen_trainer"]}
            del trainer
            accelerator.free_memory()
    sampling = SamplingSettings(steps=steps, batch_size=batch)
    generator = ImagenGenerator(networks, settings.model_copy(update={"sampling": sampling}), {})
    plain = peer()
    times = in_turn(
        {
            "own": lambda: generator.sample(batch, 0),
            "imagen_trainer": lambda: plain.sample(batch_size=batch, use_tqdm=False),
        },
        max(repeats // 4, 2),
    )
    result["sample"] = times | {"ratio": times["own"] / times["imagen_trainer"], "steps": steps}
    for name in (*[f"{n}_step" for n in NETWORKS], "sample"):
        row = result[name]
        print(
            f"{name:24} {row['own']:8.3f} s, ImagenTrainer {row['imagen_trainer']:8.3f} s: "
            f"ratio {row['ratio']:.2f} (to reach: at most 1)"
        )
    return result


def tables(generator: ImagenGenerator, n: int, seed: int) -> dict[str, float]:
    """Sample, and measure tables 1 and 2 and how many samples are structures."""
    began = time.perf_counter()
    kept: list[np.ndarray] = []
    processor = seconds(lambda: kept.append(generator.sample(n, seed)))
    passed = time.perf_counter() - began
    decoded = decode(kept[0])
    found = {name: [getattr(d.consistency, name) for d in decoded] for name in TABLES}
    return {
        **{name: float(np.nanmean(values)) for name, values in found.items()},
        "decoded": sum(d.structure is not None for d in decoded) / n,
        "structurally_valid": sum(
            d.structure is not None and structural_validity(d.structure) is None for d in decoded
        )
        / n,
        "lattice_ks": lattice_ks([d.structure for d in decoded if d.structure is not None]),
        "seconds": processor,
        "seconds_passed": passed,
    }


def lattice_ks(structures: list[Structure]) -> float:
    """Hold a, b, c and the angles against the reduced cells of the validation split."""
    real = training_set(shipped(), "validation").lattice
    made = np.array([structure.lattice.parameters for structure in structures])
    statistics = [ks_2samp(a, b).statistic for a, b in zip(made.T, real.T, strict=True)]
    return float(np.mean(statistics))


def show(name: str, row: dict[str, float], first: dict[str, float] | None) -> None:
    values = "  ".join(f"{row[key]:9.3g}" for key in TABLES)
    compared = ""
    if first is not None:
        worst = max(row[key] / first[key] for key in TABLES if first[key] > 0)
        compared = f"  worst {worst:5.2f} times, in {row['seconds'] / first['seconds']:.3f} of it"
    valid = f"{row['structurally_valid']:6.1%}  {row['lattice_ks']:5.3f}"
    print(f"{name:16} {values}  {valid}  {row['seconds']:7.1f} s{compared}", flush=True)


def header() -> None:
    print(
        f"{'':16} "
        + "  ".join(f"{key.replace('_', ' ')[:9]:>9}" for key in TABLES)
        + "   valid    K-S"
    )


def with_sampling(generator: ImagenGenerator, **changes: Any) -> ImagenGenerator:
    sampling = generator.settings.sampling.model_copy(update=changes)
    settings = generator.settings.model_copy(update={"sampling": sampling})
    return ImagenGenerator(generator.networks, settings, generator.card)


def samplers(checkpoint: str, n: int, seed: int) -> dict[str, Any]:
    """Sample with each sampler; the first is what the others are compared with."""
    generator = load_generator(checkpoint)
    assert isinstance(generator, ImagenGenerator)
    result: dict[str, Any] = {"checkpoint_sha256": generator.sha256, "samples": n}
    header()
    first = None
    for sampler, steps in SAMPLERS:
        row = tables(with_sampling(generator, sampler=sampler, steps=steps), n, seed)
        result[f"{sampler}-{steps}"] = row
        show(f"{sampler} {steps}", row, first)
        first = first or row
    print("to reach: at most 1.10 times, in at most 0.200 of the time")
    return result


def downscale(
    settings: dict[str, Any], steps: int, n: int, seed: int, folder: Path, ways: list[str]
) -> dict[str, Any]:
    """Train the same networks with each way of down-scaling, and sample from them."""
    result: dict[str, Any] = {"steps": steps, "samples": n}
    header()
    for way in ways:
        began = time.process_time()
        generator = ImagenGenerator.fit(
            shipped(),
            folder / way,
            data="crystals shipped with the package",
            seed=seed,
            steps=steps,
            settings={**settings, "downscale": way},
        )
        trained = time.process_time() - began
        row = tables(generator, n, seed)
        result[way] = row | {"training_seconds": trained, "loss": generator.card["validation"]}
        show(way, row, None)
    return result


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("speed")
    one.add_argument("--config", type=Path, default=SMALL, help="sizes (default: the small ones)")
    one.add_argument("--repeats", type=int, default=12)
    one.add_argument("--batch", type=int, default=4, help="samples of a batch")
    one.add_argument("--steps", type=int, default=10, help="ancestral steps of each network")
    two = commands.add_parser("samplers")
    two.add_argument("checkpoint")
    two.add_argument("-n", "--number", type=int, default=64)
    two.add_argument("--seed", type=int, default=0)
    three = commands.add_parser("downscale")
    three.add_argument("--config", type=Path, default=SMALL)
    three.add_argument("--steps", type=int, help="training steps of each network")
    three.add_argument("-n", "--number", type=int, default=64)
    three.add_argument("--seed", type=int, default=0)
    three.add_argument("--folder", type=Path, help="where checkpoints are kept, and continued")
    three.add_argument("--ways", nargs="+", choices=DOWNSCALES, default=list(DOWNSCALES))
    arguments = parser.parse_args()
    print("command: python " + shlex.join(sys.argv))
    warnings.simplefilter("ignore")
    if arguments.command == "samplers":
        result = samplers(arguments.checkpoint, arguments.number, arguments.seed)
    else:
        config = yaml.safe_load(arguments.config.read_text())
        settings = read_settings(ImagenSettings, config["settings"], "imagen")
        if arguments.command == "speed":
            result = speed(settings, arguments.repeats, arguments.batch, arguments.steps)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                result = downscale(
                    config["settings"],
                    arguments.steps or config["steps"],
                    arguments.number,
                    arguments.seed,
                    arguments.folder or Path(temporary),
                    arguments.ways,
                )
    print(json.dumps(without_nan(result)))


if __name__ == "__main__":
    main()
