"""`edge doctor`: what this machine has, and what is missing for what.

Exit 0: the main job (cameras in, INT8 detections out) can run here. Exit 3: it cannot.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge.board import this_board
from edge.config import OutboxConfig
from edge.config_file import load_config
from edge.errors import StartError
from edge.tools import probes
from edge.tools.finding import Finding, Verdict, isolated

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from edge.config import Config

_COLOURS = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.NOT_HERE: "dim",
    Verdict.FAILS: "bold red",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="also look at its broker, bundle and disk"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; return 0 if the main job can run here, else 3."""
    config = load_config(arguments.config) if arguments.config else None
    findings = with_verdict_on_runtimes(examine(config))
    failing = [finding.name for finding in findings if finding.verdict is Verdict.FAILS]
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        verdict = f"cannot run here yet: see {', '.join(failing)}" if failing else "ready to run"
        Console(highlight=False).print(_table(findings), verdict)
    return StartError.exit_code if failing else 0


def examine(config: Config | None) -> list[Finding]:
    """Run every probe, at once; a probe that fails is a finding too."""
    board = this_board()
    outbox = config.outbox if config else OutboxConfig()
    driver = isolated("CUDA driver", partial(probes.cuda_driver, board))
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("board", partial(probes.machine, board)),
        ("CPU", probes.processor),
        ("memory", probes.memory),
        ("Python", probes.python),
        ("OpenCV", partial(probes.opencv, board, config)),
        ("ONNX Runtime", partial(probes.onnxruntime, board)),
        ("CUDA driver", lambda: driver),
        ("TensorRT", partial(probes.gpu_package, "TensorRT", "tensorrt", board, driver)),
        ("pycuda", partial(probes.gpu_package, "pycuda", "pycuda", board, driver)),
        ("systemd", probes.systemd),
        ("mosquitto", probes.demo_broker),
        ("disk", partial(probes.disk, outbox.path, outbox.max_mb)),
    ]
    if config:
        looks.append(("bundle", partial(probes.bundle, config)))
        looks.append(("broker", partial(probes.broker, config.mqtt)))
    with ThreadPoolExecutor(len(looks)) as pool:
        return list(pool.map(lambda look: isolated(*look), looks))


def with_verdict_on_runtimes(findings: Sequence[Finding]) -> list[Finding]:
    """Fail ONNX Runtime where it is missing and the GPU cannot do the work either."""
    there = {finding.name for finding in findings if finding.verdict is Verdict.OK}
    gpu = {"CUDA driver", "TensorRT", "pycuda"} <= there
    return [
        Finding(finding.name, Verdict.FAILS, finding.found, finding.needed_for, finding.remedy)
        if finding.name == "ONNX Runtime" and finding.verdict is not Verdict.OK and not gpu
        else finding
        for finding in findings
    ]


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        said = Text(finding.found)
        if finding.needed_for:
            said.append(f"\nfor {finding.needed_for}", "dim")
            said.append(f": {finding.remedy}" if finding.remedy else "", "dim")
        table.add_row(finding.name, Text(finding.verdict.value, colour), said)
    return table
