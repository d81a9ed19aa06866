"""One training step of the Wasserstein GAN with gradient penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crystens_flows.generators.adversarial.adversary import Adversary, not_trainable
from crystens_flows.generators.adversarial.layers import image_shape
from crystens_flows.generators.adversarial.networks import wgan_critic, wgan_generator
from crystens_flows.generators.adversarial.settings import WganSettings

SMALLEST = 1e-12
"""Added below the root in the length of a gradient, which has no derivative at zero."""


class WganAdversary(Adversary):
    """
    Generator and critic of the Wasserstein GAN, with gradient penalty and Adam (0, 0.9).

    A step updates the critic `critic_steps` times, each with real and generated crystals and with
    crystals at random places between them, where the gradient is to have length one; then the
    generator once. All passes are in training mode, so dropout hides units of the critic and, with
    spectral normalisation, weights are scaled before each pass, as in the published code.

    Parameters
    ----------
    settings
        Sizes and rates.
    seed
        Seed of the initial weights.
    """

    losses = ("critic", "critic_real", "critic_fake", "gradient_penalty", "generator")

    def __init__(self, settings: WganSettings, seed: int) -> None:
        super().__init__()
        streams = np.random.SeedSequence([seed, 0]).spawn(2)
        width, normalization = settings.width, settings.normalization
        layers = {"n_layers": settings.n_layers}
        self.settings = settings
        self.models = {
            "generator": wgan_generator(
                streams[0], width, settings.latent_dim, normalization, **layers
            ),
            "critic": wgan_critic(streams[1], width, normalization, **layers),
        }
        betas = {"beta_1": 0.0, "beta_2": 0.9}
        self.add_optimizer("generator", settings.generator_learning_rate, **betas)
        self.add_optimizer("critic", settings.critic_learning_rate, **betas)
        self._update_critic, self._update_generator = self._compiled()

    def step(self, n_crystals: int, render: Callable[[np.ndarray], np.ndarray], rng: Any) -> Any:
        """Take one step; see :meth:`Adversary.step`."""
        size, latent_dim = self.settings.batch_size, self.settings.latent_dim
        self.seed_dropout("critic", rng)
        losses = []
        for _ in range(self.settings.critic_steps):
            images = render(rng.integers(0, n_crystals, size))
            noise = rng.standard_normal((size, latent_dim), dtype=np.float32)
            places = rng.random((size, 1, 1, 1, 1), dtype=np.float32)
            losses.append(self._update_critic(images, noise, places).numpy())
        noise = rng.standard_normal((size, latent_dim), dtype=np.float32)
        return np.append(np.mean(losses, axis=0), self._update_generator(noise).numpy())

    def _compiled(self) -> tuple[Any, Any]:
        tf = self.tensorflow
        generator, critic = self.models["generator"], self.models["critic"]
        size, weight = self.settings.batch_size, self.settings.gradient_penalty

        def slope_penalty(images: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(images)
                judged = critic(images, training=True)
            squared = tf.square(tape.gradient(judged, images))
            slope = tf.sqrt(tf.reduce_sum(squared, axis=[1, 2, 3, 4]) + SMALLEST)
            return tf.reduce_mean(tf.square(slope - 1.0))

        def update_critic(images: Any, noise: Any, places: Any) -> Any:
            with not_trainable(generator):
                made = generator(noise, training=True)
            with tf.GradientTape() as tape:
                real = -tf.reduce_mean(critic(images, training=True))
                fake = tf.reduce_mean(critic(made, training=True))
                penalty = slope_penalty(places * images + (1.0 - places) * made)
                loss = real + fake + weight * penalty
            self.descend("critic", tape, loss)
            return tf.stack([loss, real, fake, penalty])

        def update_generator(noise: Any) -> Any:
            with not_trainable(critic), tf.GradientTape() as tape:
                loss = -tf.reduce_mean(critic(generator(noise, training=True), training=True))
            self.descend("generator", tape, loss)
            return loss

        noise_shape = (size, self.settings.latent_dim)
        images_shape = (size, *image_shape(self.settings.n_layers))
        return (
            self.compiled(update_critic, images_shape, noise_shape, (size, 1, 1, 1, 1)),
            self.compiled(update_generator, noise_shape),
        )
