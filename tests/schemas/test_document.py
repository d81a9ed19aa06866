"""The base of all documents."""

import pytest
from pydantic import BaseModel, ValidationError

from crystens_flows.schemas.document import Document
from crystens_flows.schemas.stages import SelectDocument, StandingDocument


@pytest.mark.parametrize("model", [SelectDocument, StandingDocument])
def test_the_schema_is_made_once_and_is_that_of_pydantic(model):
    schema = BaseModel.model_json_schema.__func__
    assert model.model_json_schema() == schema(model)
    assert model.model_json_schema() is model.model_json_schema()
    assert model.model_json_schema(mode="serialization") == schema(model, mode="serialization")


def test_a_field_that_it_does_not_have_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Document(other=1)
