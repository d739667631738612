"""The configuration of a demo: the cameras and the detector given, or those that are built in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

# A wheel and a checkout have both packages side by side; the run time imports nothing of the build.
BUILT_IN_BUNDLE = Path(__file__).parents[2] / "engines" / "zoo" / "bundles" / "shelf-yolo"

_WORLD = "synthetic://shelf?width=960&height=540&cycle=40"
_BLIND_AFTER_S = 20
_BUILT_IN: dict[str, tuple[str, str]] = {
    "north": ("07", f"{_WORLD}&seed=7&aisles=07"),
    "south": ("08", f"{_WORLD}&seed=8&aisles=08"),
    "covered": ("09", f"{_WORLD}&seed=9&aisles=09&blind_after={_BLIND_AFTER_S}"),
}
"""camera: (its aisle, where its pictures come from). The last one goes dark on purpose."""

_LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
_RIGHT = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]


class _WithoutAliases(yaml.SafeDumper):
    """Writes what comes twice twice: a configuration with aliases is not read."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def write_config(
    sources: Sequence[str], bundle: Path | None, broker: tuple[str, int], folder: Path
) -> Path:
    """Write the demo's configuration into `folder`, readable by its owner alone; return its path.

    A camera that was given sees two aisles, left and right; without one there are three drawn
    cameras, an aisle each. Without a bundle the built-in one detects.
    """
    host, port = broker
    config = {
        "site": "demo",
        "device": "here",
        "bundle": str(bundle or BUILT_IN_BUNDLE),
        "cameras": _given(sources) if sources else _built_in(),
        "mqtt": {"host": host, "port": port, "tls": False},
        "publish": {"state_heartbeat_s": 5, "hysteresis_s": 1},
        "outbox": {"path": str(folder / "outbox.db"), "max_mb": 16},
    }
    path = folder / "aisle-edge.yaml"
    path.touch(mode=0o600)  # a source may hold a camera's password
    path.write_text(yaml.dump(config, Dumper=_WithoutAliases, sort_keys=False))
    return path


def what_is_shown(sources: Sequence[str]) -> str:
    """Return what a person is about to see, in a line."""
    if sources:
        cameras = "1 camera" if len(sources) == 1 else f"{len(sources)} cameras"
        return f"{cameras}, the aisles left and right in each"
    return (
        "aisles 07 and 08 are drawn shelves that empty and fill up; "
        f"the camera of aisle 09 goes dark after {_BLIND_AFTER_S} s"
    )


def _given(sources: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"camera-{number}",
            "source": source,
            "aisles": [
                {"id": f"{2 * number - 1:02}", "zone": _LEFT},
                {"id": f"{2 * number:02}", "zone": _RIGHT},
            ],
        }
        for number, source in enumerate(sources, start=1)
    ]


def _built_in() -> list[dict[str, Any]]:
    return [
        {"name": name, "source": source, "aisles": [{"id": aisle}]}
        for name, (aisle, source) in _BUILT_IN.items()
    ]
