"""Annotated images, read from COCO JSON: what is in them, by the model's own labels."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import AnnotationsError
from engines.images import IMAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edge.detections import Xyxy
    from edge.detector.letterbox import Placement

_KEYS = ("images", "annotations", "categories")
_ID = (int, float, str)
_NAMED = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Truth:
    """The N objects that one image shows, and where the image lies in the network input.

    `xyxy` float32 (N, 4) in pixels of the image; `labels` int32 (N,), index into the bundle's
    labels; `crowd` bool (N,): several in one box, matched by any number of detections.
    """

    name: str
    placement: Placement
    xyxy: Xyxy
    labels: npt.NDArray[np.int32]
    crowd: npt.NDArray[np.bool_]
    levels: tuple[int | None, ...]
    """The shelf's height, where the annotations say so (key `level`)."""

    def __post_init__(self) -> None:
        found = (self.xyxy.shape, self.labels.shape, self.crowd.shape, len(self.levels))
        n = len(self.labels)
        if found != ((n, 4), (n,), (n,), n):
            raise ValueError(f"Truth: expected N boxes, labels, crowds and levels, got {found}")

    @property
    def inside(self) -> Xyxy:
        """The boxes in pixels of the network input, float32 (N, 4)."""
        scale = np.array(self.placement.scale_xy * 2, np.float32)
        return self.xyxy * scale + np.array(self.placement.offset_xy * 2, np.float32)


@dataclass(frozen=True, slots=True)
class Annotated:
    """One image file and the objects in it, as the COCO file has them."""

    path: Path
    size_wh: tuple[int, int]
    objects: tuple[dict[str, Any], ...]
    label_of: Mapping[int, int]
    """COCO category id to index into the model's labels."""

    def truth(self, placement: Placement) -> Truth:
        """Return the objects of this image, which lies so in the network input."""
        boxes = np.array([a["bbox"] for a in self.objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return Truth(
            name=self.path.name,
            placement=placement,
            xyxy=boxes,
            labels=np.array([self.label_of[a["category_id"]] for a in self.objects], np.int32),
            crowd=np.array([bool(a.get("iscrowd", 0)) for a in self.objects], np.bool_),
            levels=tuple(
                a["level"] if isinstance(a.get("level"), int) else None for a in self.objects
            ),
        )


def read(file: Path, given: Sequence[Path], labels: Sequence[str]) -> list[Annotated]:
    """Return the annotated images that are found, by name, under `given` or beside the file.

    Raises `AnnotationsError` for a file that is no COCO JSON, names that no label of the model
    has, and names of which no image is there.
    """
    content = _content(file)
    label_of = _labels(file, content["categories"], labels)
    objects: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        if annotation["category_id"] in label_of:
            objects[annotation["image_id"]].append(annotation)
    files, found, missing = _Files(given, file.parent), [], []
    for image in sorted(content["images"], key=lambda image: str(image["file_name"])):
        path = files.find(file, image["file_name"])
        if path is None:
            missing.append(image["file_name"])
        else:
            found.append(Annotated(path, _size(image), tuple(objects[image["id"]]), label_of))
    _report_missing(file, found, missing)
    return found


def _content(file: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationsError(
            f"annotations {file}: cannot be read: {error}", "give a COCO JSON file"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in _KEYS):
        raise AnnotationsError(
            f"annotations {file}: expected COCO JSON with the lists {', '.join(_KEYS)}",
            "export the annotations as COCO object detection",
        )
    checks = zip((_image_problem, _object_problem, _category_problem), _KEYS, strict=True)
    problems = (check(item) for check, key in checks for item in content[key])
    if problem := next(filter(None, problems), None):
        raise AnnotationsError(
            f"annotations {file}: {problem}", "export the annotations as COCO object detection"
        )
    return content


def _image_problem(image: Any) -> str:  # noqa: ANN401 - whatever the JSON holds
    good = isinstance(image, dict) and isinstance(image.get("id"), _ID)
    if not good or not isinstance(image.get("file_name"), str):
        return f"an image without id or file_name: {str(image)[:80]}"
    size = _size(image)
    if not all(isinstance(side, (int, float)) for side in size):
        return f"image {image['id']}: expected width and height in pixels, found {size}"
    return ""


def _size(image: dict[str, Any]) -> tuple[Any, Any]:
    """Return its width and height, both 0 where they are not stated."""
    size = (image.get("width"), image.get("height"))
    return size if all(size) else (0, 0)


def _category_problem(item: Any) -> str:  # noqa: ANN401 - whatever the JSON holds
    good = isinstance(item, dict) and isinstance(item.get("id"), _ID) and "name" in item
    return "" if good else f"a category without id or name: {str(item)[:80]}"


def _object_problem(item: Any) -> str:  # noqa: ANN401 - whatever the JSON holds
    good = isinstance(item, dict) and "bbox" in item
    if not good or not all(isinstance(item.get(key), _ID) for key in ("image_id", "category_id")):
        return f"an annotation without image_id, category_id or bbox: {str(item)[:80]}"
    box = item["bbox"]
    if not isinstance(box, list) or len(box) != 4:  # noqa: PLR2004
        return f"annotation {item.get('id')}: expected bbox [x, y, width, height], found {box}"
    if not all(isinstance(side, (int, float)) and np.isfinite(side) for side in box):
        return f"annotation {item.get('id')}: expected a bbox of numbers, found {box}"
    return ""


def _plain(name: str) -> str:
    """Return a name as it is compared: `Dining_Table` is `dining table`."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _labels(
    file: Path, categories: Sequence[dict[str, Any]], labels: Sequence[str]
) -> dict[int, int]:
    """Return COCO category id to index of the model's label of the same name."""
    exact = {name: index for index, name in enumerate(labels)}
    plain = {_plain(name): index for index, name in enumerate(labels)}
    if len(plain) < len(labels):
        plain = exact  # two labels differ in spelling only: then the spelling counts
    found: dict[int, int] = {}
    unknown: list[str] = []
    for category in categories:
        name = str(category.get("name"))
        index = exact.get(name, plain.get(_plain(name)))
        if index is None:
            unknown.append(name)
        else:
            found[category["id"]] = index
    if not found:
        raise AnnotationsError(
            f"annotations {file}: none of its labels ({_some(unknown)}) is a label of the model "
            f"({_some(labels)})",
            "give --labels FILE with the model's names in the annotations' spelling, one per line",
        )
    if unknown:
        _log.warning(
            "annotations %s: the model has no label %s; these are not counted", file, _some(unknown)
        )
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


class _Files:
    """The image files that were given, and beside the annotations, by the end of their path."""

    def __init__(self, given: Sequence[Path], beside: Path) -> None:
        self._given, self._beside = _by_name(given), _by_name([beside])

    def find(self, file: Path, name: str) -> Path | None:
        """Return the file whose path ends as `name` does, the more of it the better."""
        wanted = name.replace("\\", "/").split("/")
        candidates = self._given.get(wanted[-1]) or self._beside.get(wanted[-1], set())
        shared = {path: _shared_end(path.parts, wanted) for path in candidates}
        best = [path for path in candidates if shared[path] == max(shared.values())]
        if len(best) > 1:
            raise AnnotationsError(
                f"annotations {file}: {name} may be {' or '.join(sorted(map(str, best)))}",
                "name the folder in file_name, or give only one of them with --images",
            )
        return best[0] if best else None


def _by_name(folders: Sequence[Path]) -> dict[str, set[Path]]:
    found: dict[str, set[Path]] = defaultdict(set)
    for folder in folders:
        for path in folder.rglob("*") if folder.is_dir() else [folder]:
            if path.suffix.lower() in IMAGES:
                found[path.name].add(path.resolve())
    return found


def _shared_end(parts: Sequence[str], wanted: Sequence[str]) -> int:
    count = 0
    for part, other in zip(reversed(parts), reversed(wanted), strict=False):
        if part != other:
            break
        count += 1
    return count


def _report_missing(file: Path, found: list[Annotated], missing: list[str]) -> None:
    if not found:
        raise AnnotationsError(
            f"annotations {file}: none of its {len(missing)} images was found, first "
            f"{missing[0] if missing else 'none: it lists no images'}",
            "give their folder with --images",
        )
    if missing:
        _log.warning(
            "annotations %s: %d of %d images were not found, first %s",
            file, len(missing), len(missing) + len(found), missing[0],
        )  # fmt: skip
