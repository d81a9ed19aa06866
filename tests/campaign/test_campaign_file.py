"""What a campaign file may say, and what is said of one that cannot be taken."""

from __future__ import annotations

import pytest
import yaml
from campaign_managers import PAPER

from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.options import Part, flow_maker, kept_options, parts
from crystens_flows.errors import InputError
from crystens_flows.generators.conditions import Conditions
from crystens_flows.jobs import BatchRelaxMaker, QuadrupleRelaxMaker
from crystens_flows.screening.selection import SelectionRules


def test_what_is_not_said_is_as_for_a_run_in_one_folder(campaign_file):
    campaign = read_campaign(campaign_file())
    assert (campaign.backend, campaign.stages, campaign.store) == ("local", {}, None)
    assert campaign.options().model_dump() == {
        name: value
        for name, value in campaign.model_dump().items()
        if name not in ("backend", "default", "stages", "project", "launchpad", "folder")
    }
    maker = flow_maker(campaign.options())
    assert [screen.name for screen in maker.screen_makers] == [
        *("crystens validity", "crystens cgcnn", "crystens hull"),
    ]
    assert isinstance(maker.relax_maker, BatchRelaxMaker)
    assert (maker.relax_maker.steps, maker.tune_maker, maker.train_maker) == (2, None, None)


def test_settings_win_over_the_file(campaign_file):
    settings = ["n_samples=20", "screening.selection.n_select=2", "train.generator=gan"]
    campaign = read_campaign(campaign_file(), [*settings, "train.settings.width=0.25"])
    assert campaign.n_samples == 20
    assert campaign.screening.selection.n_select == 2
    assert campaign.screening.selection.n_pool == 3
    assert (campaign.train.generator, campaign.train.settings) == ("gan", {"width": 0.25})


def test_a_training_is_taken_from_its_own_file(campaign_file, tmp_path):
    training = {"generator": "gan", "steps": 1000, "settings": {"width": 0.5, "batch_size": 16}}
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    path = campaign_file(train={"config": "training.yaml", "seed": 2, "settings": {"width": 0.25}})
    train = read_campaign(path, ["train.steps=3"]).train
    assert train.model_dump() == {
        "generator": "gan",
        "steps": 3,
        "seed": 2,
        "data": None,
        "folder": "checkpoint",
        "settings": {"width": 0.25, "batch_size": 16},
        "walltime_minutes": None,
    }
    maker = flow_maker(read_campaign(path).options())
    assert (maker.train_maker.generator, maker.train_maker.steps) == ("gan", 1000)
    first, sample = maker.make(2).jobs[:2]
    assert (first.name, sample.name) == ("crystens train", "crystens sample")
    assert sample.function_kwargs["trained"].uuid == first.uuid


@pytest.mark.parametrize(("word", "steps"), [("imagen", 250_000), ("gan", None), ("wgan", None)])
def test_the_campaign_of_the_paper(word, steps, tmp_path):
    """The model is one word; 35 of the lowest energies, 6 of them, four times with VASP."""
    pytest.importorskip("atomate2.vasp", reason="the relaxations are jobs of atomate2")
    text = PAPER.read_text().replace("paper-imagen.yaml", f"paper-{word}.yaml")
    for file in PAPER.parent.glob("paper-*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "paper.yaml").write_text(text)
    campaign = read_campaign(tmp_path / "paper.yaml")
    assert (campaign.train.generator, campaign.train.steps) == (word, steps)
    assert (campaign.n_samples, campaign.screening.models) == (1000, ["cgcnn", "m3gnet"])
    rules = campaign.screening.selection
    assert rules == SelectionRules.paper(n_pool=35, n_select=6)
    relaxer = flow_maker(campaign).relax_maker
    assert isinstance(relaxer, QuadrupleRelaxMaker)
    assert {type(getattr(relaxer, f"relax_maker_{k}")).__name__ for k in (1, 2, 3, 4)} == {
        "PaperRelaxMaker"
    }


def test_files_are_relative_to_the_campaign_file(campaign_file, tmp_path, monkeypatch):
    (tmp_path / "entries.json").write_text("[]")
    (tmp_path / "checkpoint").mkdir()
    path = campaign_file(
        store="stores/mongodb.yaml",
        generator="checkpoint",
        relaxer={"engine": "vasp-mp", "hull_entries": "entries.json"},
    )
    monkeypatch.chdir("/")
    campaign = read_campaign(path)
    assert campaign.store == str(tmp_path / "stores" / "mongodb.yaml")
    assert campaign.generator == str(tmp_path / "checkpoint")
    assert campaign.relaxer.hull_entries == str(tmp_path / "entries.json")
    assert campaign.screening.hull == "shipped"


def test_the_time_of_a_training_says_nothing_of_what_it_makes(campaign_file):
    train = {"generator": "gan", "walltime_minutes": 600}
    options = read_campaign(campaign_file(train=train)).options()
    assert flow_maker(options).train_maker.walltime_minutes == 600
    more = read_campaign(campaign_file(train={**train, "walltime_minutes": 60})).options()
    assert kept_options(more) == kept_options(options)
    other = read_campaign(campaign_file(train={**train, "seed": 1})).options()
    assert kept_options(other) != kept_options(options)


def test_a_uri_is_kept_without_its_password_and_not_at_all_with_the_flow(campaign_file):
    campaign = read_campaign(campaign_file(store="mongodb://me:secret@db:27017/crystens"))
    assert campaign.store == "mongodb://me:secret@db:27017/crystens"
    assert "secret" not in repr(campaign)
    assert campaign.model_dump()["store"] == "mongodb://me:***@db:27017/crystens"
    assert "store" not in kept_options(campaign.options())


def test_extensions_follow_the_samples_that_there_are(campaign_file):
    options = read_campaign(campaign_file(extended_by=[5, 2])).options()
    assert parts(options) == [Part(0, 6), Part(6, 5), Part(11, 2)]
    flow = flow_maker(options).make(5, start=6)
    starts = [job.function_kwargs["start"] for job in flow.jobs if job.name == "crystens sample"]
    assert starts == [6, 10]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampels": 3}, "sampels is unknown: known are backend, "),
        ({"screening": {"modles": []}}, "screening.modles is unknown: known are hull, "),
        ({"screening": {"selection": {"n": 1}}}, "screening.selection.n is unknown: known are max"),
        ({"stages": {"sample": {"wroker": "gpu"}}}, "stages.sample.wroker is unknown: known are e"),
        (
            {"stages": {"smaple": {"worker": "gpu"}}},
            "stages.smaple is unknown: known are 'train', 'sample'",
        ),
        ({"train": {"generator": "gan", "step": 3}}, "train.step is unknown: known are data, "),
        ({"train": {"generator": "gan", "walltime_minutes": 0}}, "walltime_minutes 0: input sh"),
        ({"train": {"generator": "gann"}}, "train.generator 'gann' cannot be trained: give one of"),
        ({"train": {"generator": "gan", "data": "mp.csv"}}, "is no data set file"),
        ({"train": {"config": "absent.yaml"}}, "there is no configuration of a training"),
        ({"n_samples": 0}, "n_samples 0: input should be greater than 0"),
        ({"n_samples": "many"}, "n_samples many: input should be a valid integer"),
        ({"chunk_size": 2000}, "chunk_size 2000: input should be less than or equal to 1000"),
        ({"campaign": ""}, "campaign"),
        ({"backend": "slurm"}, "backend slurm: input should be 'local', 'jf' or 'fireworks'"),
        ({"generator": "nobody"}, "there is no generator 'nobody': give a shipped name"),
        ({"relaxer": {"engine": "vasq"}}, "there is no engine 'vasq'"),
        ({"screening": {"selection": {"n_select": 40}}}, "n_select = 40 and n_pool = 35"),
    ],
)
def test_one_line_says_what_is_wrong(campaign_file, changes, words):
    with pytest.raises(InputError) as caught:
        read_campaign(campaign_file(**changes))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_must_be_there(tmp_path):
    with pytest.raises(InputError, match=r"there is no campaign file .*absent\.yaml"):
        read_campaign(tmp_path / "absent.yaml")
    file = tmp_path / "campaign.yaml"
    file.write_text("n_samples: 3")
    with pytest.raises(InputError, match="campaign is missing"):
        read_campaign(file)
    file.write_text("campaign: salts\nn_sampels: 3")
    with pytest.raises(InputError, match="n_sampels is unknown"):
        read_campaign(file)
    file.write_text("a: b: c")
    with pytest.raises(InputError, match="cannot be read as YAML: mapping values"):
        read_campaign(file)
    file.write_text("- a")
    with pytest.raises(InputError, match="must hold 'name: value' lines"):
        read_campaign(file)


@pytest.mark.parametrize("setting", ["n_samples", "=3", "n_samples=[3"])
def test_a_setting_that_sets_nothing(campaign_file, setting):
    with pytest.raises(InputError, match=r"sets nothing|no YAML"):
        read_campaign(campaign_file(), [setting])


def test_conditions_go_to_the_sampling(campaign_file):
    path = campaign_file(conditions={"formula": "NaF"})
    options = read_campaign(path, ["conditions.formula=CaTiO3"]).options()
    assert flow_maker(options).sample_maker.conditions == Conditions(formula="CaTiO3")
    assert kept_options(options) != kept_options(read_campaign(path).options())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"conditions": {"formulas": "NaF"}},
            "conditions.formulas is unknown: known are .*formula",
        ),
        ({"conditions": {"formula": "Xx"}}, "'Xx' is no formula"),
        (
            {"generator": "small-gan", "conditions": {"n_sites": 2}},
            "kind 'gan' cannot be asked for n_sites",
        ),
        (
            {"train": {"generator": "wgan"}, "conditions": {"n_sites": 2}},
            "kind 'wgan' cannot be asked for n_sites",
        ),
    ],
)
def test_conditions_that_cannot_be_taken_are_named(campaign_file, changes, words):
    with pytest.raises(InputError, match=words):
        read_campaign(campaign_file(**changes))
