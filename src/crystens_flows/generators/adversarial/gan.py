"""One training step of the GAN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crystens_flows.generators.adversarial.adversary import Adversary, not_trainable
from crystens_flows.generators.adversarial.layers import image_shape
from crystens_flows.generators.adversarial.networks import gan_discriminator, gan_generator
from crystens_flows.generators.adversarial.settings import GanSettings


class GanAdversary(Adversary):
    """
    Generator and discriminator of the GAN, with binary cross-entropy and Adam.

    A step updates the discriminator with a batch of real crystals, then with one of generated
    crystals (made with the generator's moving statistics), then the generator, which is to have
    its crystals judged real. The statistics of each batch normalise it where the network is
    updated; while the generator is updated, the discriminator has its moving statistics, as in
    the published code.

    Parameters
    ----------
    settings
        Sizes and rates.
    seed
        Seed of the initial weights.
    """

    losses = ("discriminator_real", "discriminator_fake", "generator")

    def __init__(self, settings: GanSettings, seed: int) -> None:
        super().__init__()
        streams = np.random.SeedSequence([seed, 0]).spawn(2)
        size = (settings.width, settings.latent_dim)
        self.batch_size, self.latent_dim = settings.batch_size, settings.latent_dim
        self.n_layers = settings.n_layers
        self.models = {
            "generator": gan_generator(streams[0], *size, n_layers=self.n_layers),
            "discriminator": gan_discriminator(streams[1], settings.width, n_layers=self.n_layers),
        }
        self.add_optimizer("generator", settings.generator_learning_rate)
        self.add_optimizer("discriminator", settings.discriminator_learning_rate)
        self._update = self._compiled()

    def step(self, n_crystals: int, render: Callable[[np.ndarray], np.ndarray], rng: Any) -> Any:
        """Take one step; see :meth:`Adversary.step`."""
        self.seed_dropout("discriminator", rng)
        rows = rng.integers(0, n_crystals, self.batch_size)
        noise = rng.standard_normal((2, self.batch_size, self.latent_dim), dtype=np.float32)
        return self._update(render(rows), noise[0], noise[1]).numpy()

    def _compiled(self) -> Any:
        tf, keras = self.tensorflow, self.keras
        generator, discriminator = self.models["generator"], self.models["discriminator"]

        def loss(images: Any, label: float) -> Any:
            judged = discriminator(images, training=True)
            return tf.reduce_mean(
                keras.losses.binary_crossentropy(tf.fill(tf.shape(judged), label), judged)
            )

        def update(images: Any, noise: Any, more_noise: Any) -> Any:
            with tf.GradientTape() as tape:
                real = loss(images, 1.0)
            self.descend("discriminator", tape, real)
            made = generator(noise, training=False)
            with tf.GradientTape() as tape:
                fake = loss(made, 0.0)
            self.descend("discriminator", tape, fake)
            with not_trainable(discriminator), tf.GradientTape() as tape:
                fooled = loss(generator(more_noise, training=True), 1.0)
            self.descend("generator", tape, fooled)
            return tf.stack([real, fake, fooled])

        noise_shape = (self.batch_size, self.latent_dim)
        images_shape = (self.batch_size, *image_shape(self.n_layers))
        return self.compiled(update, images_shape, noise_shape, noise_shape)
