"""Who logs never waits for who reads."""

import logging
import os
import time

import pytest

from edge.service.log import LogWriter


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)  # first, so that nobody is left writing to a number that another file gets
    time.sleep(0.1)
    os.close(writing)


def log_to(descriptor, lines):
    writer = LogWriter(descriptor)
    for n in range(lines):
        writer.handle(logging.makeLogRecord({"msg": f"line {n} {'x' * 200}"}))
    return writer


def read_all(reading, lines):
    """Read until so many lines stand there or are counted as lost, in one place or more."""
    text, kept, lost = "", 0, 0
    while kept + lost < lines:
        text += os.read(reading, 1 << 16).decode()
        whole = text.splitlines()[: text.count("\n")]
        lost = sum(int(line.split()[0]) for line in whole if line.endswith("read them in time"))
        kept = sum(line.startswith("line ") for line in whole)
    return text, kept, lost


def test_lines_are_written_in_their_order(pipe):
    log_to(pipe[1], 100).flush()

    lines = os.read(pipe[0], 1 << 16).decode().splitlines()
    assert [line.split()[:2] for line in lines] == [["line", str(n)] for n in range(100)]


def test_a_line_that_cannot_be_put_together_is_told_and_no_error(pipe):
    writer = LogWriter(pipe[1])
    writer.emit(logging.makeLogRecord({"name": "paho", "msg": "%d letters", "args": ("x",)}))
    writer.flush()

    assert b"ERROR paho: cannot be written" in os.read(pipe[0], 1 << 16)


def test_where_nobody_reads_nobody_waits_and_what_is_lost_is_counted(pipe):
    began_s = time.monotonic()
    log_to(pipe[1], 5000).flush()
    assert time.monotonic() - began_s < 5

    text, kept, lost = read_all(pipe[0], 5000)
    assert text.startswith("line 0 ")
    assert kept + lost == 5000
    assert kept >= 1000
    assert lost > 0


def test_a_reader_that_is_gone_and_one_that_never_was_are_no_error(pipe):
    reading, writing = os.pipe()
    os.close(reading)
    log_to(writing, 10).flush()
    log_to(None, 10).flush()
    os.close(writing)
