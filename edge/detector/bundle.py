"""A bundle: what a build produced and this device runs, checked before anything trusts it."""

from __future__ import annotations

import hashlib
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

PASSPORT = "bundle.json"
PORTABLE_GRAPH = "model.onnx"
TENSORRT_GRAPH = "model.trt.onnx"
PLAN = "engine.plan"
KERNEL = "letterbox.cubin"
GOLDEN = "golden.npz"
REPORT = "report.html"
PARTS = (PORTABLE_GRAPH, TENSORRT_GRAPH, PLAN, KERNEL, GOLDEN, REPORT)
REQUIRED = (PORTABLE_GRAPH, GOLDEN)

_REBUILD = "copy the bundle again, or build it again with edge-build-engine"

Score = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_Part):
    """The network's input and how a frame is brought to it."""

    width: Annotated[int, Field(ge=8, le=8192)]
    height: Annotated[int, Field(ge=8, le=8192)]
    letterbox: Literal["centered", "top-left", "stretch"]
    pad: Annotated[int, Field(ge=0, le=255)] = 114
    """Grey value of the bars."""

    @property
    def resolution_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height


class Thresholds(_Part):
    """Lowest score that counts, unless the configuration says otherwise."""

    default: Score = 0.25
    labels: dict[str, Score] = {}


class Tolerance(_Part):
    """How far detections on another runtime may be from the golden ones."""

    kept: Score = 0.9
    """Share of golden detections that must be found again (same label, IoU >= 0.5)."""
    mean_iou: Score = 0.9
    mean_score_shift: Score = 0.05


class PlanSpec(_Part):
    """What `engine.plan` was compiled with and for; it runs nowhere else."""

    tensorrt: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+")]
    cuda: str
    """CUDA of the driver, such as 12.6."""
    device: str
    """Name of the GPU."""
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d+$")]
    precision: Literal["int8", "fp16"]
    """What was faster here."""
    max_batch: Annotated[int, Field(ge=1)]
    milliseconds: dict[str, float] = {}
    """Median time of one frame, by precision, of the plans that were tried."""
    dla: dict[str, Any] = {}
    """Core, and what fell back to the GPU; empty without a DLA."""
    warnings: tuple[str, ...] = ()
    """What the builder warned of, skipped tactics included."""


class Passport(_Part):
    """`bundle.json`: what this bundle is, and the sha256 of every file in it."""

    schema_: Literal["aisle-edge/bundle/1"] = Field("aisle-edge/bundle/1", alias="schema")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
    family: str
    input: InputSpec
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    thresholds: Thresholds = Thresholds()
    iou: Score
    """IoU above which the in-graph NMS suppresses; a build-time constant; 1 where there is none."""
    max_detections: Annotated[int, Field(ge=1)]
    max_batch: Annotated[int, Field(ge=1)] = 1
    """Largest batch the graphs take."""
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    tolerance: Tolerance = Tolerance()
    calibration: dict[str, Any] = {}
    """What the ranges were measured on, and how."""
    accuracy: dict[str, Any] = {}
    """Per graph: agreement with the float model on held-out frames."""
    plan: PlanSpec | None = None
    """Of `engine.plan`, where there is one."""
    source: dict[str, Any] = {}
    """The trained model: file name, sha256, producer."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle directory whose every file has the hash that its passport states."""

    path: Path
    passport: Passport

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels; a detection's label is an index into it."""
        return self.passport.labels

    def file(self, part: str) -> Path:
        """Return the path of one of `PARTS` in this bundle."""
        return self.path / part

    def has(self, part: str) -> bool:
        """Return whether this bundle holds that part."""
        return part in self.passport.files


def load_bundle(path: Path) -> Bundle:
    """Read a bundle's passport and hold every file to it.

    Raises `BundleError` naming the file, what was expected and what was found.
    """
    passport = _read_passport(path)
    for name in REQUIRED:
        if name not in passport.files:
            raise BundleError(f"{path / PASSPORT}: lists no {name}", _REBUILD)
    for name, expected in passport.files.items():
        _check_file(path, name, expected)
    return Bundle(path.resolve(), passport)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_passport(path: Path) -> Passport:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    except OSError as error:
        raise BundleError(
            f"bundle {path}: {error.strerror}", "let this user into every directory above it"
        ) from error
    if not stat.S_ISDIR(mode):
        raise BundleError(
            f"bundle {path}: expected a directory, found {'a file' if mode else 'nothing'}",
            "give the directory that edge-build-engine --out wrote",
        )
    try:
        return Passport.model_validate_json((path / PASSPORT).read_bytes())
    except OSError as error:
        raise _unreadable(path / PASSPORT, error) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise BundleError(f"{path / PASSPORT}: {key}: {first['msg']}", _REBUILD) from error


def _unreadable(path: Path, error: OSError) -> BundleError:
    forbidden = isinstance(error, PermissionError)
    remedy = "let this user read it, as with chown -R on the bundle"
    return BundleError(f"{path}: {error.strerror}", remedy if forbidden else _REBUILD)


def _check_file(path: Path, name: str, expected: str) -> None:
    if name not in PARTS:  # also keeps a passport from naming a path outside the bundle
        raise BundleError(
            f"{path / PASSPORT}: unknown file {re.sub(r'[^ -~]', '?', name)!r}",
            f"a bundle holds {', '.join(PARTS)}",
        )
    try:
        found = sha256_of(path / name)
    except OSError as error:
        raise _unreadable(path / name, error) from error
    if found != expected:
        raise BundleError(
            f"{path / name}: sha256 {found[:12]}… is not the passport's {expected[:12]}…", _REBUILD
        )
