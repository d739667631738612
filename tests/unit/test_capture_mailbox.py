"""The mailbox between the cameras and the detector."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.mailbox import Mailbox


def test_the_newest_item_replaces_the_older_one_and_the_loss_is_counted():
    mailbox = Mailbox(["a", "b"])

    assert mailbox.put("a", 1) is False
    assert mailbox.put("a", 2) is True
    assert mailbox.take(8, timeout=0) == [("a", 2)]
    assert (mailbox.dropped("a"), mailbox.dropped("b")) == (1, 0)


def test_an_item_is_taken_once():
    mailbox = Mailbox(["a"])
    mailbox.put("a", 1)
    mailbox.take(1, timeout=0)

    assert mailbox.take(1, timeout=0) == []


def test_the_camera_that_waited_longest_for_its_turn_comes_first():
    mailbox = Mailbox(["a", "b", "c"])
    for camera in "abc":
        mailbox.put(camera, camera)
    first = [camera for camera, _ in mailbox.take(2, timeout=0)]
    for camera in first:
        mailbox.put(camera, camera)

    assert [camera for camera, _ in mailbox.take(2, timeout=0)] == ["c", "a"]


def test_a_busy_camera_does_not_starve_a_slow_one():
    mailbox = Mailbox(["busy", "slow"])
    served = []
    mailbox.put("slow", 0)
    for turn in range(4):
        mailbox.put("busy", turn)
        served += [camera for camera, _ in mailbox.take(1, timeout=0)]

    assert served.count("slow") == 1
    assert "slow" in served[:2]


def test_taking_ends_when_something_else_comes_up_and_it_is_woken():
    mailbox = Mailbox(["a"])
    done = threading.Event()
    threading.Timer(0.05, lambda: (done.set(), mailbox.wake())).start()

    assert mailbox.take(4, 60, done.is_set) == []


def test_taking_waits_for_the_first_item_and_no_longer():
    mailbox = Mailbox(["a"])
    threading.Timer(0.05, mailbox.put, ("a", 1)).start()
    began = time.monotonic()

    assert mailbox.take(4, timeout=5) == [("a", 1)]
    assert time.monotonic() - began < 2


def test_taking_from_an_empty_mailbox_ends_at_the_time_out():
    began = time.monotonic()

    assert Mailbox(["a"]).take(1, timeout=0.05) == []
    assert 0.04 < time.monotonic() - began < 2


def test_a_source_that_can_wait_waits_until_its_slot_is_free():
    mailbox = Mailbox(["a"])
    mailbox.put("a", 1)
    threading.Timer(0.05, mailbox.take, (1, 0)).start()

    assert mailbox.put_wait("a", 2, timeout=5) is True
    assert mailbox.take(1, timeout=0) == [("a", 2)]
    assert mailbox.dropped("a") == 0


def test_waiting_for_a_slot_ends_at_the_time_out_and_keeps_the_older_item():
    mailbox = Mailbox(["a"])
    mailbox.put("a", 1)

    assert mailbox.put_wait("a", 2, timeout=0.01) is False
    assert mailbox.take(1, timeout=0) == [("a", 1)]


@pytest.mark.parametrize("wait", ["take", "put_wait"])
def test_closing_wakes_whoever_waits(wait):
    mailbox = Mailbox(["a", "b"])
    if wait == "put_wait":
        mailbox.put("a", 1)
    threading.Timer(0.05, mailbox.close).start()
    began = time.monotonic()

    got = mailbox.take(1, 5) if wait == "take" else mailbox.put_wait("a", 2, 5)

    assert not got
    assert time.monotonic() - began < 2


def test_a_closed_mailbox_keeps_nothing():
    mailbox = Mailbox(["a"])
    mailbox.put("a", 1)
    mailbox.close()
    mailbox.close()

    assert mailbox.put("a", 2) is True
    assert mailbox.take(1, timeout=0) == []


@pytest.mark.parametrize(
    "use",
    [lambda m: m.put("x", 1), lambda m: m.put_wait("x", 1, 0), lambda m: m.dropped("x")],
)
def test_an_unknown_camera_is_a_mistake(use):
    with pytest.raises(KeyError):
        use(Mailbox(["a"]))


def test_two_cameras_of_one_name_are_a_mistake():
    with pytest.raises(ValueError, match="different camera names"):
        Mailbox(["a", "a"])


@given(
    st.lists(
        st.one_of(
            st.sampled_from("abc"),  # this camera puts its next item
            st.integers(1, 4),  # the detector takes up to so many
        )
    )
)
def test_every_item_is_taken_or_counted_as_dropped_and_never_out_of_order(steps):
    mailbox = Mailbox("abc")
    put = dict.fromkeys("abc", 0)
    taken = {camera: [] for camera in "abc"}
    for step in [*steps, 4]:
        if isinstance(step, str):
            put[step] += 1
            mailbox.put(step, put[step])
        else:
            batch = mailbox.take(step, timeout=0)
            assert len(batch) <= step
            assert len({camera for camera, _ in batch}) == len(batch)
            for camera, item in batch:
                taken[camera].append(item)
    for camera in "abc":
        assert taken[camera] == sorted(set(taken[camera]))
        assert len(taken[camera]) + mailbox.dropped(camera) == put[camera]
        assert put[camera] == 0 or taken[camera][-1] == put[camera]


def test_nothing_is_lost_uncounted_between_threads():
    mailbox = Mailbox(["live", "file"])
    lost = {"live": 0, "file": 0}

    def live():
        for n in range(2000):
            lost["live"] += mailbox.put("live", n)

    def file():
        for n in range(300):
            lost["file"] += not mailbox.put_wait("file", n, timeout=10)

    threads = [threading.Thread(target=live), threading.Thread(target=file)]
    for thread in threads:
        thread.start()
    taken = {"live": [], "file": []}
    while (batch := mailbox.take(2, 0.05)) or any(thread.is_alive() for thread in threads):
        for camera, item in batch:
            taken[camera].append(item)

    assert taken["file"] == list(range(300))
    assert lost["file"] == 0
    assert taken["live"] == sorted(taken["live"])
    assert taken["live"][-1] == 1999
    assert len(taken["live"]) + lost["live"] == 2000
    assert mailbox.dropped("live") == lost["live"]
