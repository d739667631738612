"""Boxes from anchors as YOLOv5 and v7 decode them, decoded late.

Such an export puts a sigmoid on 85 numbers of each of 25,200 candidates and joins them three times:
of a YOLOv5n's 38.6 ms in 8 bits, decoding only the K best saved 2.9. Whether a network's own
decoding is this one is not believed from its structure: it is run, and compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from engines.families.grid import cells, corners_and_strides
from engines.families.probe import values_of
from engines.families.yolo_raw import Heads
from engines.graph import attribute, constants, producers, shape_of, upwards

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.families.family import Preprocessing
    from engines.families.rows import Rows
    from engines.reading.model import Network

_SAME_PX, _SAME_SCORE = 0.01, 1e-4
_TINY = 1e-12
_APART = 5
"""Rank of (B, A, 5 + labels, h, w)."""
_SIGMOIDS_FAR = 200.0
"""Beyond it a sigmoid is 0 or 1 in float32, and `exp` would overflow."""


def find_heads(network: Network, rows: Rows, fed: Preprocessing) -> Heads | None:
    """Return what the network provably decodes to `rows` in YOLOv5's way, or None."""
    logits = _logits(network, rows)
    if logits is None:
        return None
    own, *raw = values_of(network, [rows.output, *logits.values()], fed)
    for strides in (rows.strides, rows.strides[::-1]):  # YOLOv3 gives the largest first
        by_stride = dict(zip(logits, raw, strict=True))
        anchors = _anchors(network, own[0], {stride: by_stride[stride][0] for stride in strides})
        if anchors is not None:
            ordered = np.stack([anchors[stride] for stride in logits])
            maps = _maps(network, logits)
            return Heads(maps or logits, rows.labels, ordered, last=False, split=maps is None)
    return None


def _maps(network: Network, logits: dict[int, str]) -> dict[int, str] | None:
    """Return the maps (B, A * (5 + labels), h, w) that the logits are, if they are only moved."""
    made_by, known = producers(network.model.graph), constants(network.model.graph)
    found = {}
    for stride, name in logits.items():
        moved = made_by.get(name)
        apart = made_by.get(moved.input[0]) if moved is not None else None
        if (
            moved is None
            or apart is None
            or (moved.op_type, attribute(moved, "perm")) != ("Transpose", [0, 1, 3, 4, 2])
            or apart.op_type != "Reshape"
            or apart.input[1] not in known
            or len(numpy_helper.to_array(known[apart.input[1]])) != _APART
        ):
            return None
        found[stride] = str(apart.input[0])
    return found


def _logits(network: Network, rows: Rows) -> dict[int, str] | None:
    """Return what the sigmoids read, (B, A, h, w, 5 + labels), by stride, smallest first."""
    made_by = producers(network.model.graph)
    inferred = onnx.shape_inference.infer_shapes(network.model, data_prop=True).graph
    shapes = {value.name: shape_of(value) for value in (*inferred.value_info, *inferred.output)}

    def above(node: onnx.NodeProto) -> list[str]:
        return [] if node.op_type in {"Sigmoid", "Conv"} else list(node.input)

    met = upwards(made_by, rows.output, above)
    tensors = [node.input[0] for node in met if node.op_type == "Sigmoid"]
    found = {}
    for stride in sorted(rows.strides):
        columns, height = cells(network.size_wh, stride)
        wanted = (rows.anchors, height, columns, 5 + rows.labels)
        fitting = [str(name) for name in tensors if shapes.get(name, ())[1:] == wanted]
        if len(fitting) != 1:
            return None
        found[stride] = fitting[0]
    return found if len(found) == len(tensors) else None


def _anchors(
    network: Network, own: npt.NDArray[np.float32], logits: dict[int, npt.NDArray[np.float32]]
) -> dict[int, npt.NDArray[np.float32]] | None:
    """Return the anchors (A, 2) of each stride with which the logits become the rows `own`.

    The logits are in the order in which the rows are joined; None where they become others.
    """
    found, start = {}, 0
    for stride, values in logits.items():
        shares = 1 / (1 + np.exp(-np.clip(values, -_SIGMOIDS_FAR, _SIGMOIDS_FAR)))
        shares = shares.reshape(len(values), -1, values.shape[-1]).astype(np.float64)
        rows = own[start : start + shares.shape[0] * shares.shape[1]].reshape(shares.shape)
        start += shares.shape[0] * shares.shape[1]
        corners, _ = corners_and_strides(network.size_wh, (stride,))
        centres = (2 * shares[..., :2] - 0.5 + corners.T) * stride
        factors = (2 * shares[..., 2:4]) ** 2
        power = np.maximum((factors**2).sum(axis=1), _TINY)
        anchors = np.round((factors * rows[..., 2:4]).sum(axis=1) / power, 4)  # least squares
        same = (
            np.abs(centres - rows[..., :2]).max() < _SAME_PX
            and np.abs(factors * anchors[:, None] - rows[..., 2:4]).max() < _SAME_PX
            and np.abs(shares[..., 4:] - rows[..., 4:]).max() < _SAME_SCORE
        )
        if not same:
            return None
        found[stride] = anchors.astype(np.float32)
    return found
