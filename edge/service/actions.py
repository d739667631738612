"""What each command does."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detector.detector import decode
from edge.detector.letterbox import letterbox
from edge.reporting.commands import (
    CommandError,
    ReloadRequest,
    SelfTestRequest,
    SnapshotRequest,
    ThresholdRequest,
)
from edge.reporting.compose import rfc3339

from .jpeg import draw, encode
from .self_test import self_test

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.config import Config
    from edge.detections import Detections
    from edge.detector.bundle import Bundle
    from edge.frame import Frame
    from edge.reporting.commands import Request
    from edge.reporting.compose import Composer
    from edge.reporting.health import Health

    from .detection import DetectionThread
    from .pipeline import Pipeline

JPEG_MOST = 64_000
"""Bytes: in base64, with up to 300 objects, an answer stays below 128 KiB: any broker takes it."""
_PICTURE_S = 5.0
_LONGEST_WAIT_S = 60.0
"""For a picture of a camera that is looked at every few minutes: other commands wait meanwhile."""
_DETECT_S = 10.0


class Actions:
    """Carries out commands, on the command thread, on what one configuration runs.

    `reload` asks the main thread for what SIGHUP does, and raises what is wrong with the new
    configuration. Nothing here makes a camera, the detector or the report thread wait.
    """

    def __init__(
        self, config: Config, bundle: Bundle, composer: Composer, reload: Callable[[], None]
    ) -> None:
        self._fps = {camera.name: camera.fps for camera in config.cameras}
        self._bundle = bundle
        self._composer = composer
        self._reload = reload
        self._pipeline: Pipeline
        self._detection: DetectionThread
        self._health: Callable[[], Health]

    def work_on(
        self, pipeline: Pipeline, detection: DetectionThread, health: Callable[[], Health]
    ) -> None:
        """Say what is running; to be called once, before the first command."""
        self._pipeline, self._detection, self._health = pipeline, detection, health

    def carry_out(self, request: Request) -> dict[str, Any]:
        """Return the result of a command; raises the `EdgeError` that says why there is none."""
        if isinstance(request, SnapshotRequest):
            return self._snapshot(request)
        if isinstance(request, ThresholdRequest):
            return self._threshold(request)
        if isinstance(request, ReloadRequest):
            self._reload()
            return {"state": "reloading"}
        if isinstance(request, SelfTestRequest):
            cameras = [camera.status() for camera in self._pipeline.cameras]
            return self_test(self._bundle, self._detection, cameras, self._health())
        raise TypeError(f"no action for {type(request).__name__}")

    def _snapshot(self, request: SnapshotRequest) -> dict[str, Any]:
        frame = self._next_frame(self._which(request.camera))
        stamp, image, objects = frame.stamp, frame.image, None
        if request.boxes and stamp.blindness is None:
            found = self._detect(frame)
            image = draw(image, found, self._bundle.labels)
            objects = self._composer.objects(found, stamp.resolution_wh)
        jpeg, (width, height) = encode(image, JPEG_MOST)
        return {
            "camera": stamp.camera,
            "frame": {
                "number": stamp.number,
                "captured_at": rfc3339(stamp.captured_at),
                "width": stamp.resolution_wh[0],
                "height": stamp.resolution_wh[1],
            },
            "reason": stamp.blindness.value if stamp.blindness else None,
            "objects": objects,
            "content_type": "image/jpeg",
            "width": width,
            "height": height,
            "jpeg": base64.b64encode(jpeg).decode("ascii"),
        }

    def _which(self, camera: str | None) -> str:
        names = tuple(self._fps)
        if camera in self._fps:
            return camera
        if camera is None and len(names) == 1:
            return names[0]
        what = "camera: which one?" if camera is None else f"camera: there is no '{camera}'"
        raise CommandError(what, f"there are {', '.join(names)}")

    def _next_frame(self, name: str) -> Frame:
        within_s = min(_PICTURE_S + 1 / self._fps[name], _LONGEST_WAIT_S)
        frame = self._pipeline.viewfinder.look(name, within_s)
        if frame is None:
            status = next(c.status() for c in self._pipeline.cameras if c.name == name)
            why = f"{status.state}: {status.detail}" if status.detail else status.state
            raise CommandError(f"camera {name} brought no picture within {within_s:.0f} s ({why})")
        return frame

    def _detect(self, frame: Frame) -> Detections:
        """Return what counts in an aisle, of this very frame."""
        if not self._detection.ready:
            raise CommandError("the detector is still loading", "ask again, or without boxes")
        pixels, placement = letterbox(frame.image, self._bundle.passport.input)
        raw = self._detection.infer(pixels[np.newaxis], _DETECT_S)
        aisles = self._pipeline.aisles
        found = decode(raw, 0, placement, aisles.floor)
        counts = np.zeros(len(found), np.bool_)
        for zone in aisles.zones[frame.stamp.camera]:
            counts |= zone.counted(found, frame.stamp.resolution_wh)
        return found.where(counts)

    def _threshold(self, request: ThresholdRequest) -> dict[str, Any]:
        aisles, labels = self._pipeline.aisles, self._bundle.labels
        named = {zone.aisle for zones in aisles.zones.values() for zone in zones}
        if request.aisle is not None and request.aisle not in named:
            known = ", ".join(sorted(named))
            raise CommandError(f"aisle: there is no '{request.aisle}'", f"there are {known}")
        if request.label is not None and request.label not in labels:
            known = ", ".join(labels)
            raise CommandError(f"label: there is no '{request.label}'", f"there are {known}")
        if "threshold" in request.model_fields_set:
            label = None if request.label is None else labels.index(request.label)
            aisles.count_from(request.threshold, request.aisle, label)
        return {"effective": self._effective(), "until": "the next reload or restart"}

    def _effective(self) -> list[dict[str, Any]]:
        return [
            {
                "camera": camera,
                "aisle": zone.aisle,
                "thresholds": {
                    label: round(float(lowest), 4)
                    for label, lowest in zip(self._bundle.labels, zone.lowest, strict=True)
                    if np.isfinite(lowest)
                },
            }
            for camera, zones in self._pipeline.aisles.zones.items()
            for zone in zones
        ]
