"""The published networks: their sizes, their wiring, and one step of their training."""

import importlib
from importlib.util import find_spec

import numpy as np
import pytest

if find_spec("tensorflow") is None:  # to import it would take seconds here
    pytest.skip("the adversarial networks are TensorFlow's", allow_module_level=True)

from crystens_flows.datasets import shipped
from crystens_flows.generators.adversarial import networks
from crystens_flows.generators.adversarial.adversary import not_trainable
from crystens_flows.generators.adversarial.gan import GanAdversary
from crystens_flows.generators.adversarial.library import import_keras, to_images, to_tensors
from crystens_flows.generators.adversarial.settings import GanSettings, WganSettings
from crystens_flows.generators.adversarial.wgan import WganAdversary

SEED = np.random.SeedSequence(0)
BATCH = {"normalization": "batch"}


@pytest.fixture(scope="module")
def plain():
    """Return the networks and their training, written down plainly."""
    return importlib.import_module("plain_adversarial")


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def randomise(model):
    """Give all weights, biases and moving statistics too, values that differ."""
    rng = np.random.default_rng(3)
    for variable in model.weights:
        scale = 2.0 / np.sqrt(np.prod(variable.shape[:-1]) or 1) if variable.ndim > 1 else 0.1
        offset = 1.0 if variable.path.endswith(("gamma", "moving_variance")) else 0.0
        variable.assign(offset + scale * rng.uniform(-1, 1, variable.shape))


def same_start(plain_model, model):
    """Give the plain network the weights of ours, of which some kernels lack an axis of one."""
    values = {v.path: v for v in model.weights}
    assert len(values) == len(plain_model.weights)
    for variable in plain_model.weights:
        variable.assign(np.reshape(values[variable.path], variable.shape))


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        ("gan_discriminator", 21_469_948),
        ("gan_generator", 10_462_041),
        ("wgan_critic", 508_113),
        ("wgan_generator", 1_060_129),
    ],
)
@pytest.mark.parametrize("arguments", [{}, BATCH])
def test_networks_are_the_published_ones(plain, build, parameters, arguments):
    """In size, and in what they make of an input: that of the layers written down plainly."""
    if arguments and build.startswith("gan"):
        pytest.skip("the GAN has one normalisation")
    ours = getattr(networks, build)(SEED, **arguments)
    other = getattr(plain, build)(**arguments)
    assert count(ours.trainable_variables) == parameters
    assert count(other.trainable_variables) == parameters
    randomise(ours)
    same_start(other, ours)
    x = np.random.default_rng(1).random((1, *ours.input_shape[1:]), dtype=np.float32)
    made = ours(x, training=False).numpy()
    assert made.std() > 3e-3 or made.size == 1
    np.testing.assert_allclose(made, other(x, training=False).numpy(), rtol=1e-4, atol=1e-5)


def test_the_generators_make_crystens():
    for build in (networks.gan_generator, networks.wgan_generator):
        model = build(SEED, 0.25, 7)
        assert model.input_shape == (None, 7)
        assert model.output_shape == (None, 64, 64, 4, 1)


def test_images_are_turned_not_scrambled():
    tensors = next(shipped().crystens_batches(range(5)))
    images = to_images(tensors)
    assert images.shape == (5, 64, 64, 4, 1)
    for layer, row, column in ((0, 20, 13), (3, 13, 12), (2, 5, 14)):
        assert np.array_equal(images[:, row, column, layer, 0], tensors[:, layer, row, column])
    assert np.array_equal(to_tensors(images), tensors)


def test_initial_weights_depend_on_the_seed_alone():
    first, again, other = (
        [v.numpy() for v in networks.wgan_critic(np.random.SeedSequence(s), 0.25).weights]
        for s in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    kernels = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim > 1]
    assert len(kernels) == 2 * 13  # weights, and the vectors of the spectral normalisation
    assert not any(np.array_equal(a, b) for a, b in kernels)


def test_a_network_held_fixed_keeps_its_statistics():
    model = networks.gan_discriminator(SEED, 0.05)
    images = np.random.default_rng(0).random((2, 64, 64, 4, 1), dtype=np.float32)
    before = [v.numpy() for v in model.weights]
    with not_trainable(model):
        assert not model.trainable_variables
        model(images, training=True)
    assert all(np.array_equal(a, v) for a, v in zip(before, model.weights, strict=True))
    model(images, training=True)
    changed = {
        v.path.split("/")[-1]
        for a, v in zip(before, model.weights, strict=True)
        if not np.array_equal(a, v)
    }
    assert changed == {"moving_mean", "moving_variance"}


@pytest.fixture
def eager():
    """Take graphs as the functions they are made of, for building them takes long."""
    tf, _ = import_keras()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def crystals(rows):
    return to_images(next(shipped().crystens_batches(rows)))


def same_dropout(plain_model, rng):
    plain_model.get_layer("dropout").seed_generator.state.assign(rng.integers(0, 2**31, 2))


def weights(model):
    """Return the trained weights of a network by name."""
    return {v.path: v.numpy() for v in model.trainable_variables}


def disagreement(model, before, other):
    """Return how far apart the weights of two networks are, beside how far they went."""
    after, theirs = weights(model), {v.path: v.numpy() for v in other.weights}
    apart = sum(((theirs[k].reshape(v.shape) - v) ** 2).sum() for k, v in after.items())
    went = sum(((before[k] - v) ** 2).sum() for k, v in after.items())
    return np.sqrt(apart / went)


def test_a_step_of_the_gan_is_that_of_a_plain_loop(plain, eager):
    """
    Both go down the gradient itself.

    Batch normalisation takes out what the biases before it add, so that their gradient is the
    rounding of zero; Adam would make of it steps as long as any, in the one and in the other.
    """
    _, keras = import_keras()
    adversary = GanAdversary(GanSettings(width=0.1, batch_size=8), seed=4)
    models = adversary.models["generator"], adversary.models["discriminator"]
    adversary.optimizers = {name: keras.optimizers.SGD(1e-3) for name in adversary.models}
    other = plain.PlainGan(0.1, [keras.optimizers.SGD(1e-3) for _ in models])
    others = other.generator, other.discriminator
    for mine, theirs in zip(models, others, strict=True):
        randomise(mine)
        same_start(theirs, mine)
    before = [weights(model) for model in models]
    losses = adversary.step(40, crystals, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    same_dropout(other.discriminator, rng)
    rows = rng.integers(0, 40, 8)
    expected = other.step(crystals(rows), *rng.standard_normal((2, 8, 128), dtype=np.float32))
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    for mine, start, theirs in zip(models, before, others, strict=True):
        assert disagreement(mine, start, theirs) < 0.02


@pytest.mark.parametrize("normalization", ["spectral", "batch"])
def test_a_step_of_the_wgan_is_that_of_a_plain_loop(plain, eager, normalization):
    _, keras = import_keras()
    settings = WganSettings(width=0.25, batch_size=2, critic_steps=2, normalization=normalization)
    adversary = WganAdversary(settings, seed=4)
    models = adversary.models["generator"], adversary.models["critic"]
    adam = [keras.optimizers.Adam(1e-4, beta_1=0.0, beta_2=0.9) for _ in models]
    other = plain.PlainWgan(0.25, adam, normalization)
    others = other.generator, other.critic
    for mine, theirs in zip(models, others, strict=True):
        same_start(theirs, mine)
    before = [weights(model) for model in models]
    losses = adversary.step(40, crystals, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    same_dropout(other.critic, rng)
    of_critic = []
    for _ in range(2):
        real = crystals(rng.integers(0, 40, 2))
        noise = rng.standard_normal((2, 128), dtype=np.float32)
        places = rng.random((2, 1, 1, 1, 1), dtype=np.float32)
        of_critic.append(other.critic_step(real, noise, places))
    of_generator = other.generator_step(rng.standard_normal((2, 128), dtype=np.float32))
    np.testing.assert_allclose(losses[:4], np.mean(of_critic, axis=0), rtol=1e-3, atol=1e-4)
    assert losses[4] == pytest.approx(float(of_generator), rel=1e-3, abs=1e-4)
    for mine, start, theirs in zip(models, before, others, strict=True):
        assert disagreement(mine, start, theirs) < 0.02


def test_optimizers_are_the_published_ones():
    for kind, settings, name in (
        (GanAdversary, GanSettings(width=0.05), "discriminator"),
        (WganAdversary, WganSettings(width=0.25), "critic"),
    ):
        optimizers = kind(settings, 0).optimizers
        assert set(optimizers) == {"generator", name}
        for optimizer in optimizers.values():
            found = optimizer.get_config()
            assert found["name"] == "adam"
            expected = (1e-5, 0.9, 0.999) if kind is GanAdversary else (1e-4, 0.0, 0.9)
            given = found["learning_rate"], found["beta_1"], found["beta_2"]
            assert given == pytest.approx(expected)
