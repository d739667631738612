"""Understand a trained model before anything is built from it: what it is, and how it is fed."""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edge.detector.bundle import InputSpec
from engines import contract
from engines.errors import ModelError, UncertainFamily
from engines.families import registry
from engines.faster_rcnn import checkpoint
from engines.faster_rcnn.export import from_checkpoint
from engines.feeding import Feeding
from engines.graph import opset_of
from engines.labels import find_labels
from engines.reading import embedded_nms
from engines.reading.batch import MAX_BATCH
from engines.reading.model import prepare
from engines.reading.model_file import Source, load_source

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from engines.families.family import Family, Recognised
    from engines.reading.model import Network


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for; the paths as given."""

    model: Path
    name: str
    version: str
    family: str | None = None
    labels: Path | None = None
    size_wh: tuple[int, int] | None = None
    iou: float | None = None
    anchors: tuple[float, ...] = ()
    proposals: int | None = None
    """Most that a Faster R-CNN checkpoint is to keep; None: torchvision's default."""
    feeding: Feeding = field(default_factory=Feeding)


@dataclass(frozen=True, slots=True)
class Adapted:
    """A model understood: its contract graph, and all that was inferred on the way."""

    order: Order
    network: Network
    family: Family
    recognised: Recognised
    labels: tuple[str, ...]
    labels_from: str
    input: InputSpec
    iou: float | None
    """IoU above which boxes of one label are one object; None: there is no NMS."""
    across_labels: bool
    """Whether boxes of different labels are one object, too."""
    graph: onnx.ModelProto
    """The contract graph, float32 inside."""

    def explain(self) -> list[str]:
        """Return what was inferred, from what, and how to say otherwise; a line each."""
        fed, spec, asked = self.family.preprocessing, self.input, self.order.feeding
        named = ", ".join(self.labels[:4]) + (", …" if len(self.labels) > 4 else "")  # noqa: PLR2004
        batch = f"1 to {MAX_BATCH}" if self.network.batched else "1: the graph has it built in"
        opsets = f"opset {opset_of(self.network.source.model)}, taken as {opset_of(self.graph)}"
        normalised = f" - {fed.mean}) / {fed.std}" if any(fed.mean) or fed.std != (1, 1, 1) else ""
        pixels = f"{'(' if normalised else ''}pixel * {fed.scale:.6g}{normalised}"
        return [
            f"family    {self.family.name}: {self.family.models} (else: --family)",
            *(f"          because {evidence}" for evidence in self.recognised.evidence),
            *(f"          although {doubt}" for doubt in self.recognised.doubts),
            *(f"changed   {change}" for change in self.network.source.changed),
            f"graph     {opsets}; float32 inside (from the file)",
            f"input     {spec.width}x{spec.height} (else: --size, where the export leaves it open)",
            f"letterbox {fed.letterbox} on grey {fed.pad} ({asked.origin('letterbox', 'pad')})",
            f"colours   {fed.colours} ({asked.origin('colours')})",
            f"fed with  {pixels} ({asked.origin('scale', 'mean', 'std')})",
            f"NMS       {self.suppression()} (else: --iou)",
            f"labels    {len(self.labels)}: {named} (from {self.labels_from}; else: --labels)",
            f"batch     {batch} (from the export: a fixed batch stays, where it cannot be freed)",
        ]

    def suppression(self) -> str:
        """Return what NMS there is, and where that is from."""
        if self.iou is None:
            return "none: the model gives one box per object"
        origin = "the family's own default"
        if self.order.iou is not None:
            origin = "asked for"
        elif self.iou != self.family.iou:
            origin = "as the NMS had it that the export embeds"
        most = contract.slots_of(self.graph)
        whose = "per label"
        if self.across_labels:
            whose = "whatever the labels, as in the export's own NMS"
        return f"above IoU {self.iou:g}, {whose}: {origin}; of the best {most} candidates"


def understand(order: Order, *, quantised: bool = False) -> Adapted:
    """Recognise the model and bring it to the contract; raises `ModelError`, `BuildError`.

    A quantised model raises `AlreadyQuantised`, unless it is to be looked at only.
    """
    source = _source(order, quantised=quantised)
    network, (family, recognised), cut = _cut_or_whole(
        replace(source, anchors=order.anchors), order
    )
    fed = order.feeding.over(recognised.preprocessing or family.preprocessing)
    if fed != family.preprocessing:
        family = copy(family)
        family.preprocessing = fed
    labels, labels_from = find_labels(source, recognised.label_count, order.labels)
    spec = InputSpec(
        width=network.size_wh[0],
        height=network.size_wh[1],
        letterbox=family.preprocessing.letterbox,
        pad=family.preprocessing.pad,
    )
    embeds = None if family.iou is None else embedded_nms.overlap(source.model)
    iou = next((x for x in (order.iou, embeds) if x is not None), family.iou)
    across = cut is not None and len(labels) > 1 and embedded_nms.across_labels(source.model, cut)
    graph = contract.adapt(network, family, iou, across_labels=across)
    return Adapted(
        order, network, family, recognised, labels, labels_from, spec, iou, across, graph
    )


def _source(order: Order, *, quantised: bool) -> Source:
    if order.model.suffix.lower() not in checkpoint.SUFFIXES:
        if order.proposals is not None:
            raise ModelError(
                f"model {order.model}: how many proposals it keeps is fixed in its graph",
                "leave --proposals out; it is for a checkpoint, .pth",
            )
        return load_source(order.model, quantised=quantised)
    model, sha256 = from_checkpoint(order.model, order.size_wh, order.proposals)
    return Source(order.model, model, sha256)


def _cut_or_whole(
    source: Source, order: Order
) -> tuple[Network, tuple[Family, Recognised], str | None]:
    """Return the network and its family, without the NMS it may embed where one knows what is left.

    With the tensor that the NMS was cut off behind, None where it was not.
    """
    uncertain: UncertainFamily | None = None
    for cut in embedded_nms.cuts(source.model):
        shorter = _without_end(source, cut)
        try:
            network, found = _recognised(shorter, order)
        except UncertainFamily as error:
            uncertain = uncertain or error
        except ModelError as error:
            _log.info("cut at %s: %s", cut.tensors, error)
        else:
            suppressed = cut.operator in embedded_nms.NMS
            if found[0].iou is not None or order.family is not None or not suppressed:
                return network, found, cut.tensors[0]
            _log.info("cut at %s: %s has no NMS", cut.tensors, found[0].name)
    try:  # whole it may be of a family that is sure of it, NMS included
        return *_recognised(source, order), None
    except UncertainFamily as error:
        raise uncertain or error from error
    except ModelError as error:
        if uncertain is not None:
            _log.info("with its NMS: %s", error)
            raise uncertain from error
        return *_before_the_end(source, order, error), None


def _before_the_end(
    source: Source, order: Order, refused: ModelError
) -> tuple[Network, tuple[Family, Recognised]]:
    """Return the network and its family without what only rearranges the predictions, at its end.

    Raises what it is `refused` for as a whole where no family is sure of what is left, either.
    """
    for cut in embedded_nms.ends(source.model):
        shorter = _without_end(source, cut)
        try:
            return _recognised(shorter, order)
        except ModelError as error:
            _log.info("cut at %s: %s", cut.tensors, error)
    raise refused


def _without_end(source: Source, cut: embedded_nms.Cut) -> Source:
    behind = " and ".join(map(repr, cut.tensors))
    said = f"its {cut.operator} was cut off behind {behind}"
    return replace(source, model=cut.model, changed=(*source.changed, said))


def _recognised(source: Source, order: Order) -> tuple[Network, tuple[Family, Recognised]]:
    """Return the network and its family: as it is, or without maps that it gives beside."""
    network = prepare(source, order.size_wh)
    try:
        return network, registry.recognise(network, order.family)
    except UncertainFamily:
        raise
    except ModelError as error:
        fewer = network.without_maps()
        if fewer is None:
            raise
        try:
            return fewer, registry.recognise(fewer, order.family)
        except UncertainFamily:
            raise
        except ModelError:
            raise error from None
