"""Settings of generators, as configuration files give them."""

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pydantic import Field

from crystens_flows.errors import InputError
from crystens_flows.generators import train_generator
from crystens_flows.generators.settings import Settings, read_settings
from crystens_flows.jobs import TrainMaker


class Inner(Settings):
    width: int = Field(2, ge=1)


class Outer(Settings):
    rate: float = 1e-3
    network: Inner = Inner()


def test_reads_values_and_keeps_defaults():
    assert read_settings(Outer, None, "x") == Outer()
    # PyYAML reads 1e-4, which has no point, as text
    read = read_settings(Outer, {"rate": "1e-4", "network": {"width": 3}}, "x")
    assert read == Outer(rate=1e-4, network=Inner(width=3))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"depth": 1}, "settings of 'x': depth is unknown: known are network, rate"),
        ({"network": {"depth": 1}}, "network.depth is unknown: known are width"),
        ({"network": {"width": 0}}, "network.width input should be greater than or equal to 1"),
        ({"network": 3}, "network input should be a valid dictionary"),
        ({"rate": "fast"}, "rate input should be a valid number"),
    ],
)
def test_names_what_is_wrong(values, words):
    with pytest.raises(InputError) as caught:
        read_settings(Outer, values, "x")
    assert words in str(caught.value)


def test_the_default_generator_has_no_settings(tmp_path):
    with pytest.raises(InputError, match="settings of 'wyckoff': depth is unknown: it has none"):
        train_generator("default", None, tmp_path / "run", settings={"depth": 3})
    assert not (tmp_path / "run").exists()


def test_the_job_passes_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = TrainMaker(settings={"depth": 3}).make()
    with pytest.raises(InputError, match="depth is unknown"):
        run_locally(job, store=JobStore(MemoryStore()), ensure_success=True, raise_immediately=True)
