"""Every family's recogniser on every family's graph: each finds its own, and none another's."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from engines.families.registry import FAMILIES
from engines.reading.model import prepare
from engines.reading.model_file import load_source
from tests import networks, networks_boxes, networks_detr, networks_paddle, networks_yolo
from tests.networks_detectnet import detectnet
from tests.networks_efficientdet import efficientdet
from tests.networks_nanodet import fastestdet, nanodet, yolo_fastest
from tests.networks_ssd import ssd
from tests.networks_tensorflow import LETTERBOX, tensorflow
from tests.networks_torchvision import dense, torchvision

RAW = "yolov3 yolov4 yolov5-raw"
MM = "mmdetection mmyolo"
PADDLE_OR_NAS = "pp-yoloe pp-yoloe-plus yolo-nas"
GRAPHS = {
    # name: (graph, the family it is of for sure, families it may be of if the user says so)
    "v8 and later": (networks.ultralytics, "ultralytics", ""),
    "v8, distributions": (lambda: networks.ultralytics(bins=8), "ultralytics", ""),
    "v8, one label": (lambda: networks.ultralytics(labels=1), "ultralytics", ""),
    "v8, corners": (lambda: networks.ultralytics(corners=True), "ultralytics", ""),
    "v9, two branches": (networks_yolo.yolov9_dual, None, "ultralytics"),
    "X": (networks.yolox, "yolox", ""),
    "X, one label": (lambda: networks.yolox(labels=1), "yolox", ""),
    "X, decoded": (networks_yolo.yolox_decoded, "yolox", ""),
    "X or v6": (lambda: networks_yolo.yolox_decoded(focus=False), None, "yolox yolov6"),
    "v6": (networks_yolo.yolov6, "yolov6", ""),
    "v6, one label": (lambda: networks_yolo.yolov6(labels=1), "yolov6", ""),
    "v6, maps": (lambda: networks_yolo.yolov6(maps=True), "yolov6", ""),
    "v5": (networks_yolo.yolov5, "yolov5", ""),
    "v5, one label": (lambda: networks_yolo.yolov5(labels=1), "yolov5", ""),
    "v5 and its heads": (lambda: networks_yolo.yolov5(raw=True), "yolov5", ""),
    "v5, heads only": (networks_yolo.raw_heads, None, RAW),
    "v3 and v4, heads": (lambda: networks_yolo.raw_heads(layout="channels"), None, RAW),
    "v4, boxes and confs": (networks_yolo.yolov4_decoded, "yolov4-decoded", ""),
    "v10 and 26": (networks_yolo.end_to_end, "end-to-end", ""),
    "SSD": (ssd, "ssd", ""),
    "SSD of TensorFlow": (tensorflow, "ssd-tensorflow", ""),
    "EfficientDet of TensorFlow": (
        lambda: tensorflow(resizer=LETTERBOX, mapped=False),
        "ssd-tensorflow",
        "",
    ),
    "SSD of torchvision": (torchvision, "torchvision-ssd", ""),
    "RetinaNet": (dense, "torchvision-retinanet", ""),
    "FCOS": (lambda: dense(centred=True), "torchvision-fcos", ""),
    "DETR": (lambda: networks_detr.detr(softmax=True, hybrid=False), "detr", ""),
    "RT-DETR": (networks_detr.detr, "rt-detr", "rf-detr"),
    "RF-DETR": (lambda: networks_detr.detr(patches=True, hybrid=False), "rf-detr", "rt-detr"),
    "RF-DETR, its projector": (lambda: networks_detr.detr(patches=True), "rf-detr", "rt-detr"),
    "DINO on Swin": (lambda: networks_detr.detr(hybrid="projected"), None, "rt-detr rf-detr"),
    "RT-DETR, one label": (lambda: networks_detr.detr(labels=1), "rt-detr", "rf-detr"),
    "RT-DETR, two labels": (lambda: networks_detr.detr(labels=2, chosen=True), "rt-detr", ""),
    "RT-DETR of Ultralytics": (networks_detr.ultralytics, "rt-detr-ultralytics", ""),
    "DEIM": (networks_detr.exported, "detr-exported", ""),
    "DEIMv2": (lambda: networks_detr.exported(patches=True), "detr-exported-vit", ""),
    "NanoDet-Plus": (nanodet, "nanodet-plus", ""),
    "NanoDet": (lambda: nanodet(strides=(8, 16, 32)), "nanodet", ""),
    "NanoDet-Plus or PicoDet": (
        lambda: nanodet(split=True),
        None,
        "nanodet-plus picodet-raw",
    ),
    "FastestDet": (fastestdet, "fastestdet", ""),
    "YOLO-FastestV2": (lambda: yolo_fastest(stated=True), "yolo-fastestv2", RAW),
    "YOLO-NAS": (networks_boxes.yolo_nas, "yolo-nas", ""),
    "YOLO-NAS, one label": (lambda: networks_boxes.yolo_nas(labels=1), "yolo-nas", ""),
    "YOLO-NAS of bytes": (lambda: networks_boxes.yolo_nas(takes_bytes=True), "yolo-nas-uint8", ""),
    "DAMO-YOLO": (networks_boxes.damo_yolo, "damo-yolo", MM),
    "DAMO-YOLO, four labels": (
        lambda: networks_boxes.damo_yolo(labels=4),
        "damo-yolo",
        MM,
    ),
    "PP-YOLOE": (networks_paddle.pp_yoloe, None, "pp-yoloe pp-yoloe-plus"),
    "PP-YOLOE, joined": (lambda: networks_paddle.pp_yoloe(joined=True), None, PADDLE_OR_NAS),
    "PicoDet": (networks_paddle.picodet, "picodet", ""),
    "PicoDet, four labels": (lambda: networks_paddle.picodet(labels=4), "picodet", ""),
    "PicoDet, pairs": (lambda: networks_paddle.picodet(raw=True), "picodet-raw", ""),
    "YOLOv3 of Paddle": (networks_paddle.yolov3, "yolov3-paddle", ""),
    "YOLOX of Paddle": (networks_paddle.yolox, "yolox-paddle", ""),
    "RT-DETR of Paddle": (networks_paddle.rt_detr, "rt-detr-paddle", ""),
    "DINO of Paddle": (lambda: networks_paddle.rt_detr(hybrid=False), None, "rt-detr-paddle"),
    "EfficientDet": (efficientdet, None, "efficientdet efficientdet-lite"),
    "DetectNet_v2": (detectnet, "detectnet-v2", ""),
    "DetectNet_v2, one label": (lambda: detectnet(labels=1), "detectnet-v2", ""),
    "RTMDet": (networks_boxes.rtmdet, None, f"rtmdet {MM}"),
    "RTMDet, four": (lambda: networks_boxes.rtmdet(labels=4), None, f"rtmdet {MM}"),
    "YOLOX of MMDetection": (
        lambda: networks_boxes.rtmdet(products=True),
        None,
        f"mmdetection-yolox {MM}",
    ),
    "SSD of MMDetection": (
        lambda: networks_boxes.rtmdet(softmax=True),
        None,
        "mmdetection-ssd",
    ),
    "v8, boxes and scores apart": (lambda: networks_boxes.rtmdet(bins=16), "mmyolo", ""),
    "GFL": (lambda: networks_boxes.rtmdet(bins=8), None, f"damo-yolo {MM}"),
}
ANCHORS = {"anchors": repr(networks_yolo.ANCHORS.tolist())}


def answers(folder, model):
    """Return what each family says of a graph: found, or not."""
    # Raw heads are those of no family without anchors; other graphs must not become raw heads.
    onnx.helper.set_model_props(
        model, ANCHORS | {item.key: item.value for item in model.metadata_props}
    )
    path = folder / "model.onnx"
    onnx.save(model, path)
    network = prepare(load_source(path), None)
    found = {family.name: family.recognise(network) for family in FAMILIES}
    return {name: answer for name, answer in found.items() if not isinstance(answer, str)}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_of_its_own_family_only(tmp_path, name):
    export, sure, unsure = GRAPHS[name]

    found = answers(tmp_path, export())

    assert {family for family, answer in found.items() if not answer.doubts} == {sure} - {None}
    assert {family for family, answer in found.items() if answer.doubts} == set(unsure.split())


def test_every_family_is_in_the_table():
    from_checkpoints = {"faster-rcnn"}

    shown = {name for _, sure, unsure in GRAPHS.values() for name in (sure, *unsure.split())}

    assert shown - {None} == {family.name for family in FAMILIES} - from_checkpoints


def test_the_guide_names_every_family():
    guide = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")

    assert [f.name for f in FAMILIES if f"`{f.name}`" not in guide] == []
