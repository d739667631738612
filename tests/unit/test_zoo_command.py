"""How the zoo's commands end."""

from __future__ import annotations

import sys

import pytest

from engines.errors import ImagesError
from engines.zoo import command


def _raising(error):
    def work():
        raise error

    return work


def test_work_that_is_done_ends_with_0():
    assert command.ended("train", lambda: None) == 0


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ImagesError("no frames", "draw some"), 3, "no frames; draw some"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            3,
            f"torch is not installed; {sys.executable} -m pip install 'aisle-edge[train]'",
        ),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(error, status, said, capsys):
    assert command.ended("train", _raising(error)) == status
    assert capsys.readouterr().err == f"engines.zoo.train: {said}\n"


def test_a_mistake_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        command.ended("train", _raising(ZeroDivisionError()))
