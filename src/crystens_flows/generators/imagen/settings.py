"""What can be set of the diffusion model; the defaults are the published ones but `downscale`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from crystens_flows.generators.settings import LayerSettings, Settings
from crystens_flows.representation.layout import SIZE

DEFAULT_STEPS = 250_000
"""Training steps of each network."""

LEVELS = ("num_resnet_blocks", "layer_attns", "layer_cross_attns", "use_linear_attn")
"""Settings of a network that may differ between its resolutions."""

PositiveInt = Annotated[int, Field(ge=1)]


class NetworkSettings(Settings):
    """Sizes of one U-net, named as imagen-pytorch names them."""

    dim: int = Field(256, ge=8, multiple_of=8, description="Base channels.")
    dim_mults: tuple[PositiveInt, ...] = Field(
        (1, 2, 4), min_length=1, max_length=4, description="Channels of each level, times `dim`."
    )
    num_resnet_blocks: PositiveInt | tuple[PositiveInt, ...]
    layer_attns: bool | tuple[bool, ...]
    layer_cross_attns: bool | tuple[bool, ...]
    use_linear_attn: bool | tuple[bool, ...]
    attn_heads: int = Field(8, ge=2)
    attn_dim_head: int = Field(64, ge=1)
    memory_efficient: bool

    @model_validator(mode="after")
    def _one_value_a_level(self) -> NetworkSettings:
        for name in LEVELS:
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != len(self.dim_mults):
                raise ValueError(
                    f"{name} has {len(value)} values for the {len(self.dim_mults)} levels of "
                    "dim_mults"
                )
        return self


class BaseSettings(NetworkSettings):
    """Sizes of the first network; by default the published ones, 269.8 million parameters."""

    num_resnet_blocks: PositiveInt | tuple[PositiveInt, ...] = 3
    layer_attns: bool | tuple[bool, ...] = (False, True, True)
    layer_cross_attns: bool | tuple[bool, ...] = (False, True, True)
    use_linear_attn: bool | tuple[bool, ...] = True
    memory_efficient: bool = False


class SuperResolutionSettings(NetworkSettings):
    """Sizes of the second network; by default the published ones, 727.8 million parameters."""

    num_resnet_blocks: PositiveInt | tuple[PositiveInt, ...] = (2, 4, 8)
    layer_attns: bool | tuple[bool, ...] = (False, False, True)
    layer_cross_attns: bool | tuple[bool, ...] = (False, False, True)
    use_linear_attn: bool | tuple[bool, ...] = False
    memory_efficient: bool = True


class SamplingSettings(Settings):
    """How samples are drawn; a part of what a checkpoint is known by."""

    sampler: Literal["ancestral", "sde", "ddim", "dpm"] = Field(
        "ancestral",
        description="`ancestral` is the library's own, step by step the same; the others need "
        "fewer steps, and `sde` draws noise in each as it does.",
    )
    steps: PositiveInt = Field(1000, description="Evaluations of each network for a sample.")
    batch_size: PositiveInt = Field(
        16, description="Samples drawn together; always so many, that none depends on the others."
    )
    condition_noise: float = Field(
        0.2, ge=0, lt=1, description="Time to which the first network's result is noised."
    )
    threshold: float = Field(
        0.95, gt=0, le=1, description="Quantile of the dynamic thresholding of Imagen."
    )


class ImagenSettings(LayerSettings):
    """Settings of the diffusion model and of its training."""

    base: BaseSettings = BaseSettings()
    super_resolution: SuperResolutionSettings = SuperResolutionSettings()
    downscale: Literal["nearest", "area", "phases", "unshuffle"] = Field(
        "phases",
        description="What the first network learns of a CrysTens: see `downscale.py`; `nearest` is "
        "the published one.",
    )
    batch_size: PositiveInt = Field(4, description="Crystals of a step, over all processes.")
    learning_rate: float = Field(1e-4, gt=0, description="Of Adam.")
    max_grad_norm: float | None = Field(None, gt=0, description="Gradients are cut to it.")
    ema_every: PositiveInt = Field(10, description="Steps between two updates of the average.")
    loss_weight: Literal["p2", "min_snr"] = Field(
        "p2",
        description="Weight of the noise levels: `p2` as in the library's versions of 2022, "
        "`min_snr` as in 2.1.",
    )
    sampling: SamplingSettings = SamplingSettings()

    @model_validator(mode="after")
    def _levels_fit_the_image(self) -> ImagenSettings:
        for network, size in ((self.base, SIZE // 2), (self.super_resolution, SIZE)):
            halvings = len(network.dim_mults) - (0 if network.memory_efficient else 1)
            if size % 2**halvings:
                raise ValueError(f"{size} x {size} cannot be halved {halvings} times")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what a training is known by: all but what may change when it goes on."""
        changing = {"sampling", "learning_rate", "max_grad_norm", "ema_every"}
        return self.model_dump(mode="json", exclude=changing)
