"""`edge run` over reloads: a configuration that never comes to serve is followed by the old."""

from __future__ import annotations

import logging
import weakref
from types import SimpleNamespace

import pytest

from edge.config import Config
from edge.errors import BrokerRefused, BundleError, RuntimeFailure
from edge.service import command
from edge.service.signals import Signals


class FakeDaemon:
    """Stands in for `Daemon`: fails as its configuration's `site` is told to in `fails`."""

    fails: dict[str, tuple[bool, Exception]]

    def __init__(self, config, *_):
        self.site = config.site
        self.ready = False
        FakeDaemon.built.append(self)

    def start(self, note=""):
        self.note = note

    def check(self):
        self.ready, error = self.fails.get(self.site, (True, None))
        if error is not None:
            raise error

    def stuck(self):
        return []

    def stop(self):
        return True

    def summary(self):
        return self.site


def plan(site):
    camera = {"name": "c", "source": "csi://0", "aisles": ({"id": "1"},)}
    config = Config(site=site, bundle="/b", cameras=(camera,), mqtt={"host": "b"})
    return SimpleNamespace(config=config, bundle=SimpleNamespace(labels=()))


@pytest.fixture
def line(monkeypatch, tmp_path):
    """Return a line of daemons that are told to stop as soon as they serve."""
    monkeypatch.setattr(command, "Daemon", FakeDaemon)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(FakeDaemon, "built", [], raising=False)
    monkeypatch.setattr(FakeDaemon, "fails", {}, raising=False)
    signals = Signals()
    monkeypatch.setattr(signals, "wait", lambda _: setattr(signals, "stop", True))
    return command._Line(signals, tmp_path)


def serve_until_stopped(line, plan):
    following = line.serve(plan)
    line._signals.stop = False
    return following


@pytest.mark.parametrize(
    "failure",
    [(False, BundleError("it fails its golden")), (True, BrokerRefused("not authorised"))],
)
def test_what_never_came_to_serve_is_followed_by_what_did(line, failure, caplog):
    old, new = plan("old"), plan("new")
    FakeDaemon.fails["new"] = failure
    assert serve_until_stopped(line, old) is None

    assert line.serve(new) is old
    assert line.serve(old) is None

    said = f"reload: {failure[1]}; the configuration before it is in service again"
    assert [daemon.note for daemon in FakeDaemon.built] == ["", "", said]
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == [said]


def test_what_served_and_then_failed_is_not_followed_by_anything(line):
    FakeDaemon.fails["new"] = (True, RuntimeFailure("the GPU is gone"))
    serve_until_stopped(line, plan("old"))

    with pytest.raises(RuntimeFailure, match="the GPU is gone"):
        line.serve(plan("new"))


def test_what_was_stopped_is_out_of_memory_before_the_next_begins(line, monkeypatch):
    earlier = []

    class Knot(FakeDaemon):
        def __init__(self, *arguments):
            assert [one for one in earlier if one() is not None] == []
            super().__init__(*arguments)
            FakeDaemon.built.clear()
            self.knot = self
            earlier.append(weakref.ref(self))

    monkeypatch.setattr(command, "Daemon", Knot)
    for number in range(3):
        serve_until_stopped(line, plan(f"site{number}"))

    assert len(earlier) == 3


def test_the_first_one_is_followed_by_nothing(line):
    FakeDaemon.fails["old"] = (False, BundleError("it fails its golden"))

    with pytest.raises(BundleError, match="golden"):
        line.serve(plan("old"))


def test_an_old_one_that_fails_too_is_the_end(line):
    old = plan("old")
    serve_until_stopped(line, old)
    FakeDaemon.fails = {
        "new": (False, BundleError("it fails its golden")),
        "old": (False, BundleError("gone meanwhile")),
    }

    assert line.serve(plan("new")) is old
    with pytest.raises(BundleError, match="gone meanwhile"):
        line.serve(old)


def test_threads_that_hang_end_it_where_no_watchdog_does(line, monkeypatch, caplog):
    seconds = iter(range(10_000))
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    monkeypatch.setattr(line._signals, "wait", lambda _: None)
    monkeypatch.setattr(FakeDaemon, "stuck", lambda _: ["detector"])

    with pytest.raises(RuntimeFailure, match="threads hang: detector; start it again"):
        line.serve(plan("old"))

    assert next(seconds) > command.HUNG_S
    assert [r.levelname for r in caplog.records].count("ERROR") == 1, "said once"


def test_threads_that_go_on_again_do_not_end_it(line, monkeypatch):
    seconds = iter(range(10_000))
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    rounds = iter([["report"]] * 30 + [[]] + [["report"]] * 30 + [[]])
    monkeypatch.setattr(FakeDaemon, "stuck", lambda _: next(rounds))
    signals = line._signals
    looks = iter([False] * 61 + [True])
    monkeypatch.setattr(signals, "wait", lambda _: setattr(signals, "stop", next(looks)))

    assert line.serve(plan("old")) is None
