"""DAMO-YOLO as its converter exports it: scores (B, N, labels), then boxes (B, N, 4).

Its distances are distributions over bins whose expectation is a matrix product, and its scores a
part of one label more than there are. Trained on RGB in 0..255, resized without bars since
`keep_ratio` is False in its configuration; the first release letterboxed to the top left on black.
With NMS at its end (`--end2end`) it is cut off; `--with-preprocess` is one doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.families.boxes_and_scores import BoxesAndScores, is_yolov8, projected_by
from engines.families.built_in import takes_bytes
from engines.families.family import Preprocessing
from engines.graph import producers

if TYPE_CHECKING:
    from engines.families.boxes_and_scores import Pair
    from engines.reading.model import Network

_ROWS = 2
_PLAIN = {"Conv", "Slice"}
"""What its first layer reads the image by: a convolution, or the four slices of a Focus stem."""


class DamoYolo(BoxesAndScores):
    """See the module."""

    name = "damo-yolo"
    models = "DAMO-YOLO: scores (1, N, labels) and boxes (1, N, 4)"
    preprocessing = Preprocessing(letterbox="stretch", colours="RGB", pad=0)
    iou = 0.7

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        if takes_bytes(network):
            return "its image is uint8"
        if pair.axis != _ROWS:
            return f"{pair}, expected scores (1, {pair.count}, {pair.labels})"
        if projected_by(network, pair) != "MatMul":
            return "no matrix product makes its boxes' distances of distributions"
        if is_yolov8(network, pair):
            return "its boxes' distances are distributions over 16 bins, as YOLOv8's"
        return None

    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:
        graph = network.model.graph
        last = producers(graph)[pair.scores].op_type
        readers = {node.op_type for node in graph.node if network.image in node.input}
        return (
            *(
                ()
                if last == "Slice"
                else (f"its scores are made by {last}, not by leaving one out",)
            ),
            *(() if readers <= _PLAIN else (f"its graph prepares the image: {sorted(readers)}",)),
        )
