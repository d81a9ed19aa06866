"""
A training step and a sampled batch of GAN and Wasserstein GAN, beside the plainest Keras loop.

The peer (`tests/generators/plain_adversarial.py`) trains the GAN with `train_on_batch` and the
Wasserstein GAN with gradient tapes under `tf.function`, on images that lie in memory. Both take
turns in one process; times are CPU times, or those of the clock where there is a GPU. A ratio above
one means that the package is faster. The last line is JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crystens_flows.datasets import shipped
from crystens_flows.generators.adversarial.gan import GanAdversary
from crystens_flows.generators.adversarial.generator import (
    SAMPLE_BATCH,
    GanGenerator,
    WganGenerator,
)
from crystens_flows.generators.adversarial.library import device_type, to_images
from crystens_flows.generators.adversarial.settings import GanSettings, WganSettings
from crystens_flows.generators.adversarial.wgan import WganAdversary
from crystens_flows.generators.imagen.data import Crystals
from crystens_flows.generators.training_set import TrainingSet

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "generators"))
import plain_adversarial as plain

N_CRYSTALS = 512
LATENT_DIM = 128


def crystals() -> Crystals:
    dataset = shipped()
    rows = dataset.split["train"][:N_CRYSTALS]
    arrays = (getattr(dataset, k)[rows] for k in ("numbers", "frac_coords", "lattice"))
    return Crystals(TrainingSet(*arrays, dataset.space_groups[rows]))


def take_turns(repeats: int, *calls: Callable[[], Any]) -> list[float]:
    """Return the shortest time of each call, after two to build graphs and fill caches."""
    clock = time.perf_counter if device_type() == "cuda" else time.process_time
    for call in calls * 2:
        call()
    seconds: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats):
        turns = list(zip(calls, seconds, strict=True))
        for call, times in turns if repeat % 2 else reversed(turns):
            began = clock()
            call()
            times.append(clock() - began)
    return [min(times) for times in seconds]


def same_weights(theirs: Any, ours: Any) -> None:
    values = {v.path: v for v in ours.weights}
    for variable in theirs.weights:
        variable.assign(np.reshape(values[variable.path], variable.shape))


def gan_steps(width: float, size: int, data: Crystals) -> tuple[Any, Callable, Callable]:
    adversary = GanAdversary(GanSettings(width=width, batch_size=size), 0)
    other = plain.PlainGan(width, [plain.keras.optimizers.Adam(1e-5) for _ in range(2)])
    same_weights(other.generator, adversary.models["generator"])
    same_weights(other.discriminator, adversary.models["discriminator"])
    images, rng = to_images(data.tensors(np.arange(len(data)))), np.random.default_rng(0)

    def plain_step() -> None:
        rows = rng.integers(0, len(images), size)
        noise = rng.standard_normal((2, size, LATENT_DIM), dtype=np.float32)
        other.step(images[rows], *noise)

    return adversary, own_step(adversary, data), plain_step


def wgan_steps(width: float, size: int, data: Crystals) -> tuple[Any, Callable, Callable]:
    settings = WganSettings(width=width, batch_size=size)
    adversary = WganAdversary(settings, 0)
    adam = plain.keras.optimizers.Adam
    other = plain.PlainWgan(width, [adam(1e-4, beta_1=0.0, beta_2=0.9) for _ in range(2)])
    same_weights(other.generator, adversary.models["generator"])
    same_weights(other.critic, adversary.models["critic"])
    images, rng = to_images(data.tensors(np.arange(len(data)))), np.random.default_rng(0)

    def noise() -> np.ndarray:
        return rng.standard_normal((size, LATENT_DIM), dtype=np.float32)

    def plain_step() -> None:
        for _ in range(settings.critic_steps):
            rows = rng.integers(0, len(images), size)
            places = rng.random((size, 1, 1, 1, 1), dtype=np.float32)
            losses = other.critic_step(*map(plain.tf.constant, (images[rows], noise(), places)))
        float(losses[0])
        float(other.generator_step(plain.tf.constant(noise())))

    return adversary, own_step(adversary, data), plain_step


def own_step(adversary: Any, data: Crystals) -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    return lambda: adversary.step(len(data), lambda rows: to_images(data.tensors(rows)), rng)


def sampled(own: Any, network: Any) -> tuple[Callable, Callable]:
    rng = np.random.default_rng(0)
    compiled = plain.tf.function(lambda noise: network(noise, training=False))

    def plain_batch() -> np.ndarray:
        noise = rng.standard_normal((SAMPLE_BATCH, LATENT_DIM), dtype=np.float32)
        return compiled(plain.tf.constant(noise)).numpy()

    return (lambda: own.sample(SAMPLE_BATCH, 0)), plain_batch


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    width, size, repeats = arguments.width, arguments.batch_size, arguments.repeats

    data = crystals()
    result: dict[str, Any] = {"width": width, "batch_size": size, "device": device_type()}
    for kind, steps, kind_class, build in (
        ("gan", gan_steps, GanGenerator, plain.gan_generator),
        ("wgan", wgan_steps, WganGenerator, plain.wgan_generator),
    ):
        adversary, *both = steps(width, size, data)
        own, other = take_turns(repeats, *both)
        network = adversary.models["generator"]
        generator = kind_class(network, {"width": width, "latent_dim": LATENT_DIM}, {})
        own_batch, other_batch = take_turns(2 * repeats, *sampled(generator, build(width)))
        result[kind] = {
            "step_seconds": own,
            "step_ratio": other / own,
            "samples_per_second": SAMPLE_BATCH / own_batch,
            "sample_ratio": other_batch / own_batch,
        }
        print(
            f"{kind:5s} step {own:7.3f} s, {other / own:4.2f} times as fast as a plain loop; "
            f"{SAMPLE_BATCH / own_batch:6.1f} samples/s, {other_batch / own_batch:4.2f} times "
            "(goal: 1, no slower)"
        )
    print(json.dumps(result))
