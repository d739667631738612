"""The families this version knows, and which of them a network is of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from engines.errors import ModelError, UncertainFamily
from engines.families.built_in import taken
from engines.families.damo_yolo import DamoYolo
from engines.families.detectnet import DetectNet
from engines.families.detr import Detr, RfDetr, RtDetr
from engines.families.detr_exported import DetrExported, DetrExportedNormalised
from engines.families.detr_paddle import PaddleRtDetr
from engines.families.detr_ultralytics import RtDetrUltralytics
from engines.families.efficientdet import EfficientDet, EfficientDetLite
from engines.families.end_to_end import EndToEnd
from engines.families.family import Close
from engines.families.faster_rcnn import FasterRcnn
from engines.families.fastestdet import FastestDet
from engines.families.mmdetection import (
    MmDetection,
    MmDetectionSsd,
    MmDetectionYolox,
    MmYolo,
    RtmDet,
)
from engines.families.nanodet import NanoDet, NanoDetPlus, PicoDetRaw
from engines.families.other_tasks import refuse_seen, refuse_stated
from engines.families.paddle_yolo import PaddleYolov3, PaddleYolox
from engines.families.pp_yoloe import PicoDet, PpYoloe, PpYoloePlus
from engines.families.ssd import Ssd
from engines.families.ssd_tensorflow import SsdTensorflow
from engines.families.torchvision import TorchvisionSsd
from engines.families.torchvision_dense import TorchvisionFcos, TorchvisionRetinaNet
from engines.families.ultralytics import Ultralytics
from engines.families.yolo_fastest import YoloFastestV2
from engines.families.yolo_nas import YoloNas, YoloNasBytes
from engines.families.yolo_raw import Yolov3, Yolov4, Yolov5Raw
from engines.families.yolov4 import Yolov4Decoded
from engines.families.yolov5 import Yolov5
from engines.families.yolov6 import Yolov6
from engines.families.yolox import Yolox
from engines.reading import embedded_nms
from engines.reading.image_input import COMPANIONS

if TYPE_CHECKING:
    from engines.families.family import Family, Recognised
    from engines.reading.model import Network

FAMILIES: tuple[Family, ...] = (
    Ultralytics(),
    Yolox(),
    Yolov5(),
    Yolov6(),
    EndToEnd(),
    Yolov3(),
    Yolov4(),
    Yolov5Raw(),
    Yolov4Decoded(),
    Ssd(),
    SsdTensorflow(),
    Detr(),
    RtDetr(),
    RfDetr(),
    RtDetrUltralytics(),
    PaddleRtDetr(),
    DetrExported(),
    DetrExportedNormalised(),
    NanoDetPlus(),
    NanoDet(),
    PicoDetRaw(),
    FastestDet(),
    YoloFastestV2(),
    TorchvisionSsd(),
    TorchvisionRetinaNet(),
    TorchvisionFcos(),
    YoloNas(),
    YoloNasBytes(),
    DamoYolo(),
    PpYoloe(),
    PpYoloePlus(),
    PicoDet(),
    PaddleYolov3(),
    PaddleYolox(),
    RtmDet(),
    MmDetection(),
    MmDetectionYolox(),
    MmDetectionSsd(),
    MmYolo(),
    EfficientDet(),
    EfficientDetLite(),
    DetectNet(),
    FasterRcnn(),
)


def recognise(network: Network, name: str | None = None) -> tuple[Family, Recognised]:
    """Return the one family the network is of, or check that it can be of family `name`.

    Raises `ModelError`, naming the outputs found and the choices, where none fits for sure, and
    `UncertainFamily` where some may.
    """
    if len(network.inputs) != 1:
        raise _unknown(
            network, {}, f"expected one input, and beside it at most {', '.join(COMPANIONS)}"
        )
    refuse_stated(network)
    asked = [family for family in FAMILIES if name in {None, family.name}]
    if not asked:
        raise _unknown(network, {}, f"no family is called {name!r}")
    answers = [(family, family.recognise(network)) for family in asked]
    fitting = [(family, found) for family, found in answers if not isinstance(found, str)]
    reasons = {family.name: found for family, found in answers if isinstance(found, str)}
    # A quantised graph has Q/DQ where a family looks for the float one's; it is only looked at.
    asked_for = name is not None or bool(network.source.quantised)
    sure = [found for found in fitting if asked_for or not found[1].doubts]
    if len(sure) == 1:
        return _fed_once(network, *sure[0])
    if fitting:
        raise _undecided(network, fitting)
    if name is None and not any(isinstance(reason, Close) for reason in reasons.values()):
        refuse_seen(network)
    raise _unknown(network, reasons)


def _fed_once(network: Network, family: Family, found: Recognised) -> tuple[Family, Recognised]:
    """Leave out of how it is fed what its graph does itself."""
    usual = found.preprocessing or family.preprocessing
    fed = taken(network, usual)
    if fed == usual:
        return family, found
    does = []
    if fed.colours != usual.colours:
        does.append("swaps the colours")
    if (fed.scale, fed.std) != (usual.scale, usual.std):
        does.append("takes pixels in 0..255 and normalises them")
    told = f"its graph {' and '.join(does)} itself"
    return family, replace(found, evidence=(*found.evidence, told), preprocessing=fed)


def _undecided(network: Network, fitting: list[tuple[Family, Recognised]]) -> UncertainFamily:
    choices = " or ".join(f"--family {family.name}" for family, _ in fitting)
    doubts = "; ".join(
        f"{family.name}: {', '.join(found.doubts) or 'fits'}" for family, found in fitting
    )
    return UncertainFamily(
        f"model {network.source.path}: its family is not certain from the graph ({doubts})",
        f"say which it is: {choices}",
    )


def _unknown(network: Network, reasons: dict[str, str], general: str = "") -> ModelError:
    """Return the refusal with the reasons worth reading: of the one family asked for, or close."""
    same: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if isinstance(reason, Close) or len(reasons) == 1:
            same.setdefault(reason, []).append(name)
    told = [f"not {', '.join(names)}: {reason}" for reason, names in same.items()]
    said = "; ".join(filter(None, [general, *told])) or "no family has outputs of such shapes"
    known = ", ".join(family.name for family in FAMILIES)
    remedy = f"export it as docs/families.md says; known families: {known}"
    nms = embedded_nms.embedded(network.model)
    if nms is not None:
        said = f"it embeds {nms.op_type}, and no family knows what that is fed with; {said}"
        remedy = embedded_nms.remedy([nms.op_type]) or remedy
    elif embedded_nms.best_labels(network.model):
        said = f"it keeps each box's best label only, as exports for DeepStream do; {said}"
        remedy = "export it by its own code base's exporter, with a score for every label"
    return ModelError(
        f"model {network.source.path}: of no known family: inputs {network.inputs}, outputs "
        f"{network.outputs}; {said}",
        remedy,
    )
