"""Networks so small that a training step takes a hundredth of a second, and their training."""

import torch

from crystens_flows.generators.checkpoints import read_checkpoint
from crystens_flows.generators.imagen.generator import ImagenGenerator

TINY = {
    "dim": 8,
    "dim_mults": [1, 2],
    "num_resnet_blocks": 1,
    "layer_attns": [False, True],
    "layer_cross_attns": [False, True],
    "use_linear_attn": False,
    "attn_heads": 2,
    "attn_dim_head": 8,
}
SAMPLING = {"sampler": "dpm", "steps": 4, "batch_size": 3}
SETTINGS = {"base": TINY, "super_resolution": TINY, "sampling": SAMPLING}


def fit(dataset, folder, *, settings=SETTINGS, **options):
    return ImagenGenerator.fit(dataset, folder, settings=settings, **options)


def weights(folder):
    return read_checkpoint(folder, "imagen")[2]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
