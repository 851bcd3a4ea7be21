"""A server for most tests, and its only CT."""

from __future__ import annotations

import pytest
from ctreasoner.remote import Client
from fake_engine import phantom_volume
from serving import served


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    limits = {"grace_s": 1.0, "user_open": 3, "user_uploads": 3}
    with served(tmp_path_factory.mktemp("data"), limits=limits) as running:
        yield running


@pytest.fixture
def client(server):
    return Client(server.url)


@pytest.fixture
def ct(client):
    """The phantom's id on the server."""
    return client.register(phantom_volume())
