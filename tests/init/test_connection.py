from __future__ import annotations

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient

from crystens_flows.errors import StoreError
from crystens_flows.init.connection import Connection

NAMES = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1, max_size=12)
ADDRESSES = [
    "h/x",
    "h:1234/x",
    "h:1,g:2/x?replicaSet=rs",
    "[::1]:5/x",
    "h/x?authSource=admin",
    "h/x?w=majority&tls=true",
]


def opened(client: MongoClient) -> dict:
    options = client.options
    pool = options.pool_options
    credentials = pool._credentials
    return {
        "seeds": client._topology_settings.seeds,
        "replica_set": options.replica_set_name,
        "tls": pool._ssl_context is not None,
        "w": options.write_concern.document,
        "credentials": credentials
        and (credentials.source, credentials.username, credentials.password),
    }


@given(user=NAMES, password=NAMES)
def test_users_and_passwords_of_any_characters(user, password):
    check("h:1234/x", user, password)


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_parts_open_what_the_uri_opens(address):
    check(address, "anna", "s3cr@t/x:y")


def check(address, user, password):
    uri = f"mongodb://{quote_plus(user)}:{quote_plus(password)}@{address}"
    found = Connection.from_uri(uri)
    assert (found.user, found.password, found.database) == (user, password, "x")
    assert "@" not in found.host
    with (
        MongoClient(uri, connect=False) as whole,
        MongoClient(
            found.host,
            found.port,
            username=found.user,
            password=found.password,
            authSource=found.auth_source,
            connect=False,
        ) as parts,
    ):
        assert opened(parts) == opened(whole)


@pytest.mark.parametrize("address", ADDRESSES)
def test_without_user(address):
    found = Connection.from_uri(f"mongodb://{address}")
    assert (found.user, found.password, found.auth_source) == ("", "", None)
    with (
        MongoClient(f"mongodb://{address}", connect=False) as whole,
        MongoClient(found.host, found.port, connect=False) as parts,
    ):
        assert opened(parts) == opened(whole)


def test_names_of_a_cluster_are_kept_for_when_it_is_opened():
    found = Connection.from_uri("mongodb+srv://anna:secret@cluster.example.org/x?w=1")
    assert found.host == "mongodb+srv://cluster.example.org/x?w=1"
    assert (found.user, found.password) == ("anna", "secret")


@pytest.mark.parametrize(
    "uri", ["mongodb://anna:sec/ret@h/x", "mongodb://anna:secret@h", "mongodb://anna:secret"]
)
def test_what_is_wrong_is_said_without_the_password(uri):
    with pytest.raises(StoreError) as caught:
        Connection.from_uri(uri)
    assert "ret" not in str(caught.value)
    assert "\n" not in str(caught.value)
