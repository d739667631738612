"""Numbers on the command line."""

import argparse

import pytest

from edge.tools import amounts


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (amounts.count, "1", 1),
        (amounts.threads, "256", 256),
        (amounts.positive, "1e-3", 1e-3),
        (amounts.share, "0.3", 0.3),
        (amounts.port, "1883", 1883),
        (amounts.port, "65535", 65535),
    ],
)
def test_what_is_taken(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [(amounts.count, text) for text in ("0", "-1", "1.5", "²", "")]
    + [(amounts.threads, text) for text in ("0", "257", "100000")]
    + [(amounts.positive, text) for text in ("0", "-1", "nan", "inf", "soon")]
    + [(amounts.share, text) for text in ("1.1", "-0.1", "nan")]
    + [(amounts.port, text) for text in ("0", "65536", "-1", "http")],
)
def test_what_is_refused_says_what_was_expected_and_found(read, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"expected .*found '{text}'"):
        read(text)
