"""
What an evaluation takes: memory for many samples, processor time of each of its stages.

The samples are crystals that ship, as CrysTens with a little noise, so that no generator counts.
Memory is that of sampling, decoding and collecting, in a process of its own for each number; the
later stages keep a few numbers a sample. The last line is JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np

from crystens_flows.datasets import shipped
from crystens_flows.evaluation.collected import collect
from crystens_flows.evaluation.evaluation import EvaluationOptions, evaluate
from crystens_flows.evaluation.reference import FLOOR, reference_of
from crystens_flows.evaluation.samples import from_generator

NOISE = 0.003
TENSOR_BYTES = 4 * 64 * 64 * 8
"""Of a CrysTens as float64."""


class Noisy:
    """A generator of crystals that ship, with noise on every entry."""

    kind, sha256 = "noisy", "0" * 64

    def __init__(self) -> None:
        self.dataset = shipped()
        self.order = np.random.default_rng(0).permutation(len(self.dataset))

    def sample(self, n_samples: int, seed: int, start: int = 0) -> np.ndarray:
        """Take the next crystals, in an order of their own."""
        rows = self.order[np.arange(start, start + n_samples) % len(self.order)]
        (tensors,) = self.dataset.crystens_batches(rows, batch_size=n_samples)
        noise = np.random.default_rng((seed, start)).normal(0, NOISE, tensors.shape)
        return tensors + noise.astype(np.float32)


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def collecting(number: int) -> dict[str, float]:
    """Collect samples; the peak before is that of everything being loaded."""
    generator = Noisy()
    collect(from_generator(generator, "warm", 2, 0), lambda _: None)
    before, began = peak_gb(), time.process_time()
    kept = collect(from_generator(generator, "noisy", number, 0), lambda _: None)
    return {
        "samples": kept.n_samples,
        "structures": len(kept.structures),
        "peak_before_gb": before,
        "peak_gb": peak_gb(),
        "float64_gb": number * TENSOR_BYTES / 1e9,
        "seconds_a_sample": (time.process_time() - began) / number,
    }


def stages(number: int, n_relax: int) -> dict[str, float]:
    """Time the stages of the noisy samples' evaluation, in processor seconds a sample."""
    reference = reference_of(shipped(), "shipped", number)
    options = EvaluationOptions(n_samples=number, n_relax=n_relax, n_formulas=0)
    told: list[tuple[float, str]] = []
    source = from_generator(Noisy(), "noisy", number, 0)
    reference.fingerprints  # noqa: B018  # of the reference, not of the samples
    evaluate([source], reference, options, lambda what: told.append((time.process_time(), what)))
    found: dict[str, float] = {}
    for (began, what), (ended, following) in pairwise(told):
        name, _, stage = what.partition(": ")
        if name == "noisy" and not stage.endswith("samples"):
            n = n_relax if stage == "relaxing" else number
            found[stage] = (ended - began) / n
        if following.startswith(FLOOR):
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000, help="for memory; and a fifth of them")
    parser.add_argument("--stages", type=int, default=32, help="samples for processor time")
    parser.add_argument("--relax", type=int, default=8, help="of them are relaxed")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(collecting(arguments.part)))
        return
    result: dict[str, object] = {}
    for number in (arguments.samples // 5, arguments.samples):
        command = [sys.executable, __file__, "--part", str(number)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured = json.loads(done.stdout.splitlines()[-1])
        result[f"collect_{number}"] = measured
        print(
            f"{number} samples collected: peak {measured['peak_gb']:.2f} GB, "
            f"{measured['peak_before_gb']:.2f} GB before; as float64 tensors they would be "
            f"{measured['float64_gb']:.2f} GB; {measured['seconds_a_sample'] * 1e3:.1f} ms a sample"
        )
    result["stages"] = stages(arguments.stages, arguments.relax)
    for stage, seconds in result["stages"].items():
        print(f"{stage:40} {seconds * 1e3:8.1f} ms of processor a sample")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
