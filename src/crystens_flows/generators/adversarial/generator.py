"""The adversarial generators behind the protocol of all generators."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import ValidationError

from crystens_flows.errors import CheckpointError, InputError, TrainingError
from crystens_flows.generators.adversarial.adversary import Adversary
from crystens_flows.generators.adversarial.gan import GanAdversary
from crystens_flows.generators.adversarial.library import device_type, import_keras, to_tensors
from crystens_flows.generators.adversarial.networks import gan_generator, wgan_generator
from crystens_flows.generators.adversarial.settings import GanSettings, WganSettings
from crystens_flows.generators.adversarial.training import AdversarialTrainer
from crystens_flows.generators.adversarial.weights import set_weights, weights_of
from crystens_flows.generators.adversarial.wgan import WganAdversary
from crystens_flows.generators.base import Generator, Progress
from crystens_flows.generators.checkpoints import claim_folder, read_checkpoint, write_checkpoint
from crystens_flows.generators.imagen.data import fingerprint, load_crystals
from crystens_flows.generators.settings import read_settings
from crystens_flows.representation.layout import N_LAYERS, SHAPE

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset
    from crystens_flows.generators.conditions import Conditions

SAMPLE_BATCH = 16
"""Samples drawn together, always the same ones."""

CHANGEABLE = {
    "epochs",
    "generator_learning_rate",
    "discriminator_learning_rate",
    "critic_learning_rate",
}
"""Settings that may change when a training goes on."""


class AdversarialGenerator(Generator):
    """
    What the GAN and the Wasserstein GAN have in common.

    Their CrysTens are what the network gives, redundant entries and all; how well these agree is
    what :mod:`crystens_flows.representation.consistency` measures. Layers of descriptors are learnt
    and judged with the others, and left out of samples.

    Parameters
    ----------
    network
        The generator network.
    architecture
        Settings that `network` was built with.
    card
        The model card.
    sha256
        SHA-256 of weights and configuration; empty until saved.
    """

    settings_class: ClassVar[type[GanSettings] | type[WganSettings]]
    adversary_class: ClassVar[Callable[..., Adversary]]
    build: ClassVar[Callable[..., Any]]

    def __init__(
        self, network: Any, architecture: dict[str, Any], card: dict[str, Any], sha256: str = ""
    ) -> None:
        tensorflow, _ = import_keras()
        self.network = network
        self.architecture = architecture
        self.card = card
        self.sha256 = sha256
        self._draw = tensorflow.function(
            lambda noise: network(noise, training=False),
            [tensorflow.TensorSpec((SAMPLE_BATCH, architecture["latent_dim"]), tensorflow.float32)],
        )

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
    ) -> Self:
        """
        Train both networks and save the generator in `folder`.

        See :meth:`Generator.fit`; `steps` is the number of updates of the generator (by default
        those of the epochs set), `settings` are those of :attr:`settings_class`.
        """
        chosen = read_settings(cls.settings_class, settings, cls.kind)
        if steps is not None and steps < 1:
            raise InputError(f"steps must be at least 1, not {steps}")
        data_sha256 = fingerprint(dataset, chosen.batch_size)
        tensorflow, keras = import_keras()
        claim = {"generator": cls.kind, "seed": seed, "data_sha256": data_sha256}
        claim["descriptors"] = list(chosen.descriptors) or None
        claim_folder(folder, claim | chosen.model_dump(mode="json", exclude=CHANGEABLE))
        crystals = load_crystals(dataset, folder, chosen.descriptors)
        steps_per_epoch = chosen.steps_per_epoch(len(crystals["train"]))
        adversary = cls.adversary_class(chosen, seed)
        trainer = AdversarialTrainer(
            adversary,
            crystals["train"],
            folder,
            seed,
            chosen.epochs * steps_per_epoch if steps is None else steps,
            steps_per_epoch,
        )
        trainer.run(progress)
        card = {
            "generator": cls.kind,
            "data": data,
            "data_sha256": data_sha256,
            "split": {"train": len(crystals["train"])},
            "seed": seed,
            "steps": trainer.step,
            "epochs": round(trainer.step / steps_per_epoch, 2),
            "training_minutes": round(trainer.seconds / 60, 1),
            "device": device_type(),
            "tensorflow": tensorflow.__version__,
            "keras": keras.__version__,
            "parameters": {
                name: sum(int(np.prod(v.shape)) for v in model.trainable_variables)
                for name, model in adversary.models.items()
            },
            "settings": chosen.model_dump(mode="json"),
            "losses": trainer.losses,
        }
        described = chosen.model_dump(mode="json", include=set(chosen.architecture))
        generator = cls(adversary.models["generator"], described, card)
        card["samples_per_second"] = round(generator._speed(), 1)
        generator.save(folder)
        return generator

    def _speed(self) -> float:
        """Measure how many samples a second there are, after the first batch."""
        self.sample(SAMPLE_BATCH, 0)
        began = time.perf_counter()
        self.sample(SAMPLE_BATCH, 0)
        return SAMPLE_BATCH / (time.perf_counter() - began)

    def save(self, folder: Path) -> None:
        """
        Write the checkpoint; see :meth:`Generator.save`.

        Raises
        ------
        TrainingError
            If it cannot be written, for example on a full disk.
        """
        config = {"architecture": self.architecture, "sampling": {"batch_size": SAMPLE_BATCH}}
        weights = weights_of(self.network)
        try:
            self.sha256 = write_checkpoint(folder, self.kind, config, self.card, weights)
        except OSError as exc:
            raise TrainingError(
                f"the checkpoint in {folder} cannot be written ({exc.strerror or exc}); the state "
                "of the training is kept: make room on the disk and start again with this folder"
            ) from exc

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a checkpoint; see :meth:`Generator.load`."""
        config, card, weights, sha256 = read_checkpoint(folder, cls.kind, "numpy")
        import_keras()
        try:
            architecture = config["architecture"]
            n_layers = cls.settings_class.model_validate(architecture).n_layers
            if config["sampling"] != {"batch_size": SAMPLE_BATCH}:
                raise ValueError("samples are drawn in another way")
            sizes = {key: value for key, value in architecture.items() if key != "descriptors"}
            network = cls.build(np.random.SeedSequence(0), **sizes, n_layers=n_layers)
            set_weights(network.weights, weights)
        except (KeyError, TypeError, ValueError, ValidationError) as exc:
            raise CheckpointError(
                f"{folder} does not fit this version's '{cls.kind}' generator "
                f"({type(exc).__name__}): use the version that wrote it or train anew"
            ) from exc
        return cls(network, architecture, card, sha256)

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
        size, end = SAMPLE_BATCH, start + n_samples
        tensors = np.empty((n_samples, *SHAPE), dtype=np.float32)
        if n_samples == 0:
            return tensors
        with _single_precision():
            for first in range(start // size * size, end, size):
                noise = [self._noise(seed, index) for index in range(first, first + size)]
                drawn = to_tensors(self._draw(np.stack(noise)).numpy())
                asked = slice(max(start - first, 0), min(end - first, size))
                kept = drawn[asked, :N_LAYERS]
                tensors[max(first - start, 0) :][: asked.stop - asked.start] = kept
                if progress is not None:
                    progress(min(first + size, end) - start, n_samples)
        return tensors

    def _noise(self, seed: int, index: int) -> np.ndarray:
        rng = np.random.default_rng([seed, index])
        return rng.standard_normal(self.architecture["latent_dim"], dtype=np.float32)


@contextmanager
def _single_precision() -> Iterator[None]:
    """Compute in single precision on a GPU too, not with the ten bits that it takes by default."""
    tensorflow, _ = import_keras()
    config = tensorflow.config.experimental
    before = config.tensor_float_32_execution_enabled()
    config.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        config.enable_tensor_float_32_execution(before)


class GanGenerator(AdversarialGenerator):
    """The GAN of the paper, with the settings of :class:`GanSettings`."""

    kind: ClassVar[str] = "gan"
    settings_class = GanSettings
    adversary_class = GanAdversary
    build = staticmethod(gan_generator)


class WganGenerator(AdversarialGenerator):
    """The Wasserstein GAN of the paper, with the settings of :class:`WganSettings`."""

    kind: ClassVar[str] = "wgan"
    settings_class = WganSettings
    adversary_class = WganAdversary
    build = staticmethod(wgan_generator)


__all__ = ["AdversarialGenerator", "GanGenerator", "WganGenerator"]
