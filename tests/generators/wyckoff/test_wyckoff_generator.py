"""The generator of symmetric crystals: training, going on, sampling, what is asked for."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.util.coord import pbc_shortest_vectors

from crystens_flows.errors import CheckpointError, DatasetError, InputError, OutputFolderError
from crystens_flows.generators import load_generator, train_generator
from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.wyckoff import generator as module
from crystens_flows.generators.wyckoff.generator import WyckoffGenerator
from crystens_flows.generators.wyckoff.positions import space_group
from crystens_flows.representation import decode
from crystens_flows.representation.space_group import symmetry_dataset
from crystens_flows.screening.validity import structural_validity

STEPS = 5


@pytest.fixture(scope="module")
def folder(fewer_crystals, tmp_path_factory):
    """Return the folder of a checkpoint trained for a few steps."""
    place = tmp_path_factory.mktemp("wyckoff")
    WyckoffGenerator.fit(fewer_crystals, place, data="32 crystals", seed=3, steps=STEPS)
    return place


@pytest.fixture(scope="module")
def generator(folder):
    """Return the generator of `folder`."""
    return load_generator(folder)


def curve(folder: Path, name: str) -> list[dict]:
    """Read a learning curve, but for times."""
    lines = (folder / f"{name}-learning-curve.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_loads_what_was_saved(generator, folder):
    assert generator.kind == "wyckoff"
    assert generator.card["steps"] == {"recall": 1, "specification": 4, "flow": STEPS}
    again = load_generator(folder)
    assert again.sha256 == generator.sha256
    assert np.array_equal(again.sample(2, seed=1), generator.sample(2, seed=1))


def test_a_sample_depends_on_seed_and_index_alone(generator):
    whole = generator.sample(11, seed=5)
    chunks = [generator.sample(n, seed=5, start=s) for s, n in ((0, 1), (1, 7), (8, 3))]
    assert np.array_equal(np.concatenate(chunks), whole)
    assert not np.array_equal(whole, generator.sample(11, seed=6))
    assert generator.sample(0, seed=5).shape == (0, 4, 64, 64)


def test_weights_in_half_precision_leave_samples_to_seed_and_index():
    """Sites of this sample come to lie half a cell apart, where a rounded 2 pi made a jump."""
    shipped = load_generator("default")
    among_others, alone = shipped.sample_crystals(7, seed=3)[6], shipped.sample_crystals(1, 3, 6)[0]
    assert np.abs(among_others.coordinates - alone.coordinates).max() < 1e-12
    assert np.abs(among_others.lattice - alone.lattice).max() < 1e-12


def test_samples_decode_and_have_the_space_group_they_state(generator):
    """Or one that contains it, where free coordinates come to lie in a special place."""
    for decoded in decode(generator.sample(12, seed=0)):
        assert decoded.structure is not None, decoded.reason
        structure = decoded.structure
        metric = structure.lattice.matrix @ structure.lattice.matrix.T
        group = space_group(decoded.space_group)
        for rotation, translation in zip(group.rotations, group.translations, strict=True):
            assert np.allclose(rotation.T @ metric @ rotation, metric, atol=1e-3)
            moved = structure.frac_coords @ rotation.T + translation
            _, squared = pbc_shortest_vectors(
                structure.lattice, moved, structure.frac_coords, return_d2=True
            )
            assert squared.min(1).max() < 1e-5
            assert [structure[k].specie for k in squared.argmin(1)] == structure.species
        found = symmetry_dataset(
            structure.lattice.matrix,
            structure.frac_coords,
            [site.specie.Z for site in structure],
            1e-3,
        )
        assert found is not None
        assert len(found.rotations) >= len(group.rotations)


@pytest.mark.parametrize(
    "asked",
    [
        {"formula": "SrTiO3", "space_group": 221},
        {"formula": "NaF"},
        {"chemical_system": "Li-O", "n_sites": 6},
        {"formation_energy_per_atom": -3.0, "band_gap": 4.0},
        {"formula": "MgO", "formation_energy_per_atom": -3.0},
    ],
)
def test_gives_what_is_asked_for(generator, asked):
    tensors = generator.sample(4, seed=2, conditions=Conditions(**asked))
    for decoded in decode(tensors):
        structure = decoded.structure
        if "formula" in asked:
            assert structure.composition.reduced_composition == Composition(asked["formula"])
        if "chemical_system" in asked:
            assert structure.chemical_system == asked["chemical_system"]
        if "n_sites" in asked:
            assert len(structure) == asked["n_sites"]
        if "space_group" in asked:
            assert decoded.space_group == asked["space_group"]
    again = generator.sample(2, seed=2, start=1, conditions=Conditions(**asked))
    assert np.array_equal(again, tensors[1:3])


def test_what_the_data_did_not_have_cannot_be_asked_for(fewer_crystals, tmp_path):
    unknown = np.full(len(fewer_crystals), np.nan)
    data = replace(fewer_crystals, formation_energy_per_atom=unknown, band_gap=unknown)
    made = WyckoffGenerator.fit(data, tmp_path / "run", steps=1)
    assert made.takes == {"formula", "chemical_system", "n_sites", "space_group"}
    asked = Conditions(formula="NaF", formation_energy_per_atom=-3.0)
    with pytest.raises(InputError, match="crystals of unknown formation_energy_per_atom: ask for"):
        made.sample(1, seed=0, conditions=asked)
    assert len(made.sample(1, seed=0, conditions=Conditions(formula="NaF"))) == 1


def test_many_are_sampled_a_part_at_a_time(generator, monkeypatch):
    whole = generator.sample(5, seed=4)
    seen = []
    monkeypatch.setattr(module, "MAX_TOGETHER", 2)
    parts = generator.sample(5, seed=4, progress=lambda done, total: seen.append((done, total)))
    assert np.array_equal(parts, whole)
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_names_what_cannot_be_loaded_or_trained(generator, folder, fewer_crystals, tmp_path):
    with pytest.raises(InputError, match="negative"):
        generator.sample(-1, seed=0)
    only = fewer_crystals.split["train"]
    with pytest.raises(DatasetError, match="split 'validation'"):
        WyckoffGenerator.fit(
            replace(fewer_crystals, split={"train": only}), tmp_path / "a", steps=1
        )
    assert not (tmp_path / "a").exists()
    with pytest.raises(InputError, match=r"unknown generator 'dcgan'.*default"):
        train_generator("dcgan", None, tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "card.json"):
        (copy / name).write_text((folder / name).read_text())
    (copy / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        load_generator(copy)


def test_names_a_damaged_training_state_and_a_folder_of_another(fewer_crystals, tmp_path):
    place = tmp_path / "run"
    first = WyckoffGenerator.fit(fewer_crystals, place, steps=1)
    with pytest.raises(OutputFolderError, match="seed 0, not 5"):
        WyckoffGenerator.fit(fewer_crystals, place, steps=1, seed=5)
    fewer = {**fewer_crystals.split, "train": fewer_crystals.split["train"][:16]}
    with pytest.raises(OutputFolderError, match="data_sha256"):
        WyckoffGenerator.fit(replace(fewer_crystals, split=fewer), place, steps=1)
    assert WyckoffGenerator.load(place).sha256 == first.sha256
    (place / "specification-state.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"specification-state\.pt cannot be continued"):
        WyckoffGenerator.fit(fewer_crystals, place, steps=1)


def test_the_shipped_generator_is_what_its_card_says():
    generator = load_generator("default")
    assert generator.kind == "wyckoff"
    assert generator.card["split"]["train"] > 10_000
    assert "CC BY 4.0" in generator.card["data"]
    decoded = decode(generator.sample(24, seed=1))
    valid = [d.structure is not None and structural_validity(d.structure) is None for d in decoded]
    assert sum(valid) >= 23


def test_the_shipped_generator_makes_the_perovskite():
    conditions = Conditions(formula="SrTiO3", space_group=221)
    decoded = decode(load_generator("default").sample(12, seed=1, conditions=conditions))
    ideal = Structure.from_spacegroup(
        221, Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
    )
    matcher = StructureMatcher()
    assert all(d.structure.composition.reduced_formula == "SrTiO3" for d in decoded)
    assert sum(matcher.fit(d.structure, ideal) for d in decoded) >= 7


KILLED = """
import os, signal, sys
import numpy as np
import torch._dynamo  # as optimisers do, for seconds
from dataclasses import replace
from pathlib import Path
from crystens_flows.datasets import shipped
from crystens_flows.generators import trainer
from crystens_flows.generators.wyckoff.generator import WyckoffGenerator
from crystens_flows.generators.wyckoff.positions import space_group

trainer.SAVE_SECONDS = 0.0
data = shipped()
small = np.flatnonzero(data.n_sites <= 8)[:76]
few = replace(data, split={"train": small[:24], "validation": small[60:68]})

def progress(done, total):
    if done == last:
        os.kill(os.getpid(), signal.SIGKILL)

for last in (1, 3, 8, 0):  # each in a process that has trained nothing, but has all imports
    process = os.fork()
    if process == 0:
        folder = Path(sys.argv[1])
        WyckoffGenerator.fit(few, folder, data="32 crystals", seed=3, steps=5, progress=progress)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


@pytest.mark.slow
def test_a_training_that_was_killed_reaches_the_same_losses(folder, tmp_path):
    """Killed in each of the networks, after a step that was kept."""
    place = tmp_path / "run"
    place.parent.mkdir(exist_ok=True)
    run = subprocess.run(
        [sys.executable, "-c", KILLED, place], check=True, capture_output=True, text=True
    )
    assert run.stdout.split() == [str(-signal.SIGKILL)] * 3 + ["0"]
    for name in ("recall", "specification", "flow"):
        assert curve(place, name) == curve(folder, name)
    one, other = load_generator(folder), load_generator(place)
    assert one.sha256 == other.sha256


TOGETHER = """
import json, os
from pathlib import Path
import torch
from crystens_flows.generators import TrainingPaused, train_generator
from crystens_flows.generators.processes import Processes

def train(folder, **options):
    train_generator("default", "data.npz", Path(folder), seed=3, steps=4, **options)

def pause(done, total):
    if done in (1, 4):
        raise TrainingPaused(done, total)

if __name__ == "__main__":
    processes = Processes()
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad = torch.full((1, 2), 1.0 + processes.index)  # and none of the bias
    processes.average_gradients(layer.parameters())
    found = [layer.weight.grad.tolist(), layer.bias.grad.tolist()]
    train("run")
    rank, seen = os.environ["RANK"], []
    while len(seen) < 3:
        try:
            train("parts", progress=pause if rank == "0" else None)
            break
        except TrainingPaused as paused:
            seen.append(paused.done)
    Path("seen-" + rank).write_text(json.dumps([found, seen]))
"""


@pytest.mark.slow
def test_two_processes_train_together_and_pause_together(fewer_crystals, tmp_path):
    """Only the main process is told to pause, and it alone writes."""
    pytest.importorskip("accelerate", reason="accelerate joins the processes")
    fewer_crystals.save(tmp_path / "data.npz")
    (tmp_path / "train.py").write_text(TOGETHER)
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, "train.py"],
        cwd=tmp_path,
        env={**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        found, seen = json.loads((tmp_path / f"seen-{rank}").read_text())
        assert found == [[[1.5, 1.5]], [0.0]]
        assert seen == [1, 4]
    whole, parts = load_generator(tmp_path / "run"), load_generator(tmp_path / "parts")
    assert whole.card["processes"] == 2
    assert whole.sha256 == parts.sha256
    assert curve(tmp_path / "parts", "flow") == curve(tmp_path / "run", "flow")
    assert len(curve(tmp_path / "run", "flow")) == 1
