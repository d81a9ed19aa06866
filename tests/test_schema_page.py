"""The documented schema is that of the models."""

from __future__ import annotations

from pathlib import Path

from crystens_flows.schemas import CandidateDocument
from crystens_flows.schemas.candidate import SCHEMA_VERSION
from crystens_flows.schemas.candidate_versions import _STEPS
from crystens_flows.schemas.describe import schema_page

PAGE = Path(__file__).parents[1] / "docs" / "schema.md"


def test_the_page_is_as_the_models():
    assert PAGE.read_text() == schema_page(), (
        "python -m crystens_flows.schemas.describe > docs/schema.md"
    )


def test_all_fields_are_described():
    for name, field in CandidateDocument.model_fields.items():
        assert field.description, name
        assert f"| `{name}` |" in PAGE.read_text()


def test_each_version_is_told_of_and_has_its_step():
    assert len(_STEPS) == SCHEMA_VERSION - 1
    for version in range(2, SCHEMA_VERSION + 1):
        assert f"\n| {version} | " in PAGE.read_text()
