"""The blocks that the adversarial networks are made of, named and seeded."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from crystens_flows.generators.adversarial.library import import_keras
from crystens_flows.representation.layout import N_LAYERS, SIZE

NEGATIVE_SLOPE = 0.2
"""Of the leaky ReLU."""

DROPOUT = 0.25
"""Share of what the last layer of a discriminator or critic sees that is hidden in training."""

Kernel = tuple[int, ...]


def image_shape(n_layers: int) -> tuple[int, int, int, int]:
    """Return the shape of a CrysTens of so many layers as the networks take it."""
    return (SIZE, SIZE, n_layers, 1)


class Blocks:
    """
    Makes the layers of one network.

    A block is a dense layer or a convolution (without padding), a normalisation and an activation.
    All layers have names that do not depend on what else was built in the process, and initial
    weights that depend on the seed alone: Glorot's uniform, as Keras has by default.

    Parameters
    ----------
    seed
        Seed of the initial weights.
    width
        Factor of the numbers of channels and units that the shapes leave free.
    normalization
        ``"batch"`` or ``"layer"`` (over the channels), with Keras's defaults.
    spectral
        Whether dense layers and convolutions are wrapped in Keras's spectral normalisation.
    leaky
        Leaky ReLU, or else ReLU.
    n_layers
        Layers of the images.
    """

    def __init__(
        self,
        seed: np.random.SeedSequence,
        width: float,
        normalization: Literal["batch", "layer"],
        *,
        spectral: bool = False,
        leaky: bool = True,
        n_layers: int = N_LAYERS,
    ) -> None:
        _, self.keras = import_keras()
        self.random = np.random.default_rng(seed)
        self.width = width
        self.normalization = normalization
        self.spectral = spectral
        self.leaky = leaky
        self.n_layers = n_layers
        self._count = 0

    def free(self, number: int) -> int:
        """Return a number of channels or units, times the width."""
        return max(1, round(number * self.width))

    def dense(self, x: Any, units: int) -> Any:
        """Add a block with a dense layer."""
        return self._block(x, self.keras.layers.Dense, units=units)

    def layers_apart(self, image: Any) -> Any:
        """
        Take each layer of a CrysTens as a sample of its own, shape (layers n, 64, 64, 1).

        A kernel that is one deep sees each layer alone: as a convolution in two dimensions that is
        the same, and takes half the time.
        """
        x = self.keras.ops.transpose(image, (0, 3, 1, 2, 4))
        return self.keras.ops.reshape(x, (-1, SIZE, SIZE, 1))

    def layers_together(self, x: Any) -> Any:
        """Undo :meth:`layers_apart`, with what size and channels there are by then."""
        x = self.keras.ops.reshape(x, (-1, self.n_layers, *x.shape[1:]))
        return self.keras.ops.transpose(x, (0, 2, 3, 1, 4))

    def pairs_of_layers(self, x: Any) -> Any:
        """
        Prepare volumes of all pairs of neighbouring layers for kernels that take two at once.

        The published networks are left as they are: the last of their three pairs, and with it the
        fourth layer, meets no kernel. With descriptors, zeros make the number of pairs even.
        """
        if self.n_layers == N_LAYERS or x.shape[3] % 2 == 0:
            return x
        padding = ((0, 0), (0, 0), (0, 1))
        return self.keras.layers.ZeroPadding3D(
            padding, data_format="channels_last", name="even_pairs"
        )(x)

    def seed_planes(self) -> int:
        """
        Return the depth that a generator starts from.

        Eight transposed convolutions, each two planes deeper than the one before, and one that
        doubles make ten planes of it for each layer: 4 for the four layers, 5 more for each other.
        """
        return 5 * self.n_layers - 16

    def convolution(self, x: Any, channels: int, kernel: Kernel, strides: Kernel | int = 1) -> Any:
        """
        Add a block with a convolution in as many dimensions as the kernel has.

        The width changes the number of its channels.
        """
        return self._block(
            x,
            self.keras.layers.Conv2D if len(kernel) == 2 else self.keras.layers.Conv3D,
            filters=self.free(channels),
            kernel_size=kernel,
            strides=strides,
            data_format="channels_last",
        )

    def transposed(self, x: Any, channels: int, kernel: Kernel, strides: Kernel | int = 1) -> Any:
        """Add a block with a transposed convolution in three dimensions."""
        return self._block(
            x,
            self.keras.layers.Conv3DTranspose,
            filters=self.free(channels),
            kernel_size=kernel,
            strides=strides,
            data_format="channels_last",
        )

    def reshape(self, x: Any, *shape: int) -> Any:
        """Give each sample another shape."""
        return self.keras.layers.Reshape(shape)(x)

    def plane(self, x: Any, y: Any, size: int) -> Any:
        """Add size x size units to each layer and each channel of a volume of that size."""
        return self.keras.layers.Add()([x, self.reshape(y, size, size, 1, 1)])

    def judgement(self, x: Any, activation: str) -> Any:
        """Add dropout and the single unit that a discriminator or critic ends with."""
        x = self.keras.layers.Flatten()(x)
        x = self.keras.layers.Dropout(DROPOUT, seed=0, name="dropout")(x)
        return self._weighted(self.keras.layers.Dense, "judgement", units=1, activation=activation)(
            x
        )

    def image(self, x: Any) -> Any:
        """Add the convolution that a generator ends with: ten planes to each layer, 0 to 1."""
        return self._weighted(
            self.keras.layers.Conv3D,
            "image",
            filters=1,
            kernel_size=(1, 1, 10),
            strides=(1, 1, 10),
            activation="sigmoid",
            data_format="channels_last",
        )(x)

    def model(self, inputs: Any, outputs: Any, name: str) -> Any:
        """Make the network, of which also the vectors of the spectral normalisation are seeded."""
        model = self.keras.Model(inputs, outputs, name=name)
        for layer in model.layers:
            if isinstance(layer, self.keras.layers.SpectralNormalization):
                layer.vector_u.assign(0.02 * self.random.standard_normal(layer.vector_u.shape))
        return model

    def _block(self, x: Any, layer: Any, **arguments: Any) -> Any:
        self._count += 1
        x = self._weighted(layer, f"block{self._count}", **arguments)(x)
        name = f"block{self._count}_norm"
        if self.normalization == "batch":
            x = self.keras.layers.BatchNormalization(name=name, dtype="float32")(x)
        else:
            x = self.keras.layers.LayerNormalization(name=name, dtype="float32")(x)
        if self.leaky:
            return self.keras.layers.LeakyReLU(negative_slope=NEGATIVE_SLOPE)(x)
        return self.keras.layers.ReLU()(x)

    def _weighted(self, layer: Any, name: str, **arguments: Any) -> Any:
        start = self.keras.initializers.GlorotUniform(seed=int(self.random.integers(2**31)))
        made = layer(name=name, kernel_initializer=start, dtype="float32", **arguments)
        if self.spectral:
            return self.keras.layers.SpectralNormalization(made, name=f"{name}_spectral")
        return made
