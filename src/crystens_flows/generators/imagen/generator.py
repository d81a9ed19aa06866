"""The diffusion model behind the protocol of all generators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from crystens_flows.errors import CheckpointError, InputError, TrainingError
from crystens_flows.generators.base import Generator, Progress
from crystens_flows.generators.checkpoints import (
    claim_folder,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from crystens_flows.generators.imagen.data import fingerprint, load_crystals
from crystens_flows.generators.imagen.library import import_imagen
from crystens_flows.generators.imagen.networks import NETWORKS
from crystens_flows.generators.imagen.sampling import SampleNoise, sample_cascade
from crystens_flows.generators.imagen.settings import DEFAULT_STEPS, ImagenSettings
from crystens_flows.generators.imagen.training import NetworkTrainer, make_accelerator
from crystens_flows.generators.processes import report_together
from crystens_flows.generators.settings import read_settings
from crystens_flows.representation.layout import N_LAYERS, SHAPE

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset
    from crystens_flows.generators.conditions import Conditions

ARCHITECTURE = ("base", "super_resolution", "downscale", "descriptors")
"""Settings that decide which networks there are; with those of sampling a checkpoint has them."""


class ImagenGenerator(Generator):
    """
    The diffusion cascade of the paper: a network at 32 x 32, then one at 64 x 64.

    Its CrysTens are what the networks give, redundant entries and all; how well these agree is
    what :mod:`crystens_flows.representation.consistency` measures. Layers of descriptors are learnt
    and denoised with the others, and left out of samples.

    Parameters
    ----------
    networks
        ``base`` and ``super_resolution``.
    settings
        Sizes of the networks, and how samples are drawn.
    card
        The model card.
    sha256
        SHA-256 of weights and configuration; empty until saved.
    """

    kind: ClassVar[str] = "imagen"

    def __init__(
        self,
        networks: dict[str, nn.Module],
        settings: ImagenSettings,
        card: dict[str, Any],
        sha256: str = "",
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.networks = {
            name: network.requires_grad_(False).eval().to(self.device)
            for name, network in networks.items()
        }
        self.settings = settings
        self.card = card
        self.sha256 = sha256

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        folder: Path,
        *,
        data: str = "unnamed",
        seed: int = 0,
        steps: int | None = None,
        settings: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> ImagenGenerator:
        """
        Train both networks, one after the other, and save the result in `folder`.

        See :meth:`Generator.fit`; `steps` is the number of steps of each network (default
        250,000), `settings` are those of
        :class:`~crystens_flows.generators.imagen.settings.ImagenSettings`. Started by ``accelerate
        launch``, all its processes train together.
        """
        chosen = read_settings(ImagenSettings, settings, cls.kind)
        steps = DEFAULT_STEPS if steps is None else steps
        if steps < 1:
            raise InputError(f"steps must be at least 1, not {steps}")
        data_sha256 = fingerprint(dataset, chosen.batch_size)
        library = import_imagen()
        accelerator = make_accelerator()
        claim = {"generator": cls.kind, "seed": seed, "data_sha256": data_sha256}
        claim["descriptors"] = list(chosen.descriptors) or None
        with accelerator.main_process_first():
            claim_folder(folder, claim | _flat(chosen.identity()))
        with accelerator.main_process_first():
            crystals = load_crystals(
                dataset, folder, chosen.descriptors, write=accelerator.is_main_process
            )
        if accelerator.num_processes > 1:
            progress = report_together(progress, accelerator)
        networks, losses, seconds, taken = {}, {}, 0.0, {}
        for number, name in enumerate(NETWORKS):
            trainer = cls._trainer(name, chosen, folder, steps, seed, accelerator)
            losses[name] = trainer.run(**crystals, progress=_report(progress, number, steps))
            seconds += trainer.seconds
            taken[name] = trainer.step
            networks[name] = trainer.average.cpu()
            del trainer
            accelerator.free_memory()
        card = {
            "generator": cls.kind,
            "data": data,
            "data_sha256": data_sha256,
            "split": {name: len(rows) for name, rows in crystals.items()},
            "seed": seed,
            "steps": taken,
            "training_minutes": round(seconds / 60, 1),
            "device": accelerator.device.type,
            "processes": accelerator.num_processes,
            "imagen_pytorch": library.__version__,
            "parameters": {
                name: sum(p.numel() for p in network.parameters())
                for name, network in networks.items()
            },
            "settings": chosen.model_dump(mode="json"),
            "validation": losses,
        }
        generator = cls(networks, chosen, card)
        if accelerator.is_main_process:
            generator.save(folder)
        accelerator.wait_for_everyone()
        generator.sha256 = read_header(folder)["sha256"]
        return generator

    @staticmethod
    def _trainer(
        name: str,
        settings: ImagenSettings,
        folder: Path,
        steps: int,
        seed: int,
        accelerator: Any,
    ) -> NetworkTrainer:
        torch.manual_seed(seed)
        network = NETWORKS[name](settings)
        return NetworkTrainer(name, network, settings, folder, steps, seed, accelerator)

    def save(self, folder: Path) -> None:
        """
        Write the checkpoint; see :meth:`Generator.save`.

        Raises
        ------
        TrainingError
            If it cannot be written, for example on a full disk.
        """
        weights = {
            f"{name}.{key}": value
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }
        described = self.settings.model_dump(mode="json")
        config = {
            "architecture": {key: described[key] for key in ARCHITECTURE if key in described},
            "sampling": described["sampling"],
        }
        try:
            self.sha256 = write_checkpoint(folder, self.kind, config, self.card, weights)
        except OSError as exc:
            raise TrainingError(
                f"the checkpoint in {folder} cannot be written ({exc.strerror or exc}); the states "
                "of the training are kept: make room on the disk and start again with this folder"
            ) from exc

    @classmethod
    def load(cls, folder: Path) -> ImagenGenerator:
        """Load a checkpoint; see :meth:`Generator.load`."""
        config, card, weights, sha256 = read_checkpoint(folder, cls.kind)
        try:
            settings = ImagenSettings.model_validate(
                {**config["architecture"], "sampling": config["sampling"]}
            )
            networks = {name: build(settings, "meta") for name, build in NETWORKS.items()}
            for name, network in networks.items():
                prefix = f"{name}."
                own = {
                    key.removeprefix(prefix): value
                    for key, value in weights.items()
                    if key.startswith(prefix)
                }
                network.load_state_dict(own, assign=True)
        except (KeyError, TypeError, RuntimeError, ValidationError) as exc:
            raise CheckpointError(
                f"{folder} does not fit this version's '{cls.kind}' generator "
                f"({type(exc).__name__}): use the version that wrote it or train anew"
            ) from exc
        return cls(networks, settings, card, sha256)

    def sample(
        self,
        n_samples: int,
        seed: int,
        start: int = 0,
        progress: Progress | None = None,
        conditions: Conditions | None = None,
    ) -> np.ndarray:
        """
        Sample CrysTens; see :meth:`Generator.sample`.

        Samples are drawn in batches of fixed size and fixed members, of which those asked for are
        given, so that a sample is the same to the last bit in any chunk. On another kind of
        device, or with another number of threads, sums are rounded in another order.
        """
        self.check_sampling(n_samples, seed, start, conditions)
        sampling = self.settings.sampling
        size, end = sampling.batch_size, start + n_samples
        parts = [np.empty((0, *SHAPE), dtype=np.float32)]
        for first in range(start // size * size, end, size):
            noise = SampleNoise(seed, range(first, first + size), self.device)
            tensors = sample_cascade(
                self.networks,
                size,
                noise,
                self.settings.downscale,
                sampling,
                self.settings.n_layers,
            )
            asked = slice(max(start - first, 0), min(end - first, size))
            parts.append(tensors[asked, :N_LAYERS].cpu().numpy())
            if progress is not None:
                progress(min(first + size, end) - start, n_samples)
        return np.concatenate(parts)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested settings with dotted names, so that a message names the one that differs."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _report(progress: Progress | None, number: int, steps: int) -> Progress | None:
    """Count the steps of both networks together."""
    if progress is None:
        return None
    total = len(NETWORKS) * steps
    return lambda done, _: progress(number * steps + done, total)


__all__ = ["ImagenGenerator"]
