"""The published networks; at width 1 and 4 layers of the published numbers of parameters."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from crystens_flows.generators.adversarial.layers import Blocks, image_shape
from crystens_flows.generators.adversarial.library import import_keras
from crystens_flows.representation.layout import N_LAYERS

Normalizations = Literal["spectral", "batch"]

_ONE, _SMALL, _LARGE = (1, 1), (3, 3), (7, 7)
_CUBE, _DOUBLE = (3, 3, 3), (2, 2, 2)


def gan_discriminator(
    seed: np.random.SeedSequence, width: float = 1.0, *, n_layers: int = N_LAYERS
) -> Any:
    """
    Build the discriminator of the GAN: 21,469,948 trainable parameters at width 1.

    A branch of dense layers sees the whole CrysTens and is added twice to a branch of
    convolutions. Each dense layer and convolution is followed by batch normalisation and a leaky
    ReLU.

    Parameters
    ----------
    seed
        Seed of the initial weights.
    width
        Factor of the numbers of channels and units that the shapes leave free.
    n_layers
        Layers of the images, 4 or more.

    Returns
    -------
    keras.Model
        From images of shape (n, 64, 64, layers, 1) to the probability that each is real, shape
        (n, 1).
    """
    _, keras = import_keras()
    blocks = Blocks(seed, width, "batch", n_layers=n_layers)
    image = keras.Input(image_shape(n_layers), dtype="float32")
    y = keras.layers.Flatten()(image)
    for units in (blocks.free(1024), blocks.free(1024), blocks.free(1024), 32 * 32):
        y = blocks.dense(y, units)
    x = blocks.convolution(blocks.layers_apart(image), 32, _ONE)
    for channels in (32, 32, 32, 64):
        x = blocks.convolution(x, channels, _SMALL)
    for _ in range(4):
        x = blocks.convolution(x, 64, _LARGE)
    x = blocks.plane(blocks.layers_together(x), y, 32)
    y = blocks.dense(y, 3 * 3)
    x = blocks.pairs_of_layers(blocks.convolution(x, 128, (5, 5, 2), (5, 5, 1)))
    x = blocks.convolution(x, 256, _DOUBLE, _DOUBLE)
    x = blocks.plane(x, y, 3)
    return blocks.model(image, blocks.judgement(x, "sigmoid"), "discriminator")


def gan_generator(
    seed: np.random.SeedSequence,
    width: float = 1.0,
    latent_dim: int = 128,
    *,
    n_layers: int = N_LAYERS,
) -> Any:
    """
    Build the generator of the GAN: 10,462,041 trainable parameters at width 1.

    A branch of dense layers is added four times to a branch of transposed convolutions. Each is
    followed by batch normalisation and a ReLU.

    Parameters
    ----------
    seed
        Seed of the initial weights.
    width
        Factor of the numbers of channels and units that the shapes leave free.
    latent_dim
        Dimension of the noise.
    n_layers
        Layers of the images, 4 or more.

    Returns
    -------
    keras.Model
        From noise of shape (n, `latent_dim`) to images of shape (n, 64, 64, layers, 1), 0 to 1.
    """
    _, keras = import_keras()
    blocks = Blocks(seed, width, "batch", leaky=False, n_layers=n_layers)

    def beside(y: Any, layers: int, size: int) -> Any:
        for _ in range(layers - 1):
            y = blocks.dense(y, blocks.free(size**2))
        return blocks.dense(y, size**2)

    def grow(x: Any, *channels: int) -> Any:
        for number in channels:
            x = blocks.transposed(x, number, _CUBE)
        return x

    planes = blocks.seed_planes()
    noise = keras.Input((latent_dim,), dtype="float32")
    y = beside(noise, 2, 22)
    x = blocks.reshape(blocks.dense(noise, 16 * 16 * planes), 16, 16, planes, 1)
    x = blocks.plane(grow(x, 256, 128, 128), y, 22)
    y = beside(y, 3, 28)
    x = blocks.plane(grow(x, 128, 64, 64), y, 28)
    y = beside(y, 2, 32)
    x = blocks.plane(grow(x, 64, 64), y, 32)
    y = beside(y, 1, 64)
    x = blocks.plane(blocks.transposed(x, 32, _DOUBLE, _DOUBLE), y, 64)
    return blocks.model(noise, blocks.image(x), "generator")


def wgan_critic(
    seed: np.random.SeedSequence,
    width: float = 1.0,
    normalization: Normalizations = "spectral",
    *,
    n_layers: int = N_LAYERS,
) -> Any:
    """
    Build the critic of the Wasserstein GAN: 508,113 trainable parameters at width 1.

    Convolutions, each followed by layer normalisation over the channels and a leaky ReLU.

    Parameters
    ----------
    seed
        Seed of the initial weights.
    width
        Factor of the numbers of channels.
    normalization
        ``"spectral"``: spectral normalisation of all weights beside that of the layers, as in the
        published code. ``"batch"``: layer normalisation alone; the paper tells of layer and batch
        normalisation, and batch normalisation is left to the generator, for the gradient penalty
        is one of each sample and has no meaning where samples are mixed.
    n_layers
        Layers of the images, 4 or more.

    Returns
    -------
    keras.Model
        From images of shape (n, 64, 64, layers, 1) to a number each, shape (n, 1).
    """
    _, keras = import_keras()
    blocks = Blocks(seed, width, "layer", spectral=normalization == "spectral", n_layers=n_layers)
    image = keras.Input(image_shape(n_layers), dtype="float32")
    x = blocks.layers_apart(image)
    for channels, kernel, repeat in (
        (16, _ONE, 2),
        (16, _SMALL, 4),
        (32, _LARGE, 3),
        (64, _LARGE, 1),
    ):
        for _ in range(repeat):
            x = blocks.convolution(x, channels, kernel)
    x = blocks.convolution(blocks.layers_together(x), 64, (5, 5, 2), (5, 5, 1))
    x = blocks.convolution(blocks.pairs_of_layers(x), 128, _DOUBLE, _DOUBLE)
    return blocks.model(image, blocks.judgement(x, "linear"), "critic")


def wgan_generator(
    seed: np.random.SeedSequence,
    width: float = 1.0,
    latent_dim: int = 128,
    normalization: Normalizations = "spectral",
    *,
    n_layers: int = N_LAYERS,
) -> Any:
    """
    Build the generator of the Wasserstein GAN: 1,060,129 trainable parameters at width 1.

    A dense layer and transposed convolutions, each followed by a normalisation and a leaky ReLU.

    Parameters
    ----------
    seed
        Seed of the initial weights.
    width
        Factor of the numbers of channels.
    latent_dim
        Dimension of the noise.
    normalization
        ``"spectral"``: layer normalisation, and spectral normalisation of all weights, as in the
        published code. ``"batch"``: batch normalisation, as the paper tells.
    n_layers
        Layers of the images, 4 or more.

    Returns
    -------
    keras.Model
        From noise of shape (n, `latent_dim`) to images of shape (n, 64, 64, layers, 1), 0 to 1.
    """
    _, keras = import_keras()
    spectral = normalization == "spectral"
    norm: Literal["layer", "batch"] = "layer" if spectral else "batch"
    blocks = Blocks(seed, width, norm, spectral=spectral, n_layers=n_layers)
    planes = blocks.seed_planes()
    noise = keras.Input((latent_dim,), dtype="float32")
    x = blocks.reshape(blocks.dense(noise, 16 * 16 * planes), 16, 16, planes, 1)
    for channels in (128, 128, 64, 64, 32, 32, 32, 32):
        x = blocks.transposed(x, channels, _CUBE)
    x = blocks.transposed(x, 32, _DOUBLE, _DOUBLE)
    return blocks.model(noise, blocks.image(x), "generator")
