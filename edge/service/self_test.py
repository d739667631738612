"""Is this device well? Its detector is held to golden as it runs, its cameras and broker asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.detector.golden import hold_to_golden
from edge.detector.runtime import RawDetections, Runtime
from edge.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    import numpy.typing as npt

    from edge.capture.status import CameraStatus
    from edge.detector.bundle import Bundle
    from edge.reporting.health import Health

    from .detection import DetectionThread

_INFERENCE_S = 10.0
"""Longest wait for one golden frame: frames of the cameras come in between."""


class _Serving(Runtime):
    """The runtime that serves, reached through the thread that owns it."""

    name = "serving"

    def __init__(self, detection: DetectionThread, input_shape: tuple[int, int, int]) -> None:
        super().__init__(input_shape)
        self._detection = detection

    def describe(self) -> str:
        return self._detection.health().runtime

    def _open(self) -> None: ...

    def _infer(self, frames: npt.NDArray[np.uint8]) -> RawDetections:
        return self._detection.infer(frames, _INFERENCE_S)

    def _close(self) -> None: ...


def self_test(
    bundle: Bundle, detection: DetectionThread, cameras: Iterable[CameraStatus], health: Health
) -> dict[str, Any]:
    """Return the verdict and what it rests on, as `edge.reporting.replies.SelfTestResult`.

    The cameras' frames are detected meanwhile: between two of them there is one golden frame.
    """
    cameras = tuple(cameras)
    golden, problem = _golden(bundle, detection)
    problems = [*([problem] if problem else []), *_of_cameras(cameras)]
    if health.disk_trouble:
        problems.append(f"outbox: cannot be written: {health.disk_trouble}; free space on its disk")
    return {
        "verdict": "fail" if problems else "pass",
        "problems": [problem[:1024] for problem in problems],
        "golden": golden,
        "cameras": [_camera(status) for status in cameras],
        "reporting": {
            "protocol": health.protocol,
            "backlog": health.backlog,
            "shed": health.shed,
            "disk_trouble": health.disk_trouble,
        },
    }


def _golden(bundle: Bundle, detection: DetectionThread) -> tuple[dict[str, Any] | None, str | None]:
    if not detection.ready:
        return None, "the detector is still loading; ask again when status names a runtime"
    spec = bundle.passport.input
    serving = _Serving(detection, (spec.height, spec.width, 3))
    try:
        result = hold_to_golden(bundle, serving, detection.part)
    except EdgeError as error:
        return None, str(error)
    seen = result.agreement
    return {
        "runtime": serving.describe()[:1024],
        "frames": result.frames,
        "kept": round(result.kept, 4),
        "unexpected": round(result.phantom, 4),
        "mean_iou": round(seen.mean_iou, 4),
        "mean_score_shift": round(seen.mean_score_shift, 4),
    }, None


def _of_cameras(cameras: Iterable[CameraStatus]) -> Iterator[str]:
    for status in cameras:
        if status.blindness is not None:
            detail = f": {status.detail}" if status.detail else ""
            yield f"camera {status.camera}: {status.state} ({status.blindness.value}){detail}"


def _camera(status: CameraStatus) -> dict[str, Any]:
    return {
        "camera": status.camera,
        "state": status.state,
        "reason": status.blindness.value if status.blindness else None,
        "fps": round(status.fps, 2),
        "detail": status.detail[:1024],
    }
