"""A broker of its own for each test that wants one; mosquitto starts in less time than it takes
to prove that nothing of the test before is left in it."""

from __future__ import annotations

import pytest

from edge.reporting import connection
from tests.integration.broker import DURABLE, Mosquitto, Subscriber


@pytest.fixture
def broker(mosquitto, tmp_path):
    """A real broker that keeps everything for absent subscribers."""
    with Mosquitto(mosquitto, tmp_path, DURABLE) as running:
        yield running


@pytest.fixture
def subscriber(broker):
    """A subscriber to everything on it, from before the test begins."""
    with Subscriber(broker.port) as listening:
        yield listening


@pytest.fixture
def quick_reconnect(monkeypatch):
    """Have reporters of this process, not of children, wait a tenth of the time they would."""
    monkeypatch.setattr(connection, "_SHORTEST_DELAY_S", 0.1)
    monkeypatch.setattr(connection, "_LONGEST_DELAY_S", 0.4)
