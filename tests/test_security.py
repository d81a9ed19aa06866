"""Queries and names of others do no harm."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime

import pytest
from bson import Code, Int64, Regex
from hypothesis import given
from hypothesis import strategies as st
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from crystens_flows.campaign.backends import find_backend
from crystens_flows.campaign.file import read_campaign
from crystens_flows.campaign.submission import submit_campaign
from crystens_flows.candidate_criteria import MAX_LEVELS, OPERATORS, check_criteria
from crystens_flows.candidate_export import export
from crystens_flows.candidate_filters import filter_criteria
from crystens_flows.candidates import CandidateStore
from crystens_flows.errors import InputError
from crystens_flows.export_format import ExportFormat
from crystens_flows.saved_queries import query_file

SALT = Structure(Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
RUNS_CODE = ["$where", "$expr", "$function", "$accumulator", "$regex", "$text", "$jsonSchema"]


class TestQueries:
    @pytest.mark.parametrize("operator", [*RUNS_CODE, "$lookup", "$merge", "$out", "$", "$Where"])
    def test_no_operator_but_comparisons(self, operator):
        assert operator not in OPERATORS
        for criteria in (
            {operator: "sleep(1000)"},
            {"formula": {operator: "(a+)+$"}},
            {"formula": {"$not": {operator: "x"}}},
            {"$or": [{"status": "relaxed"}, {"$and": [{operator: {}}]}]},
            {"screens": {"$elemMatch": {"values": {operator: "1"}}}},
            {"formula": {"$in": [{operator: "x"}]}},
        ):
            with pytest.raises(InputError):
                check_criteria(criteria)

    @pytest.mark.parametrize("value", [re.compile("a"), Regex("(a+)+$"), object(), b"x", {1: 2}])
    def test_no_value_but_plain_ones(self, value):
        with pytest.raises(InputError):
            check_criteria({"formula": value})

    def test_text_that_is_more_than_text_becomes_text(self):
        code = Code("function() { while (true); }", {"x": 1})
        found = check_criteria({"campaign": code, "$or": [{"status": {"$in": [code]}}]})
        assert type(found["campaign"]) is str
        assert type(found["$or"][0]["status"]["$in"][0]) is str
        kept = {"index": {"$gte": Int64(3)}, "completed_at": {"$lt": datetime.now(UTC)}}
        assert check_criteria(kept) == kept

    def test_levels_are_counted_and_do_not_end_the_process(self):
        criteria: dict = {"status": "relaxed"}
        for _ in range(5_000):
            criteria = {"$and": [criteria]}
        with pytest.raises(InputError, match=f"more than {MAX_LEVELS} levels"):
            check_criteria(criteria)
        condition: dict = {"$eq": 1}
        for _ in range(5_000):
            condition = {"$not": condition}
        with pytest.raises(InputError, match="levels"):
            check_criteria({"index": condition})

    @given(
        st.sampled_from(["campaign", "engine", "formula", "chemsys", "status"]),
        st.one_of(
            st.dictionaries(st.sampled_from(["$ne", "$gt", "$where"]), st.text(max_size=5)),
            st.lists(st.dictionaries(st.text(max_size=3), st.none(), min_size=1), min_size=1),
            st.text(max_size=30),
        ),
    )
    def test_values_of_filters_never_become_operators(self, name, value):
        try:
            found = filter_criteria(**{name: value})
        except InputError:
            return
        if name in ("campaign", "engine"):
            assert isinstance(value, str)
        assert "$where" not in json.dumps(found, default=str)
        assert "$regex" not in json.dumps(found, default=str)

    def test_a_pattern_is_looked_for_as_it_is(self):
        """An engine that looks like a slow regular expression, or like one that finds all."""
        store = CandidateStore(MemoryStore("candidates"))
        store.connect()
        store.store.update(
            [
                {"candidate_id": "c-1", "campaign": ".*", "relaxation": {"engine": "VASP 6.4.2"}},
                {"candidate_id": "c-2", "campaign": "b", "relaxation": {"engine": "VASP"}},
            ]
        )
        assert store.count(engine="VASP") == 2
        assert store.count(engine="V.*") == 0
        assert store.count(engine="^(V+)+$") == 0
        assert store.count(campaign=".*") == 1

    @pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".x", "a\n", "x.yaml", ""])
    def test_saved_queries_stay_in_their_folder(self, name):
        with pytest.raises(InputError, match="cannot name a query"):
            query_file(name)


class TestExport:
    def candidates(self, identifier="c-1"):
        return [{"candidate_id": identifier, "status": "relaxed", "structure": SALT.as_dict()}]

    @pytest.mark.parametrize(
        "identifier", ["../c", "/tmp/c", "a/b", "..", ".hidden", "c\0", "c\n", "", "x" * 200]
    )
    @pytest.mark.parametrize("kind", [f for f in ExportFormat if not f.is_one_file])
    def test_identifiers_that_lead_elsewhere(self, identifier, kind, tmp_path):
        with pytest.raises(InputError, match="cannot be the name of a file"):
            export(self.candidates(identifier), tmp_path / "out", kind)
        assert list(tmp_path.rglob("*")) == []

    @pytest.mark.parametrize("kind", list(ExportFormat))
    def test_a_link_is_replaced_and_not_followed(self, kind, tmp_path):
        mine = tmp_path / "mine"
        mine.write_text("mine")
        out = tmp_path / "out"
        out.mkdir()
        name = f"{'candidates' if kind.is_one_file else 'c-1'}{kind.suffix}"
        (out / name).symlink_to(mine)
        (out / f".{name}.{os.getpid()}.tmp").symlink_to(mine)
        written, _ = export(self.candidates(), out, kind)
        assert mine.read_text() == "mine"
        assert [path.name for path in out.iterdir()] == [name]
        assert not written[0].is_symlink()
        assert "Na" in written[0].read_text() or kind is ExportFormat.CSV

    @pytest.mark.parametrize("kind", list(ExportFormat))
    def test_an_error_leaves_what_was_there(self, kind, tmp_path):
        name = f"{'candidates' if kind.is_one_file else 'c-1'}{kind.suffix}"
        (tmp_path / name).write_text("before")

        def broken():
            if kind.is_one_file:
                yield from self.candidates("c-2")
            raise RuntimeError

        with pytest.raises(RuntimeError):
            export(broken(), tmp_path, kind)
        assert (tmp_path / name).read_text() == "before"
        assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".x"])
def test_a_campaign_leads_to_no_other_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "campaign.yaml"
    file.write_text(json.dumps({"campaign": name, "n_samples": 2}))
    with pytest.raises(InputError, match="cannot be the name of a folder: give folder"):
        submit_campaign(find_backend(read_campaign(file)))
    assert [each.name for each in tmp_path.iterdir()] == ["campaign.yaml"]
    named = find_backend(read_campaign(file, ["folder=here"]))
    assert named.folder == tmp_path / "here"
