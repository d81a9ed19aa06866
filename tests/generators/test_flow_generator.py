"""The default generator: training, resuming, sampling."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Composition

from crystens_flows.errors import CheckpointError, DatasetError, InputError, OutputFolderError
from crystens_flows.generators import load_generator, train_generator
from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.flow.generator import FlowGenerator
from crystens_flows.generators.flow.specification import (
    _allowed,
    sample_specifications_of,
    tokenise,
)
from crystens_flows.representation import decode


def test_loads_what_was_saved(trained, trained_folder):
    again = FlowGenerator.load(trained_folder)
    assert again.sha256 == trained.sha256
    assert again.card["data"] == "76 crystals"
    assert np.array_equal(again.sample(2, seed=1), trained.sample(2, seed=1))


def test_a_sample_depends_on_seed_and_index_alone(trained):
    whole = trained.sample(11, seed=5)
    chunks = [trained.sample(n, seed=5, start=s) for s, n in ((0, 1), (1, 7), (8, 3))]
    assert np.array_equal(whole, np.concatenate(chunks))
    assert not np.array_equal(whole, trained.sample(11, seed=6))


def test_samples_decode_to_what_was_specified(trained):
    tensors = trained.sample(8, seed=0)
    assert tensors.shape == (8, 4, 64, 64)
    assert tensors.dtype == np.float32
    for decoded in decode(tensors):
        assert decoded.structure is not None, decoded.reason
        assert decoded.consistency.as_dict().values()
        assert max(v for v in decoded.consistency.as_dict().values() if v is not None) < 1e-3


@pytest.mark.parametrize("formula", ["NaF", "SnYF3", "Ca(TiO3)"])
def test_samples_of_a_formula_have_it(formula):
    generator = load_generator("default")
    tensors = generator.sample(4, seed=0, conditions=Conditions(formula=formula))
    for decoded in decode(tensors):
        assert decoded.structure.composition.reduced_composition == Composition(formula)
    again = generator.sample(2, 0, 1, conditions=Conditions(formula=formula))
    assert np.array_equal(again, tensors[1:3])


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        *((text, "is no formula") for text in ("", "Xx2", "NaF0.333", "Na F!")),
        ("LrF3", "elements up to Z = "),
        ("CH4(CH2)30", "makes at most 52"),
    ],
)
def test_refuses_what_is_no_formula(trained, formula, reason):
    with pytest.raises(InputError, match=reason):
        trained.sample(1, seed=0, conditions=Conditions(formula=formula))


def test_a_formula_is_drawn_from_the_conditional_distribution(trained):
    """Of the sequences the model can write, one after the other by hand."""
    model, order = trained.specification, trained.specification.order.cpu().numpy()

    def probability(numbers, group):
        tokens, result = tokenise(np.array(numbers), group, order), 1.0
        for place in range(1, len(tokens)):
            with torch.no_grad():
                logits = model(torch.tensor([tokens[:place]]))[0, -1].numpy()
            weights = np.exp(logits) * _allowed(tokens[:place], order)
            result *= weights[tokens[place]] / weights.sum()
        return result

    expected = {  # U3Sn9: units of 4 sites, of which 13 fit
        (group, units): probability([92, 50, 50, 50] * units, group)
        for group in (1, 62, 140, 221, 225)
        for units in (1, 2, 4, 13)
    }
    streams = [np.random.default_rng([3, k]) for k in range(20_000)]
    drawn = Counter(
        (each.space_group, sum(each.counts) // 4)
        for each in sample_specifications_of(model, "USn3", streams, 1.0)
    )
    among = sum(drawn[key] for key in expected)
    assert among > 200
    total = sum(expected.values())
    for key, p in expected.items():
        share = p / total
        assert abs(drawn[key] - among * share) < 5 * np.sqrt(among * share) + 5, key


def test_refuses_negative_numbers(trained):
    with pytest.raises(InputError, match="negative"):
        trained.sample(-1, seed=0)
    with pytest.raises(InputError, match="negative"):
        trained.sample(1, seed=-1)


def test_interrupted_training_goes_on(few_crystals, tmp_path, monkeypatch):
    def interrupt(done, _):
        if done == 9:
            raise KeyboardInterrupt

    # write the state at each step, as a long training does every two minutes
    monkeypatch.setattr("crystens_flows.generators.trainer.SAVE_SECONDS", 0.0)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        FlowGenerator.fit(few_crystals, folder, steps=6, progress=interrupt)
    seen = []
    FlowGenerator.fit(few_crystals, folder, steps=6, progress=lambda done, _: seen.append(done))
    assert seen[0] == 10
    assert seen[-1] == 12
    curve = [json.loads(s) for s in (folder / "flow-learning-curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curve] == [6]


def test_names_a_damaged_training_state(few_crystals, tmp_path):
    FlowGenerator.fit(few_crystals, tmp_path / "run", steps=2)
    (tmp_path / "run" / "specification-state.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"specification-state\.pt cannot be continued"):
        FlowGenerator.fit(few_crystals, tmp_path / "run", steps=2)


def test_another_training_does_not_enter_the_same_folder(few_crystals, tmp_path):
    folder = tmp_path / "run"
    first = FlowGenerator.fit(few_crystals, folder, steps=2)
    with pytest.raises(OutputFolderError, match="seed 0, not 5"):
        FlowGenerator.fit(few_crystals, folder, steps=2, seed=5)
    fewer = {**few_crystals.split, "train": few_crystals.split["train"][:40]}
    with pytest.raises(OutputFolderError, match="data_sha256"):
        FlowGenerator.fit(replace(few_crystals, split=fewer), folder, steps=2)
    assert FlowGenerator.load(folder).sha256 == first.sha256


def test_names_a_missing_split(few_crystals, tmp_path):
    tmp_path = tmp_path / "run"
    with pytest.raises(DatasetError, match="split 'validation'"):
        FlowGenerator.fit(
            replace(few_crystals, split={"train": few_crystals.split["train"]}), tmp_path, steps=2
        )
    assert not tmp_path.exists()


def test_names_an_unknown_generator(tmp_path):
    with pytest.raises(InputError, match=r"unknown generator 'dcgan'.*default"):
        train_generator("dcgan", None, tmp_path)


def test_the_shipped_generator_is_what_its_card_says():
    generator = load_generator("default")
    assert generator.kind == "flow"
    assert generator.card["split"]["train"] > 10_000
    assert "CC BY 4.0" in generator.card["data"]
    assert generator.card["metrics"]["structurally_valid"] >= 0.95
    assert generator.card["metrics"]["smact_valid"] >= 0.75


def test_the_shipped_generator_makes_valid_crystals():
    from crystens_flows.screening.validity import structural_validity

    decoded = decode(load_generator("default").sample(24, seed=1))
    valid = [d.structure is not None and structural_validity(d.structure) is None for d in decoded]
    assert sum(valid) >= 22
