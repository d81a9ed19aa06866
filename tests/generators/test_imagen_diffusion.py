"""Loss, average, down-scaling and samplers, each against the library or a formula."""

import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch
from imagen_examples import TINY
from torch import nn
from torch.nn import functional

from crystens_flows.generators.imagen.average import update_average
from crystens_flows.generators.imagen.diffusion import (
    Condition,
    alpha_sigma,
    diffusion_loss,
    image_schedule,
    loss_weight,
    predict_image,
)
from crystens_flows.generators.imagen.downscale import DOWNSCALES
from crystens_flows.generators.imagen.library import import_imagen
from crystens_flows.generators.imagen.networks import build_network
from crystens_flows.generators.imagen.sampling import (
    denoise,
    sample_cascade,
    sampler_step,
)
from crystens_flows.generators.imagen.settings import (
    BaseSettings,
    ImagenSettings,
    SamplingSettings,
    SuperResolutionSettings,
)
from crystens_flows.generators.imagen.training import ADAM_BETAS
from crystens_flows.representation.layout import FIRST_SITE, N_ATTRIBUTES

pytest.importorskip("accelerate", reason="needs the extra imagen")


@pytest.fixture(scope="module")
def tensors(few_crystals):
    """Return CrysTens of real crystals."""
    (batch,) = few_crystals.crystens_batches(few_crystals.split["train"][:20], 20)
    return torch.from_numpy(batch)


@pytest.fixture(scope="module")
def networks():
    """Return two tiny networks with weights other than the zeros they begin with."""
    torch.manual_seed(0)
    found = {
        "base": build_network(BaseSettings(**TINY)),
        "super_resolution": build_network(SuperResolutionSettings(**TINY), conditioned=True),
    }
    for network in found.values():
        nn.init.normal_(network.final_conv.weight, std=0.1)
        network.eval()
    return found


@pytest.fixture(scope="module")
def imagen(networks):
    """Return the library's own model with the same networks."""
    model = import_imagen().Imagen(
        tuple(networks.values()),
        image_sizes=(32, 64),
        channels=4,
        timesteps=5,
        condition_on_text=False,
    )
    # it makes networks of its own, of the same sizes
    for own, network in zip(model.unets, networks.values(), strict=True):
        own.load_state_dict(network.state_dict())
    return model


def test_each_way_down_is_what_it_says(tensors):
    small = {name: way.down(tensors) for name, way in DOWNSCALES.items()}
    for name, way in DOWNSCALES.items():
        assert small[name].shape == (20, 4 * way.channels_each, 32, 32)
        assert way.up(small[name]).shape == tensors.shape
    assert torch.equal(small["nearest"], functional.interpolate(tensors, 32, mode="nearest"))
    assert torch.equal(
        DOWNSCALES["nearest"].up(small["nearest"]),
        functional.interpolate(small["nearest"], 64, mode="nearest"),
    )
    assert torch.allclose(small["area"], functional.interpolate(tensors, 32, mode="area"))
    assert torch.equal(DOWNSCALES["unshuffle"].up(small["unshuffle"]), tensors)


def test_phases_keep_every_quantity_of_every_site(tensors):
    """At the size of nearest, which loses some of them."""
    rows, sites = slice(0, N_ATTRIBUTES), slice(FIRST_SITE, None)
    ways = {name: way.up(way.down(tensors)) for name, way in DOWNSCALES.items()}
    for block in ((rows, sites), (sites, rows)):
        quantities = tensors[(..., *block)]
        assert torch.equal(ways["phases"][(..., *block)], quantities)
        lost = (ways["nearest"][(..., *block)] != quantities)[quantities != 0]
        assert lost.float().mean() > 0.4
    # of the pair block each layer keeps the quarter that no other layer keeps
    kept = (DOWNSCALES["phases"].up(DOWNSCALES["phases"].down(tensors)) == tensors)[:, :, 12:, 12:]
    for layer in range(4):
        assert kept[:, layer, layer // 2 :: 2, layer % 2 :: 2].all()


@pytest.mark.parametrize("number", [1, 2])
def test_the_loss_is_the_librarys(number, imagen, networks, tensors):
    images = tensors[:5] if number == 2 else DOWNSCALES["nearest"].down(tensors[:5])
    times, noise = torch.linspace(0.02, 0.98, 5), torch.randn_like(images)
    name = ("base", "super_resolution")[number - 1]
    options, condition = {}, None
    if number == 2:
        shown = DOWNSCALES["nearest"].up(DOWNSCALES["nearest"].down(tensors[:5]))
        aug_times = torch.full((5,), 0.3)
        options = {"lowres_cond_img": shown, "lowres_aug_times": aug_times}
        torch.manual_seed(7)
        condition = Condition.noised(shown * 2 - 1, aug_times, torch.randn_like(shown))
    torch.manual_seed(7)
    expected = imagen.p_losses(
        networks[name],
        images,
        times,
        noise=noise,
        noise_scheduler=imagen.noise_schedulers[number - 1],
        min_snr_gamma=5,
        **options,
    )
    found = diffusion_loss(
        networks[name], images * 2 - 1, times, noise, weight="min_snr", condition=condition
    )
    torch.testing.assert_close(found, expected)


def test_the_weight_of_2022_is_p2():
    log_snr = torch.linspace(-12, 8, 9)
    expected = 1 / np.sqrt(1 + np.exp(log_snr.numpy().astype(float)))
    np.testing.assert_allclose(loss_weight(log_snr, "p2"), expected, rtol=1e-5)


def test_the_optimiser_is_set_as_the_librarys():
    defaults = inspect.signature(import_imagen().ImagenTrainer.__init__).parameters
    assert tuple(defaults[name].default for name in ("beta1", "beta2")) == ADAM_BETAS
    assert defaults["lr"].default == ImagenSettings().learning_rate
    assert defaults["max_grad_norm"].default is ImagenSettings().max_grad_norm


@pytest.mark.parametrize("every", [1, 10])
def test_the_average_is_that_of_ema_pytorch(every):
    ema_pytorch = pytest.importorskip("ema_pytorch", reason="needs the extra imagen")
    network, average = nn.Linear(3, 2), nn.Linear(3, 2)
    average.load_state_dict(network.state_dict())
    peer = ema_pytorch.EMA(network, update_every=every)
    for step in range(400):
        with torch.no_grad():
            network.weight += torch.randn(2, 3)
        update_average(average, network, step, every)
        peer.update()
    torch.testing.assert_close(average.weight, peer.ema_model.weight)
    assert not torch.allclose(average.weight, network.weight)


def test_ancestral_samples_are_the_librarys(imagen, networks):
    settings = SamplingSettings(steps=5)
    torch.manual_seed(3)
    expected = imagen.sample(batch_size=3, use_tqdm=False)
    torch.manual_seed(3)
    found = sample_cascade(networks, 3, torch.randn, "nearest", settings)
    torch.testing.assert_close(found, expected)
    assert found.std() > 0.1


class Exact(nn.Module):
    """The noise in noisy images of which each entry is normal, of known mean and deviation."""

    mean, deviation = 0.2, 0.1

    def forward(self, noisy, log_snr):
        alpha, sigma = alpha_sigma(log_snr)
        return sigma * (noisy - alpha * self.mean) / (alpha**2 * self.deviation**2 + sigma**2)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpm", 2)])
def test_samplers_follow_the_probability_flow(sampler, order):
    """Of normal images the flow is a line, from which each sampler departs as its order says."""

    def marginal(time):
        alpha, sigma = alpha_sigma(image_schedule().get_condition(time))
        return alpha * Exact.mean, (alpha**2 * Exact.deviation**2 + sigma**2).sqrt()

    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    errors = []
    for steps in (20, 40, 80):
        times = torch.linspace(0.9, 0.1, steps + 1)[:, None].expand(-1, 2)
        mean, deviation = marginal(times[0])
        images, step = mean + deviation * noise, sampler_step(sampler, torch.randn)
        for time, following in pairwise(times):
            clean = predict_image(Exact(), images, time, None, 1.0)
            images = step(images, clean, time, following)
        mean, deviation = marginal(times[-1])
        errors.append(float((images - mean - deviation * noise).abs().mean()))
    assert errors[0] < 0.02
    for coarse, fine in pairwise(errors):
        assert 0.8 * 2**order < coarse / fine < 1.4 * 2**order


@pytest.mark.parametrize("sampler", ["sde", "ddim", "dpm"])
def test_few_steps_leave_no_noise_in_the_sample(sampler):
    """All of it would be in an ancestral sample: the schedule does not end at zero noise."""
    model = Exact()
    model.deviation = 0.0
    settings = SamplingSettings(sampler=sampler, steps=10)
    images = denoise(model, (2, 4, 16, 16), torch.randn, settings)
    torch.testing.assert_close(images, torch.full_like(images, model.mean), atol=1e-4, rtol=0)
    library = denoise(model, (2, 4, 16, 16), torch.randn, SamplingSettings(steps=200))
    assert library.std() > 0.005


@pytest.mark.parametrize(("sampler", "steps"), [("ancestral", 200), ("sde", 50)])
def test_samples_have_the_right_distribution(sampler, steps):
    torch.manual_seed(0)
    settings = SamplingSettings(sampler=sampler, steps=steps)
    images = denoise(Exact(), (4, 4, 32, 32), torch.randn, settings)
    assert abs(images.mean() - Exact.mean) < 0.005
    assert abs(images.std() - Exact.deviation) < 0.01


def test_the_first_step_of_sde_is_ancestral():
    """Without an estimate to lead on from, it is the distribution of the next image itself."""
    torch.manual_seed(0)
    noisy, clean, noise = torch.randn(3, 2, 4, 8, 8)
    times = torch.tensor([0.7, 0.3]), torch.tensor([0.5, 0.1])
    one, other = (
        sampler_step(name, lambda _: noise)(noisy, clean, *times) for name in ("ancestral", "sde")
    )
    torch.testing.assert_close(one, other)
