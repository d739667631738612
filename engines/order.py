"""What the command line asks for, as the build takes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engines.evaluation.budget import Budget
from engines.feeding import Feeding
from engines.gate import Gate
from engines.inspection import Order

if TYPE_CHECKING:
    import argparse


def order_of(arguments: argparse.Namespace) -> Order:
    """Return which model is meant, and what is known of it."""
    # A file name may hold what a bundle's name may not.
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", arguments.model.stem).strip("-._")
    return Order(
        model=arguments.model,
        name=arguments.name or stem[:64] or "model",
        version=arguments.version_,
        family=arguments.family,
        labels=arguments.labels,
        size_wh=arguments.size,
        iou=arguments.iou,
        anchors=arguments.anchors,
        proposals=arguments.proposals,
        feeding=_feeding(arguments),
    )


def _feeding(arguments: argparse.Namespace) -> Feeding:
    return Feeding(
        letterbox=arguments.letterbox,
        pad=arguments.pad,
        colours=arguments.colours,
        scale=arguments.scale,
        mean=arguments.mean,
        std=arguments.std,
    )


def gate_of(arguments: argparse.Namespace) -> Gate:
    """Return what is asked of the accuracy."""
    return Gate(
        Budget(max_score_shift=arguments.max_score_shift, max_map_drop=arguments.max_map_drop),
        annotations=arguments.annotations,
        allow_drop=arguments.allow_drop,
        search=arguments.search,
        tensorrt=arguments.runtime != "onnxruntime",
    )
