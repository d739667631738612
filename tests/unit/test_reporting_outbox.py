"""Nothing that was appended is lost, out of order, or numbered twice; what is shed is owned up."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import OutboxError
from edge.reporting import outbox as outbox_module
from edge.reporting.compose import Composer, Outgoing
from edge.reporting.outbox import Outbox
from edge.reporting.shedding import Holding, expendable, runs
from edge.reporting.topics import Topics

COMPOSER = Composer(Topics("p", "s", "d"), ())


def detections(aisle="07", size=0):
    return Outgoing("detections", f"{aisle}/detections", False, {"size": "x" * size})


def state(aisle="07", size=0):
    return Outgoing("state", f"{aisle}/state", True, {"size": "x" * size})


def camera(name="a07"):
    return Outgoing("camera", f"{name}/status", True, {})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def box(path):
    outbox = Outbox(path, max_mb=16)
    yield outbox
    outbox.close()


def seqs(box, after=0, limit=100_000):
    return [letter.seq for letter in box.due(after, limit)]


def append_many(box, make, count, batch=32):
    for _ in range(count // batch):
        box.append([make() for _ in range(batch)])


class TestSequence:
    def test_is_contiguous_in_the_order_of_appending(self, box):
        box.append([detections(), state()])
        box.append([camera()])

        first = box.first_seq
        assert [(x.seq - first, x.kind) for x in box.due(0, 10)] == [
            (0, "detections"),
            (1, "state"),
            (2, "camera"),
        ]

    def test_is_in_the_payload(self, box):
        box.append([detections()])

        (letter,) = box.due(0, 10)
        assert json.loads(letter.payload)["seq"] == letter.seq

    def test_goes_on_over_a_restart_even_when_nothing_is_left(self, path):
        one = Outbox(path, 16)
        one.append([detections(), detections()])
        one.acknowledged(seqs(one))
        one.close()

        other = Outbox(path, 16)
        other.append([detections()])
        assert seqs(other) == [one.first_seq + 2]
        assert other.first_seq == one.first_seq
        other.close()

    def test_a_new_file_begins_above_what_an_older_one_can_have_reached(self, path):
        before = int(time.time() * 1000)
        one = Outbox(path, 16)
        one.close()

        assert before <= one.first_seq <= int(time.time() * 1000)


class TestAcknowledged:
    def test_only_what_was_acknowledged_is_gone(self, box):
        box.append([detections() for _ in range(4)])
        a, b, c, d = seqs(box)

        box.acknowledged([b, c])

        assert seqs(box) == [a, d]
        assert box.backlog == 2

    def test_is_gone_after_a_restart_too(self, path):
        one = Outbox(path, 16)
        one.append([detections(), detections()])
        a, b = seqs(one)
        one.acknowledged([a])
        one.close()

        other = Outbox(path, 16)
        assert seqs(other) == [b]
        other.close()

    def test_of_an_unknown_seq_changes_nothing(self, box):
        box.append([detections()])

        box.acknowledged([5])

        assert box.backlog == len(seqs(box)) == 1

    def test_due_is_limited_and_begins_after_a_seq(self, box):
        box.append([detections() for _ in range(5)])
        first = box.first_seq

        assert seqs(box, after=first + 1, limit=2) == [first + 2, first + 3]


class TestKill:
    WRITER = """
import os, sys
from edge.reporting.compose import Outgoing
from edge.reporting.outbox import Outbox
from pathlib import Path
box = Outbox(Path(sys.argv[1]), 16)
for _ in range(7):
    box.append([Outgoing("detections", "t", False, {}) for _ in range(3)])
print(box.due(0, 100)[-1].seq, flush=True)
os.kill(os.getpid(), 9)
"""

    def test_kill_9_loses_nothing_and_numbers_nothing_twice(self, path):
        writer = subprocess.run(
            [sys.executable, "-c", self.WRITER, path], capture_output=True, timeout=60, check=False
        )
        last = int(writer.stdout)

        box = Outbox(path, 16)
        box.append([detections()])
        assert seqs(box) == list(range(last - 20, last + 2))
        box.close()


class TestRetained:
    """What was left at the broker is known after a restart, so that it can be cleared."""

    def test_topics_are_remembered_long_after_their_messages_are_gone(self, path):
        one = Outbox(path, 16)
        one.append([state("07"), state("08"), camera("a07"), detections()])
        one.acknowledged(seqs(one))
        one.close()

        other = Outbox(path, 16)
        assert other.retained == {"07/state", "08/state", "a07/status"}
        other.close()

    def test_what_was_cleared_is_forgotten_until_it_is_written_again(self, path):
        one = Outbox(path, 16)
        one.append([state("07"), state("08")])
        one.forget_retained(["07/state"])
        assert one.retained == {"08/state"}
        one.append([state("07")])
        one.close()

        other = Outbox(path, 16)
        assert other.retained == {"07/state", "08/state"}
        other.close()

    def test_a_topic_that_does_not_pass_the_outbox_can_be_noted(self, path):
        for _ in range(2):
            one = Outbox(path, 16)
            one.remember_retained("status")
            assert one.retained == {"status"}
            one.close()

    def test_a_file_from_before_there_was_such_a_list_gets_it(self, path):
        one = Outbox(path, 16)
        one.append([state("07")])
        one.close()
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("DROP TABLE retained")

        other = Outbox(path, 16)
        assert other.retained == {"07/state"}
        other.close()


class TestFull:
    def test_old_detections_go_first_and_never_the_newest_states(self, path):
        box = Outbox(path, max_mb=1)
        box.append([state("07"), camera("a07"), state("08")])
        first = box.first_seq

        append_many(box, lambda: detections(size=4000), 640)

        left = seqs(box)
        assert left[:3] == [first, first + 1, first + 2]
        assert left[3:] == list(range(left[3], first + 643)), "the newest detections, no holes"
        assert box.shed == 643 - len(left) > 300
        box.close()

    def test_states_that_a_newer_one_replaced_go_when_no_detections_are_left(self, path):
        box = Outbox(path, max_mb=1)
        box.append([camera("a07")])

        append_many(box, lambda: state("07", size=4000), 640)

        left = box.due(0, 1000)
        assert left[0].kind == "camera"
        assert left[-1].seq == box.first_seq + 640
        assert len(left) < 400
        box.close()

    def test_the_disk_holds_no_more_than_was_allowed(self, path):
        box = Outbox(path, max_mb=1)
        most = 0
        for _ in range(60):
            box.append([detections(size=4000) for _ in range(32)])
            most = max(most, sum(file.stat().st_size for file in path.parent.iterdir()))
        box.close()

        assert most <= 2**20

    def test_what_is_on_its_way_is_spared(self, path):
        box = Outbox(path, max_mb=1)
        box.append([detections(size=4000)])
        spare = set(seqs(box))

        for _ in range(20):
            box.append([detections(size=4000) for _ in range(32)], spare)

        assert spare <= set(seqs(box))
        box.close()

    def test_a_gap_message_names_exactly_what_is_missing(self, path):
        box = Outbox(path, max_mb=1)
        append_many(box, lambda: detections(size=4000), 320)
        append_many(box, lambda: state(size=100), 32)
        append_many(box, lambda: detections(size=4000), 320)

        box.report_gap(COMPOSER.gap)

        left = box.due(0, 1000)
        gap = json.loads(left[-1].payload)
        named = {seq for first, last in gap["ranges"] for seq in range(first, last + 1)}
        assert left[-1].kind == "gap"
        assert gap["count"] == len(named) == box.shed
        assert named | {x.seq for x in left} == set(range(box.first_seq, gap["seq"] + 1))
        box.close()

    def test_a_gap_is_told_once_and_survives_a_restart_until_then(self, path):
        one = Outbox(path, max_mb=1)
        append_many(one, lambda: detections(size=4000), 640)
        one.close()
        other = Outbox(path, max_mb=1)

        other.report_gap(COMPOSER.gap)
        other.report_gap(COMPOSER.gap)

        assert [x.kind for x in other.due(0, 1000)].count("gap") == 1
        other.close()

    def test_without_loss_there_is_no_gap(self, box):
        box.append([detections()])

        box.report_gap(COMPOSER.gap)

        assert [x.kind for x in box.due(0, 10)] == ["detections"]

    def test_what_was_shed_before_it_had_a_number_is_counted(self, box):
        box.count_unnumbered(3)

        box.report_gap(COMPOSER.gap)

        gap = json.loads(box.due(0, 10)[0].payload)
        assert (gap["count"], gap["ranges"]) == (3, [])


@pytest.fixture
def small_disk(tmp_path):
    """Yield a real file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root may mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True, timeout=10).returncode != 0:
        pytest.skip("this machine does not let us mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


class TestFullDisk:
    @pytest.fixture(autouse=True)
    def _no_wait(self, monkeypatch):
        monkeypatch.setattr(outbox_module, "_RETRY_S", 0.0)

    def fill(self, folder):
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        return filler

    def test_goes_on_in_memory_and_recovers_by_itself(self, small_disk, caplog):
        box = Outbox(small_disk / "outbox.db", max_mb=256)
        box.append([detections(size=4000)])
        filler = self.fill(small_disk)

        for _ in range(50):
            box.append([detections(size=4000)])
        assert box.trouble is not None
        assert len(seqs(box)) == 51, "still sent, from memory"
        errors = [r.message for r in caplog.records if r.levelno == logging.ERROR]
        assert len(errors) == 1, "said once, not fifty times"
        assert "outbox.db: cannot be written" in errors[0]
        assert "free space" in errors[0]

        filler.unlink()
        box.append([detections()])
        assert box.trouble is None
        box.close()
        again = Outbox(small_disk / "outbox.db", max_mb=256)
        assert seqs(again) == list(range(box.first_seq, box.first_seq + 52))
        again.close()

    def test_acknowledged_messages_are_not_sent_again_while_it_lasts(self, small_disk):
        box = Outbox(small_disk / "outbox.db", max_mb=256)
        for _ in range(20):
            box.append([detections(size=4000)])
        self.fill(small_disk)
        for _ in range(80):
            box.append([detections(size=4000)])
        assert box.trouble is not None

        box.acknowledged(seqs(box)[:95])

        assert seqs(box) == list(range(box.first_seq + 95, box.first_seq + 100))
        assert seqs(box, limit=2) == [box.first_seq + 95, box.first_seq + 96]
        assert box.backlog == 5
        box.close()

    def test_what_it_has_to_let_go_of_at_the_end_is_said_and_not_counted_as_kept(
        self, small_disk, caplog
    ):
        box = Outbox(small_disk / "outbox.db", max_mb=256)
        box.append([detections()])
        self.fill(small_disk)
        for _ in range(50):
            box.append([detections(size=4000)])

        box.close()

        (lost,) = re.findall(r"(\d+) messages are lost, the disk cannot be written", caplog.text)
        assert box.backlog == 51 - int(lost)

    def test_memory_is_bounded_by_the_same_rule(self, small_disk, monkeypatch):
        monkeypatch.setattr(outbox_module, "_HELD_MOST", 10)
        box = Outbox(small_disk / "outbox.db", max_mb=256)
        filler = self.fill(small_disk)
        box.append([state(size=4000)])
        for _ in range(100):
            box.append([detections(size=4000)])
        assert box.trouble is not None
        filler.unlink()
        box.append([])

        box.report_gap(COMPOSER.gap)

        left = box.due(0, 1000)
        gap = json.loads(left[-1].payload)
        named = {seq for first, last in gap["ranges"] for seq in range(first, last + 1)}
        assert left[0].kind == "state"
        assert named | {x.seq for x in left} == set(range(box.first_seq, gap["seq"] + 1))
        box.close()


class TestDamage:
    def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(self, path, caplog):
        path.write_bytes(b"this is no database" * 1000)

        box = Outbox(path, 16)
        box.append([detections()])

        (aside,) = path.parent.glob("outbox.db.damaged-*")
        assert aside.read_bytes().startswith(b"this is no database")
        (error,) = [r.message for r in caplog.records if r.levelno == logging.ERROR]
        assert str(path) in error
        assert str(aside) in error
        assert len(seqs(box)) == 1
        box.close()

    def test_damaged_pages_cost_the_backlog_and_repeat_no_number(self, path, caplog):
        box = Outbox(path, 16)
        for _ in range(30):
            box.append([detections(size=4000)])
        last = seqs(box)[-1]
        box.close()
        data = path.read_bytes()
        path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
        time.sleep(0.05)  # more milliseconds than there were messages

        box = Outbox(path, 16)
        box.append([detections()])

        (left,) = seqs(box)
        assert left > last
        assert any("damaged" in r.message for r in caplog.records)
        box.close()

    def test_damage_found_while_running_is_survived(self, box, path, monkeypatch):
        box.append([detections(), detections()])
        last = seqs(box)[-1]

        def damaged(*_):
            raise sqlite3.DatabaseError("database disk image is malformed")

        monkeypatch.setattr(box._store, "due", damaged)
        assert seqs(box) == []
        box.append([detections()])

        (left,) = seqs(box)
        assert left > last
        assert box.first_seq == left
        assert len(list(path.parent.glob("outbox.db.damaged-*"))) == 1

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE letter SET topic = CAST(x'ff' AS TEXT)",
            "UPDATE letter SET topic = x'ff'",
            "UPDATE letter SET payload = 7",
            "UPDATE shed SET last = 'x'",
            "UPDATE sequence SET next_seq = 'x'",
            "DELETE FROM sequence",
            "UPDATE retained SET topic = x'ff'",
            "PRAGMA writable_schema = 1; UPDATE sqlite_master SET name = CAST(x'ff' AS TEXT)",
        ],
    )
    def test_what_sqlite_does_not_call_damage_is_damage_too(self, path, damage, caplog):
        box = Outbox(path, 16)
        box.append([state(), detections()])
        box.close()
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute("INSERT INTO shed VALUES (1, 2)")
            file.executescript(damage)
            file.commit()

        box = Outbox(path, 16)
        seqs(box)
        box.report_gap(COMPOSER.gap)
        box.append([detections()])

        assert len(seqs(box)) == 1
        assert box.trouble is None
        assert [r.levelname for r in caplog.records] == ["ERROR"]
        assert "outbox.db: damaged (" in caplog.text
        box.close()

    def test_only_the_latest_damaged_file_is_kept(self, path):
        for number in range(3):
            path.write_bytes(bytes([65 + number]) * 5000)
            Outbox(path, 16).close()
            path.unlink()

        (aside,) = path.parent.glob("outbox.db.damaged-*")
        assert aside.read_bytes()[0] == ord("C")


class TestCannotOpen:
    def test_says_that_the_directory_is_missing_and_which(self, tmp_path):
        with pytest.raises(OutboxError, match=r"does not exist; create .*/nowhere,"):
            Outbox(tmp_path / "nowhere" / "outbox.db", 16)

    def test_a_second_daemon_is_told_about_the_first(self, path, box):
        code = (
            "import sys; from pathlib import Path; from edge.reporting.outbox import Outbox; "
            "Outbox(Path(sys.argv[1]), 16)"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, timeout=60, check=False
        )

        assert b"another process has it open; stop the other daemon" in other.stderr

    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
    def test_what_is_no_file_is_named_and_nothing_is_left_beside_it(self, path, make):
        make(path)

        with pytest.raises(OutboxError, match="is no file; correct outbox"):
            Outbox(path, 16)
        assert list(path.parent.iterdir()) == [path]

    def test_a_path_that_the_system_does_not_take_is_named(self, tmp_path):
        with pytest.raises(OutboxError, match="File name too long; correct outbox"):
            Outbox(tmp_path / ("x" * 300), 16)

    def test_another_programs_database_is_left_alone(self, path):
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 1")
            db.execute("CREATE TABLE x(y)")

        with pytest.raises(OutboxError, match="another version or program"):
            Outbox(path, 16)

    def test_a_file_of_a_later_version_is_left_alone(self, path):
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 99")
        db.execute("CREATE TABLE x(y)")
        db.close()

        with pytest.raises(OutboxError, match="format 99"):
            Outbox(path, 16)


class TestSheddingRule:
    @pytest.mark.parametrize(
        ("items", "index"),
        [
            ([], None),
            ([state()], None),
            ([state("07"), state("08"), camera()], None),
            ([state(), detections("a"), detections("b")], 1),
            ([state("07"), state("08"), state("07")], 0),
            ([state("08"), state("07"), camera(), state("07")], 1),
            ([COMPOSER.gap(1, []), COMPOSER.gap(1, [])], None),
        ],
    )
    def test_which_one_goes_first(self, items, index):
        assert expendable(items) == index

    def test_more_indispensable_messages_than_fit_are_all_held(self):
        holding = Holding(2)

        assert holding.add([state("1"), state("2"), state("3")]) == []
        assert len(holding.take()) == 3

    @given(st.sets(st.integers(1, 60)))
    def test_runs_cover_exactly_the_numbers_and_do_not_touch(self, numbers):
        found = runs(numbers)

        assert {n for first, last in found for n in range(first, last + 1)} == numbers
        assert all(b[0] > a[1] + 1 for a, b in pairwise(found))

    @settings(max_examples=25)
    @given(batches=st.lists(st.sets(st.integers(1, 40), min_size=1), max_size=6))
    def test_the_store_keeps_runs_merged_however_they_come(self, tmp_path_factory, batches):
        box = Outbox(tmp_path_factory.mktemp("runs") / "outbox.db", 16)
        seen: set[int] = set()
        for batch in batches:
            box._store.insert([], box._next_seq, lost=batch - seen)
            seen |= batch

        assert box._store.shed_runs(1000) == runs(seen)
        box.close()
