"""Frames and boxes to learn from, and what is done to them so that each is seen once only.

What counts: a box whose shorter side has at least `MIN_SIDE_PX` in the network's input. A smaller
one, one that the crop cuts by more than half, or one that COCO calls a crowd, is *ignored*: it
neither has to be found nor may be called background, in training and in evaluation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engines.errors import ImagesError
from engines.zoo.scenes import ANNOTATIONS, FRAMES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.frame import Image

    _Things = tuple["Boxes", "Classes", npt.NDArray[np.bool_]]
    _Item = tuple[npt.NDArray[np.uint8] | Path, int, _Things]

MIN_SIDE_PX = 6.0
"""Below it a cell of stride 8 cannot tell one thing from its neighbour."""
_KEPT_SHARE = 0.5
_GREY = 114

Boxes = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]


class Frame(NamedTuple):
    """An annotated picture, uint8 (H, W, 3) BGR, and the N things that it shows."""

    image: Image
    boxes: Boxes
    """(N, 4), xyxy in the picture's pixels."""
    labels: Classes
    """(N,), indices into the data set's labels."""
    crowd: npt.NDArray[np.bool_]
    """(N,), several things in one box."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame, uint8 (H, W, 3) BGR, and its boxes, xyxy in pixels (N, 4); ignored ones apart."""

    image: Image
    boxes: Boxes
    labels: Classes
    ignored: Boxes
    ignored_labels: Classes

    def __post_init__(self) -> None:
        if len(self.boxes) != len(self.labels):
            raise ValueError(f"Sample: {len(self.boxes)} boxes and {len(self.labels)} labels")


@dataclass(frozen=True, slots=True)
class Jitter:
    """How far a sample may be changed."""

    whole_wh: tuple[int, int]
    """The input that a whole frame fits into; a smaller sample is cut out of that."""
    zoom: tuple[float, float] = (0.55, 1.5)
    """Of the letterbox' scale; drawn evenly on a logarithmic scale."""
    stretch: float = 0.12
    gain: float = 0.25
    tint: float = 0.10
    mirror: bool = True


class Dataset:
    """Folders as `scenes.draw` writes them, or a folder of COCO: frames by number."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.labels: tuple[str, ...] = ()
        self._items: list[_Item] = []
        for folder in folders:
            self._add(folder)
        if not self._items:
            raise ImagesError(
                f"dataset {', '.join(map(str, folders))}: no annotated frames", "give a COCO folder"
            )

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> Frame:
        """Return a frame; raises `ImagesError` for a file that is no image."""
        import cv2

        where, index, things = self._items[number]
        if isinstance(where, np.ndarray):
            return Frame(np.asarray(where[index]), *things)
        image = cv2.imread(str(where), cv2.IMREAD_COLOR)
        if image is None:
            raise ImagesError(f"image {where}: OpenCV cannot read it", "mend or remove it")
        return Frame(np.asarray(image, np.uint8), *things)

    def _add(self, folder: Path) -> None:
        try:
            names, things = _read_coco(folder / ANNOTATIONS)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ImagesError(
                f"dataset {folder}: expected COCO object detection in {ANNOTATIONS}, found "
                f"{type(error).__name__}: {error}",
                "give a folder with images/ and annotations.json",
            ) from error
        if self.labels and names != self.labels:
            raise ImagesError(
                f"dataset {folder}: expected labels {self.labels}, found {names}",
                "train on folders of one set of labels",
            )
        self.labels = names
        packed = folder / FRAMES
        frames = np.load(packed, mmap_mode="r") if packed.exists() else None
        for at, (name, mine) in enumerate(things):
            self._items.append((frames if frames is not None else _path(folder, name), at, mine))


def _read_coco(file: Path) -> tuple[tuple[str, ...], list[tuple[str, _Things]]]:
    """Return the labels, by category id, and each image's file name and what it shows."""
    coco = json.loads(file.read_text(encoding="utf-8-sig"))
    categories = sorted(coco["categories"], key=lambda one: int(one["id"]))
    label_of = {int(one["id"]): at for at, one in enumerate(categories)}
    by_image: dict[object, list[dict[str, Any]]] = {}
    for one in coco["annotations"]:
        by_image.setdefault(one["image_id"], []).append(one)
    things = [
        (str(image["file_name"]), _things(by_image.get(image["id"], []), label_of))
        for image in coco["images"]
    ]
    return tuple(str(one["name"]) for one in categories), things


def _things(annotations: list[dict[str, Any]], label_of: dict[int, int]) -> _Things:
    boxes = np.array([one["bbox"] for one in annotations], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = [label_of[int(one["category_id"])] for one in annotations]
    crowd = [bool(one.get("iscrowd", 0)) for one in annotations]
    return boxes, np.array(labels, np.int64), np.array(crowd, np.bool_)


def _path(folder: Path, name: str) -> Path:
    inside = folder / "images" / name
    return inside if inside.exists() else folder / name


def fitted(frame: Frame, size_wh: tuple[int, int], *, centred: bool = True) -> Sample:
    """Return the frame letterboxed as the run time does it."""
    from edge.detector.bundle import InputSpec
    from edge.detector.letterbox import letterbox

    where = "centered" if centred else "top-left"
    spec = InputSpec(width=size_wh[0], height=size_wh[1], letterbox=where, pad=_GREY)
    canvas, placed = letterbox(frame.image, spec)
    moved = frame.boxes * _f32(placed.scale_xy * 2) + _f32(placed.offset_xy * 2)
    return _counted(canvas, moved, moved, frame)


def jittered(
    frame: Frame,
    size_wh: tuple[int, int],
    jitter: Jitter,
    chance: np.random.Generator,
) -> Sample:
    """Return the frame moved, zoomed, mirrored and in another light."""
    import cv2

    image, boxes = frame.image, frame.boxes
    height, width = image.shape[:2]
    fit = min(jitter.whole_wh[0] / width, jitter.whole_wh[1] / height)
    zoom = fit * float(np.exp(chance.uniform(*np.log(jitter.zoom))))
    scale = zoom * np.exp(chance.uniform(-jitter.stretch, jitter.stretch, 2) / 2 * [1, -1])
    room = np.array(size_wh) - np.array([width, height]) * scale
    shift = room * chance.uniform(0, 1, 2)
    if jitter.mirror and chance.random() < 0.5:  # noqa: PLR2004 - as many either way
        image = image[:, ::-1]
        boxes = boxes[:, [2, 1, 0, 3]] * _f32((-1, 1, -1, 1)) + _f32((width, 0) * 2)
    # Half a pixel, so that edges land where the letterbox' resize puts them.
    offset = shift + scale / 2 - 0.5
    matrix = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]])
    canvas = cv2.warpAffine(
        np.ascontiguousarray(image), matrix, size_wh, flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(_GREY,) * 3,
    )  # fmt: skip
    moved = boxes * np.tile(scale, 2).astype(np.float32) + np.tile(shift, 2).astype(np.float32)
    inside = np.clip(moved, 0, _f32(size_wh * 2))
    return _counted(_relit(np.asarray(canvas, np.uint8), jitter, chance), moved, inside, frame)


def _relit(image: npt.NDArray[np.uint8], jitter: Jitter, chance: np.random.Generator) -> Image:
    import cv2

    gain = 1 + chance.uniform(-jitter.gain, jitter.gain)
    tint = 1 + chance.uniform(-jitter.tint, jitter.tint, 3)
    lift = chance.uniform(-12, 12)
    ramp = np.arange(256)[:, None] * (gain * tint) + lift
    table = np.clip(ramp, 0, 255).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(image, table), np.uint8)


def _counted(image: Image, whole: Boxes, inside: Boxes, frame: Frame) -> Sample:
    """Part what counts from what is ignored; what the crop leaves nothing of is neither."""
    sides = inside[:, 2:] - inside[:, :2]
    area = np.prod(np.maximum(sides, 0), axis=1)
    share = area / np.maximum(np.prod(whole[:, 2:] - whole[:, :2], axis=1), 1e-6)
    large = sides.min(axis=1, initial=np.inf) >= MIN_SIDE_PX
    counts = large & (share >= _KEPT_SHARE) & ~frame.crowd
    rest = ~counts & (area > 0)
    labels = frame.labels
    return Sample(image, inside[counts], labels[counts], inside[rest], labels[rest])


def _f32(numbers: Sequence[float]) -> npt.NDArray[np.float32]:
    return np.array(numbers, np.float32)
