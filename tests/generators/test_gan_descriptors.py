"""The adversarial generators with layers of chemical descriptors."""

from importlib.util import find_spec

import numpy as np
import pytest
from pymatgen.core import Element

from trainings import only_with_trainings

if find_spec("tensorflow") is None:  # to import it would take seconds here
    pytest.skip("the adversarial networks are TensorFlow's", allow_module_level=True)

from crystens_flows.errors import CheckpointError, InputError, OutputFolderError
from crystens_flows.generators import generator_class, load_generator
from crystens_flows.generators.adversarial import networks
from crystens_flows.generators.adversarial.generator import GanGenerator, WganGenerator
from crystens_flows.generators.adversarial.library import import_keras
from crystens_flows.generators.adversarial.settings import GanSettings
from crystens_flows.generators.checkpoints import read_checkpoint, write_checkpoint
from crystens_flows.generators.imagen.data import load_crystals

NAMES = ["group", "electronegativity"]
TINY = {
    "gan": {"width": 0.05, "batch_size": 2},
    "wgan": {"width": 0.25, "batch_size": 2, "critic_steps": 1},
}
CLASSES = {"gan": GanGenerator, "wgan": WganGenerator}
SEED = np.random.SeedSequence(0)


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Take graphs as the functions they are made of, for building them takes long."""
    tf, _ = import_keras()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module", params=["gan", pytest.param("wgan", marks=only_with_trainings)])
def folder(request, few_crystals, tmp_path_factory):
    """Return the folder of a training of one step with two descriptors."""
    path = tmp_path_factory.mktemp(request.param) / "run"
    settings = {**TINY[request.param], "descriptors": NAMES}
    CLASSES[request.param].fit(few_crystals, path, steps=1, settings=settings)
    return path


def test_networks_learn_descriptors_and_samples_are_without(folder):
    generator = load_generator(folder)
    assert generator.architecture["descriptors"] == NAMES
    assert generator.card["settings"]["descriptors"] == NAMES
    assert generator.network.output_shape == (None, 64, 64, 6, 1)
    whole = generator.sample(17, seed=5)
    assert whole.shape == (17, 4, 64, 64)
    assert whole.dtype == np.float32
    assert len({tensor.tobytes() for tensor in whole}) == 17
    again = load_generator(folder)
    assert again.sha256 == generator.sha256
    chunks = [again.sample(n, 5, start) for start, n in ((0, 3), (3, 14))]
    assert np.array_equal(whole, np.concatenate(chunks))
    noise = np.stack([np.random.default_rng([5, k]).standard_normal(128, "f") for k in range(16)])
    images = generator.network(noise, training=False).numpy()
    for layer in range(4):
        np.testing.assert_allclose(whole[:16, layer], images[..., layer, 0], atol=1e-6)


def test_an_altered_list_is_named(folder, tmp_path):
    kind = load_generator(folder).kind
    config, card, weights, _ = read_checkpoint(folder, kind, "numpy")
    for names in (["group"], [], ["group", "colour"]):
        altered = config | {"architecture": config["architecture"] | {"descriptors": names}}
        write_checkpoint(tmp_path, kind, altered, card, weights)
        with pytest.raises(CheckpointError, match="does not fit this version's"):
            load_generator(tmp_path)


def test_without_descriptors_checkpoints_are_what_they_were(few_crystals, tmp_path):
    """Also where the list is given and empty: the SHA-256 is of weights and configuration."""
    settings = {**TINY["gan"], "descriptors": []}
    given = GanGenerator.fit(few_crystals, tmp_path / "a", steps=1, settings=settings)
    assert GanSettings(**settings).model_dump() == GanSettings(**TINY["gan"]).model_dump()
    assert given.architecture == {"width": 0.05, "latent_dim": 128}
    assert "descriptors" not in given.card["settings"]
    with pytest.raises(OutputFolderError, match=r"descriptors None, not \['group'\]"):
        GanGenerator.fit(
            few_crystals, tmp_path / "a", settings={**TINY["gan"], "descriptors": ["group"]}
        )


def test_a_training_with_descriptors_is_not_gone_on_with_without(folder, few_crystals):
    kind = load_generator(folder).kind
    with pytest.raises(OutputFolderError, match=r"descriptors \['group', 'electronegativity'\], n"):
        CLASSES[kind].fit(few_crystals, folder, steps=2, settings=TINY[kind])


@pytest.mark.parametrize("kind", ["gan", "wgan", "imagen"])
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["group", "colour"], "'colour' is no descriptor: known are group, period, block, "),
        (["group", "group"], "the descriptor 'group' is given twice"),
        ("group", "input should be a valid tuple"),
    ],
)
def test_unknown_names_are_refused(few_crystals, tmp_path, kind, names, words):
    with pytest.raises(InputError) as caught:
        generator_class(kind).fit(
            few_crystals, tmp_path / "run", steps=1, settings={"descriptors": names}
        )
    assert f"settings of '{kind}': descriptors {words}" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_is_learnt_has_the_descriptors_of_each_site(few_crystals, folder):
    """Also of crystals that an earlier start has kept."""
    plain = load_crystals(few_crystals, folder, write=False)["train"]
    learnt = load_crystals(few_crystals, folder, NAMES, write=False)["train"]
    rows = np.arange(0, 60, 7)
    tensors = learnt.tensors(rows)
    assert np.array_equal(tensors[:, :4], plain.tensors(rows))
    for tensor, numbers in zip(tensors, plain.data.numbers[rows], strict=True):
        sites = [Element.from_Z(int(z)) for z in numbers if z > 0]
        diagonal = tensor[4:, range(12, 64), range(12, 64)]
        expected = np.zeros((2, 52))
        expected[:, : len(sites)] = [[e.group / 18 for e in sites], [e.X / 4 for e in sites]]
        np.testing.assert_allclose(diagonal, expected, rtol=1e-6)
    assert tensors.min() >= 0
    assert tensors.max() <= 1


@pytest.mark.parametrize(("n_layers", "seen"), [(4, 3), (5, 5), (6, 6), (7, 7)])
def test_every_layer_is_judged(n_layers, seen):
    """All but the fourth of the published critic, of which the strides leave that one out."""
    tf, _ = import_keras()
    critic = networks.wgan_critic(SEED, 0.25, n_layers=n_layers)
    images = tf.constant(np.random.default_rng(0).random((1, 64, 64, n_layers, 1), dtype="f"))
    with tf.GradientTape() as tape:
        tape.watch(images)
        judged = critic(images, training=False)
    gradient = np.abs(tape.gradient(judged, images).numpy()).max(axis=(0, 1, 2, 4))
    assert (gradient > 0).tolist() == [True] * seen + [False] * (n_layers - seen)


@pytest.mark.parametrize("build", ["gan_discriminator", "gan_generator", "wgan_generator"])
def test_other_networks_take_any_number_of_layers(build):
    for n_layers in (5, 6):
        model = getattr(networks, build)(SEED, 0.05, n_layers=n_layers)
        shape = model.input_shape if build == "gan_discriminator" else model.output_shape
        assert shape == (None, 64, 64, n_layers, 1)
