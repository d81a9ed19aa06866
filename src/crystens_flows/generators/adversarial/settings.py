"""What can be set of the adversarial generators; the defaults are the published ones."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from crystens_flows.generators.adversarial.networks import Normalizations
from crystens_flows.generators.settings import LayerSettings

PositiveInt = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class AdversarialSettings(LayerSettings):
    """What both kinds have."""

    architecture: ClassVar[tuple[str, ...]] = ("width", "latent_dim", "descriptors")
    """Settings that decide which networks there are; a checkpoint has them."""

    width: float = Field(
        1.0,
        gt=0,
        le=4,
        description="Factor of the numbers of channels and units that the shapes leave free.",
    )
    latent_dim: PositiveInt = Field(128, description="Dimension of the noise.")
    batch_size: int = Field(64, ge=2, description="Crystals of a batch, drawn with replacement.")
    epochs: PositiveInt = Field(100, description="Epochs, where no number of steps is given.")


class GanSettings(AdversarialSettings):
    """
    Settings of the GAN; paper and published code agree on them.

    An epoch of the code takes half as many steps as there are batches in the data, so that real
    crystals and generated ones together make up one.
    """

    generator_learning_rate: Rate = Field(1e-5, description="Of Adam.")
    discriminator_learning_rate: Rate = Field(1e-5, description="Of Adam.")

    def steps_per_epoch(self, n_crystals: int) -> int:
        """Return how many steps, each with an update of the generator, make an epoch."""
        return max(1, n_crystals // self.batch_size // 2)


class WganSettings(AdversarialSettings):
    """
    Settings of the Wasserstein GAN.

    Paper and published code differ. The paper tells of 100 epochs, the code has 10 unless told
    otherwise; the paper tells of layer and batch normalisation, the code has layer and spectral
    normalisation. The code's batch is 256 unless told otherwise, but its noise always has 64 rows,
    so that no other batch than 64 runs. Taken here: 100 epochs, batches of 64, and the code's
    normalisation.
    """

    architecture: ClassVar[tuple[str, ...]] = (
        "width",
        "latent_dim",
        "normalization",
        "descriptors",
    )

    width: float = Field(
        1.0,
        ge=0.25,
        le=4,
        description="Factor of the numbers of channels. Below 0.25 the first layers would have "
        "fewer than four, of which layer normalisation leaves nothing to learn from.",
    )
    normalization: Normalizations = Field(
        "spectral",
        description="`spectral`: layer and spectral normalisation in both networks, as in the "
        "published code; `batch`: layer normalisation in the critic and batch normalisation in "
        "the generator, as the paper is read here.",
    )
    critic_steps: PositiveInt = Field(5, description="Updates of the critic to one.")
    gradient_penalty: float = Field(10.0, ge=0, description="Weight of the gradient penalty.")
    generator_learning_rate: Rate = Field(1e-4, description="Of Adam.")
    critic_learning_rate: Rate = Field(1e-4, description="Of Adam.")

    def steps_per_epoch(self, n_crystals: int) -> int:
        """Return how many steps, each with an update of the generator, make an epoch."""
        return max(1, n_crystals // self.batch_size)
