from __future__ import annotations

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from crystens_flows.masking import StoreText, without_password

USERS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1)
PASSWORDS = st.text(min_size=1)
WITHOUT_SPACES = st.text(min_size=1).filter(lambda text: not any(c.isspace() for c in text))
SCHEMES = st.sampled_from(["mongodb", "mongodb+srv", "postgresql", "https"])
ENDS = st.sampled_from(
    ["h:27017/x", "h1:1,h2:2/x?replicaSet=rs&w=1", "[::1]:27017/x", "h", "c.d/e"]
)


@given(SCHEMES, USERS, PASSWORDS, ENDS)
def test_of_a_uri_all_of_the_password_goes_and_nothing_else(scheme, user, password, end):
    for form in (password, quote_plus(password)):
        shown = without_password(f"{scheme}://{user}:{form}@{end}")
        assert shown == f"{scheme}://{user}:***@{end}"


@given(SCHEMES, USERS, WITHOUT_SPACES, ENDS)
def test_within_a_message(scheme, user, password, end):
    shown = without_password(f"store {scheme}://{user}:{password}@{end} cannot be reached")
    assert shown == f"store {scheme}://{user}:***@{end} cannot be reached"


@given(SCHEMES, USERS, PASSWORDS.filter(lambda text: "*" not in text), ENDS)
def test_a_known_password_goes_wherever_it_stands(scheme, user, password, end):
    text = f"{scheme}://{user}:{password}@{end}, given as {quote_plus(password)}: {password!s}"
    assert password not in without_password(text, [password]).replace("***", "")


@given(SCHEMES, ENDS)
def test_without_a_password_nothing_changes(scheme, end):
    for text in (f"{scheme}://{end}", f"{scheme}://anna@{end}", f"the store at {scheme}://{end}:"):
        assert without_password(text) == text


@given(st.text())
def test_masked_once_is_masked(text):
    once = without_password(text)
    assert without_password(once) == once


@pytest.mark.parametrize(
    "option",
    ["tlsCertificateKeyFilePassword=hunter2", "authMechanismProperties=AWS_SESSION_TOKEN:hunter2"],
)
def test_options_that_are_secrets(option):
    shown = without_password(f"mongodb://h/x?{option}&w=1")
    assert "hunter2" not in shown
    assert shown.endswith("&w=1")


def test_a_uri_whose_host_was_forgotten():
    assert without_password("mongodb://anna:hunter2") == "mongodb://anna:***"
    assert without_password("mongodb://anna:1hunter/db") == "mongodb://anna:***/db"


def test_a_model_is_written_without_the_password():
    class Options(BaseModel):
        store: StoreText | None = None

    options = Options(store="mongodb://anna:hunter2@h/x")
    assert options.store == "mongodb://anna:hunter2@h/x"
    assert options.model_dump() == {"store": "mongodb://anna:***@h/x"}
    assert "hunter2" not in options.model_dump_json()
    assert Options().model_dump() == {"store": None}
