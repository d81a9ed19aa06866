"""Two networks, their optimisers, and what a training step needs of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from crystens_flows.generators.adversarial.library import import_keras


class Adversary(ABC):
    """
    A generator and the network that judges it.

    Attributes
    ----------
    losses
        Names of the losses that :meth:`step` returns.
    models
        The networks by name; one is ``"generator"``.
    optimizers
        Adam of each network.
    """

    losses: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self.tensorflow, self.keras = import_keras()
        self.models: dict[str, Any] = {}
        self.optimizers: dict[str, Any] = {}
        self._variables: dict[str, list[Any]] = {}

    @abstractmethod
    def step(self, n_crystals: int, render: Callable[[np.ndarray], np.ndarray], rng: Any) -> Any:
        """
        Update both networks.

        Parameters
        ----------
        n_crystals
            How many crystals there are to draw from, with replacement.
        render
            Gives images of crystals, shape (n, 64, 64, layers, 1), by their rows.
        rng
            Source of all that is random in this step, a :class:`numpy.random.Generator`.

        Returns
        -------
        numpy.ndarray
            The losses, in the order of :attr:`losses`.
        """

    def add_optimizer(self, name: str, learning_rate: float, **arguments: float) -> None:
        """Give a network its Adam."""
        optimizer = self.keras.optimizers.Adam(learning_rate, name="adam", **arguments)
        self._variables[name] = list(self.models[name].trainable_variables)
        optimizer.build(self._variables[name])
        self.optimizers[name] = optimizer

    def descend(self, name: str, tape: Any, loss: Any) -> None:
        """Update a network along the gradient of a loss."""
        variables = self._variables[name]
        self.optimizers[name].apply(tape.gradient(loss, variables), variables)

    def seed_dropout(self, name: str, rng: np.random.Generator) -> None:
        """Make what dropout hides in this step depend on the step alone."""
        state = self.models[name].get_layer("dropout").seed_generator.state
        state.assign(rng.integers(0, 2**31, 2))

    def compiled(self, function: Any, *shapes: tuple[int, ...]) -> Any:
        """Make a graph of a function of arrays in single precision, of these shapes."""
        tf = self.tensorflow
        return tf.function(function, [tf.TensorSpec(shape, tf.float32) for shape in shapes])


@contextmanager
def not_trainable(model: Any) -> Iterator[None]:
    """
    Hold a network fixed.

    To Keras this also means that batch normalisation takes its moving statistics, and leaves them
    as they are.
    """
    model.trainable = False
    try:
        yield
    finally:
        model.trainable = True
