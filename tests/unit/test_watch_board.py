"""What a person sees of the aisles, and that no message can do more than be shown."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from edge.aisles.observation import AisleState, CameraView, LastSeen
from edge.capture.status import CameraStatus
from edge.frame import Blindness
from edge.reporting.compose import Composer, Service
from edge.reporting.topics import Topics
from edge.tools.watch_board import Board, Fitted, ago, place_and_kind, plain

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=timezone.utc)
TOPICS = Topics("aisle-edge", "north", "a07")
COMPOSER = Composer(TOPICS, ("box",), now=lambda: NOW)


def state(aisle="07", unknown=None, counts=None, views=(), last=None):
    counts = {"box": 3} if counts is None else counts
    return COMPOSER.state(AisleState(aisle, NOW, unknown, counts, {"box": 0.5}, views, last))


def take(board, outgoing, seq=1):
    board.take(outgoing.topic, outgoing.payload(seq))


def screen(board, width=120, now=NOW):
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=True, color_system="truecolor")
    console.print(board.render(width, now))
    return output.getvalue()


def fitted(board, height, width=80):
    output = io.StringIO()
    footer = Text("mqtt broker:1883 disconnected")
    Console(file=output, width=width, height=height).print(Fitted(board.render(width, NOW), footer))
    return [line.rstrip() for line in output.getvalue().splitlines()]


@pytest.fixture
def board():
    return Board("aisle-edge")


class TestTable:
    def test_shows_counts_and_confidence_of_an_aisle_that_is_seen(self, board):
        take(board, state())

        assert "3 box (0.50)" in screen(board)

    def test_says_empty_only_of_an_aisle_that_is_seen(self, board):
        take(board, state(counts={"box": 0}))
        assert "empty" in screen(board)

        take(board, state(unknown=Blindness.DARK, counts={}), seq=2)
        assert "empty" not in screen(board)
        assert "unknown: dark" in screen(board)

    def test_an_aisle_that_a_robot_has_left_shows_what_stood_there_and_is_no_alarm(self, board):
        take(board, state(unknown=Blindness.OUT_OF_VIEW, last=LastSeen(NOW, {"box": 2})))

        shown = screen(board)

        assert "unknown: out of view" in shown
        assert "last seen: 2 box" in shown
        assert "31m" not in shown  # red

    @pytest.mark.parametrize("width", [20, 40, 59])
    def test_a_narrow_terminal_gets_a_line_per_aisle_instead_of_a_table(self, board, width):
        take(board, state())

        shown = " ".join(Text.from_ansi(screen(board, width)).plain.split())

        assert "north/a07 07 seen 3 box (0.50)" in shown

    def test_marks_an_aisle_that_is_seen_in_part(self, board):
        views = (CameraView("a", None, {"box": 3}), CameraView("b", Blindness.DARK, {}))
        take(board, state(views=views))

        assert "seen, partial" in screen(board)

    def test_what_a_device_said_last_is_not_known_any_more_once_it_is_offline(self, board):
        take(board, state())
        board.take(TOPICS.status, COMPOSER.status(Service(), offline="connection_lost"))

        assert "device offline" in screen(board)
        assert "3 box" not in screen(board)
        assert "offline: connection lost" in screen(board)

    def test_shows_how_the_cameras_are(self, board):
        take(board, COMPOSER.camera(CameraStatus("a07", Blindness.STALLED, 0, 0, 1, "no route")))

        assert "stalled" in screen(board)
        assert "no route" in screen(board)

    def test_shows_what_was_shed(self, board):
        take(board, COMPOSER.gap(5, [(1, 5)]))
        take(board, COMPOSER.gap(2, [(7, 8)]))
        board.take(TOPICS.status, COMPOSER.status(Service()))

        assert "7 messages shed" in screen(board)

    @pytest.mark.parametrize("width", [40, 80, 120, 200])
    def test_fits_the_terminal(self, board, width):
        take(board, state(aisle="x" * 64))

        output = io.StringIO()
        Console(file=output, width=width).print(board.render(width, NOW))
        assert max(len(line) for line in output.getvalue().splitlines()) <= width

    def test_an_aisle_goes_when_its_retained_message_is_cleared(self, board):
        take(board, state())
        board.take(TOPICS.state("07"), b"")

        assert "No aisle" in screen(board)


class TestOrder:
    def test_a_state_that_comes_late_does_not_replace_a_newer_one(self, board):
        take(board, state(counts={"box": 9}), seq=5)
        take(board, state(counts={"box": 1}), seq=4)

        assert "9 box" in screen(board)

    def test_a_state_of_another_start_does_whatever_its_seq(self, board):
        take(board, state(counts={"box": 9}), seq=5)
        other = Composer(TOPICS, ("box",), now=lambda: NOW)
        take(board, other.state(AisleState("07", NOW, None, {"box": 1}, {}, ())), seq=1)

        assert "1 box" in screen(board)


class TestUntrusted:
    @given(st.binary(max_size=200), st.sampled_from(["status", "aisles/07/state", "gap", "x"]))
    def test_no_payload_stops_the_table(self, payload, below):
        board = Board("aisle-edge")
        board.take(f"aisle-edge/north/a07/{below}", payload)

        screen(board)

    @pytest.mark.parametrize(
        "payload",
        [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b"null", b"\xff\xfe", b'{"schema": 1}'],
    )
    def test_what_is_unreadable_is_counted(self, board, payload):
        board.take(TOPICS.state("07"), payload)

        assert board.unreadable == 1

    @given(st.text(max_size=100))
    def test_no_text_steers_the_terminal(self, text):
        shown = plain(text)

        assert all(c.isprintable() for c in shown)
        assert len(shown) <= 60

    def test_no_label_or_name_is_taken_for_markup_or_an_escape(self, board):
        body = json.loads(state().payload(1))
        body["counts"] = {"\x1b]0;owned\x07[bold red]x": 3}
        board.take("aisle-edge/north/[blink]d/aisles/\x1b[2J/state", json.dumps(body).encode())

        shown = screen(board, 200)
        assert "[bold red]x" in shown
        assert "[blink]d" in shown
        assert "\x1b]0" not in shown
        assert "\x1b[2J" not in shown

    def test_topics_without_end_do_not_fill_the_memory(self, board):
        payload = state().payload(1)
        for number in range(6000):
            board.take(f"aisle-edge/north/d{number}/aisles/07/state", payload)

        assert len(board.newest) == 5000


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("aisle-edge/n/d/status", (("n", "d"), "status")),
        ("aisle-edge/n/d/aisles/7/state", (("n", "d", "aisles", "7"), "state")),
        ("aisle-edge/n/d/cameras/c/status", (("n", "d", "cameras", "c"), "camera")),
        ("aisle-edge/n/d/commands/snapshot", None),
        ("other/n/d/status", None),
        ("aisle-edge", None),
    ],
)
def test_a_topic_says_whose_message_it_is(topic, found):
    assert place_and_kind(topic, "aisle-edge") == found


@pytest.mark.parametrize(
    ("past", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 m"), (7200, "2 h"), (200_000, "2 d"), (-5, "0 s")],
)
def test_how_long_ago_in_few_characters(past, words):
    moment = (NOW - timedelta(seconds=past)).isoformat().replace("+00:00", "Z")

    assert ago(moment, NOW) == words


class TestFitted:
    @pytest.mark.parametrize("height", [3, 10, 24])
    def test_a_board_too_high_for_the_terminal_leaves_the_footer_and_says_what_is_cut(
        self, board, height
    ):
        for n in range(60):
            take(board, state(f"{n:02}"))

        lines = fitted(board, height)

        assert len(lines) == height
        assert lines[-1] == "mqtt broker:1883 disconnected"
        assert lines[-2].startswith(f"… {65 - (height - 2)} more lines")

    def test_one_that_fits_is_whole(self, board):
        take(board, state())

        assert not any("more lines" in line for line in fitted(board, 24))
