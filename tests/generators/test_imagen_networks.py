"""The networks of the diffusion model, and importing the library they come from."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from imagen_examples import TINY
from pydantic import ValidationError

from crystens_flows.errors import MissingExtraError
from crystens_flows.generators.imagen.library import import_imagen
from crystens_flows.generators.imagen.networks import (
    NETWORKS,
    build_network,
)
from crystens_flows.generators.imagen.norms import use_faster_norms
from crystens_flows.generators.imagen.settings import (
    DEFAULT_STEPS,
    BaseSettings,
    ImagenSettings,
)

pytest.importorskip("accelerate", reason="needs the extra imagen")

WORKFLOWS = Path(__file__).parents[2] / "workflows"
NO_NETWORK = """
import socket, sys

def refuse(*arguments, **options):
    raise AssertionError("asked for the network")

socket.socket.connect = socket.getaddrinfo = refuse
from crystens_flows.generators.imagen.library import import_imagen
print(import_imagen().Unet.__name__)
from transformers import T5Config
assert "from_pretrained" not in vars(T5Config)
"""


def test_imports_without_a_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK],
        capture_output=True,
        text=True,
        env={"PATH": "", "HOME": str(tmp_path), "HF_HOME": str(tmp_path)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Unet\n"


@pytest.mark.parametrize("absent", ["transformers", "imagen_pytorch", "kornia"])
def test_names_the_extra_that_is_missing(absent, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "imagen_pytorch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'crystens-flows\[imagen\]'"):
        import_imagen()


def test_parameters_are_as_many_as_the_published_networks_have():
    counts = {
        name: sum(p.numel() for p in build(ImagenSettings(), "meta").parameters())
        for name, build in NETWORKS.items()
    }
    assert {name: round(n / 1e6, 1) for name, n in counts.items()} == {
        "base": 269.8,
        "super_resolution": 727.8,
    }


def test_the_workflow_files_are_what_they_say():
    read = {
        name: yaml.safe_load((WORKFLOWS / f"{name}-imagen.yaml").read_text())
        for name in ("paper", "small")
    }
    settings = {name: ImagenSettings(**file["settings"]) for name, file in read.items()}
    assert settings["paper"] == ImagenSettings(downscale="nearest")
    assert read["paper"]["steps"] == DEFAULT_STEPS
    for build in NETWORKS.values():
        assert sum(p.numel() for p in build(settings["small"], "meta").parameters()) < 6e6


@pytest.mark.parametrize("conditioned", [False, True])
def test_every_parameter_that_is_trained_has_a_gradient(conditioned, capsys):
    network = build_network(BaseSettings(**TINY), conditioned=conditioned)
    images, ratio = torch.randn(2, 4, 16, 16), torch.zeros(2)
    shown = {"lowres_cond_img": images, "lowres_noise_times": ratio} if conditioned else {}
    network(images, ratio, **shown).square().sum().backward()
    named = dict(network.named_parameters())
    assert {n for n, p in named.items() if p.grad is None} == {
        n for n, p in named.items() if not p.requires_grad
    }
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("conditioned", [False, True])
def test_faster_norms_change_rounding_alone(conditioned):
    torch.manual_seed(0)
    settings = BaseSettings(**{**TINY, "use_linear_attn": True})
    network = build_network(settings, conditioned=conditioned).eval()
    torch.nn.init.normal_(network.final_conv.weight)
    plain = import_imagen().Unet(
        **settings.model_dump(), channels=4, lowres_cond=conditioned, cond_on_text=False
    )
    plain.load_state_dict(network.state_dict())
    plain.eval()
    images, ratio = torch.randn(2, 4, 16, 16), torch.linspace(-2, 2, 2)
    shown = {"lowres_cond_img": images, "lowres_noise_times": ratio} if conditioned else {}
    results = {}
    for kind, model in (("own", network), ("library", plain)):
        found = model(images, ratio, **shown)
        found.square().mean().backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        results[kind] = [found, *grads]
    classes = {type(module).__name__ for module in network.modules()}
    assert {"FasterRMSNorm", "FasterLayerNorm"} <= classes
    assert not {"ChanRMSNorm", "LayerNorm"} & (classes - {type(network.norm_cond).__name__})
    torch.testing.assert_close(results["own"], results["library"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("conditioned", [False, True])
def test_networks_compute_in_half_precision(conditioned):
    """As they are trained on a GPU."""
    torch.manual_seed(0)
    settings = BaseSettings(**{**TINY, "use_linear_attn": True})
    network = build_network(settings, conditioned=conditioned).eval()
    torch.nn.init.normal_(network.final_conv.weight)
    images, ratio = torch.randn(2, 4, 16, 16), torch.zeros(2)
    shown = {"lowres_cond_img": images, "lowres_noise_times": ratio} if conditioned else {}
    expected = network(images, ratio, **shown)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(images, ratio, **shown)
    found.float().square().mean().backward()
    assert (found - expected).square().mean() < 1e-3 * expected.square().mean()
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ChanRMSNorm", {"dim": 6}),
        ("LayerNorm", {"feats": 6}),
        ("LayerNorm", {"feats": 6, "dim": -3}),
    ],
)
def test_each_norm_is_the_librarys(name, options):
    torch.manual_seed(0)
    images = 3 * torch.randn(2, 6, 5, 6) + 1
    images[:, :, 0, 0] = 0  # as padding may be
    plain = getattr(import_imagen().imagen_pytorch, name)(**options)
    torch.nn.init.normal_(next(plain.parameters()))
    expected = plain(images)
    use_faster_norms(plain)
    assert type(plain).__name__ != name
    torch.testing.assert_close(plain(images), expected)
    half = plain(images.bfloat16())
    torch.testing.assert_close(half.float(), expected, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_resnet_blocks": (1, 2, 3)}, "3 values for the 2 levels"),
        ({"dim": 12}, "multiple of 8"),
        ({"dim_mults": ()}, "at least 1 item"),
    ],
)
def test_refuses_sizes_that_do_not_fit(changes, words):
    with pytest.raises(ValidationError, match=words):
        BaseSettings(**{**TINY, **changes})
