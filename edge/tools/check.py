"""`edge check FILE`: says whether a configuration is right, and whether what it names is there.

Exit 0: the file is right. What it names may not be here yet (a configuration is often written on
another machine), so a missing bundle, recording, secret or directory of the outbox is a `warning:`
line, not a failure. Exit 2: not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge.capture import readers
from edge.capture.source import parse_source
from edge.config_file import read_config_file
from edge.detector.bundle import load_bundle
from edge.errors import BundleError, StartError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from edge.config import Config, MqttConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the configuration, a YAML file")


def run(arguments: argparse.Namespace) -> int:
    """Print `FILE: ok` and what it configures, or raise `ConfigError` with every problem."""
    file = read_config_file(arguments.file)
    warnings = [*_unreadable(file.config.mqtt), *_not_there(file.config)]
    try:
        file.refuse_unknown_labels(load_bundle(file.config.bundle).labels)
    except BundleError as error:
        warnings.append(f"bundle: the daemon would not start here: {error}")
    try:
        file.refuse_unknown_aisles()
    except BundleError as error:
        warnings.append(f"aisles_by: the daemon would not start here: {error}")
    print(f"{arguments.file}: ok ({_summary(file.config)})")
    for warning in warnings:
        print(f"warning: {warning}")
    return 0


def _not_there(config: Config) -> Iterator[str]:
    for i, camera in enumerate(config.cameras):
        source = parse_source(camera.source)
        if source.recorded:
            try:
                readers.check(source)
            except StartError as error:
                yield f"cameras[{i}].source: the daemon would not start here: {error}"
    folder = config.outbox.path.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        yield f"outbox.path: {folder} is not there, or not for this user to write"


def _summary(config: Config) -> str:
    aisles = {aisle.id for camera in config.cameras for aisle in camera.aisles}
    broker = f"{config.mqtt.host}:{config.mqtt.port}"
    tls = " with TLS" if config.mqtt.tls_or_none() else ""
    return (
        f"{_count(len(config.cameras), 'camera')}, {_count(len(aisles), 'aisle')}, "
        f"broker {broker}{tls}"
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _unreadable(mqtt: MqttConfig) -> Iterator[str]:
    tls = mqtt.tls_or_none()
    files = {"mqtt.password_file": mqtt.password_file}
    if tls:
        names = ("ca_file", "cert_file", "key_file")
        files |= {f"mqtt.tls.{name}": getattr(tls, name) for name in names}
    for key, path in files.items():
        if path is None:
            continue
        try:
            path.open("rb").close()
        except OSError as error:
            # The path is not shown: a password that was written here by mistake would be.
            yield f"{key}: cannot be read here: {error.strerror}"
