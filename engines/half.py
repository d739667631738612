"""Cast what is not quantised to float16, for TensorRT's strongly typed networks.

The body, up to the last convolutions, computes in float16; the tail stays in float32: half a pixel
is lost there above 512. Q/DQ pairs of the body get float16 scales, so that TensorRT finds the
types of a convolution's operands to agree.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from calibration.tail import body
from calibration.topology import Topology
from engines.graph import opset_of, prune

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

_log = logging.getLogger(__name__)

HALF_SCALES_SINCE = 19
"""Opset in which QuantizeLinear and DequantizeLinear take float16."""
_QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_STAY_FLOAT = {"Resize": (1, 2)}
"""Inputs that are float32 whatever the data is: roi and scales."""
_SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)
_LARGEST = float(np.finfo(np.float16).max)
_TAKE_PLACES = frozenset({"GridSample", "RoiAlign"})
"""They read coordinates, of which float16 would lose half a pixel."""
_OVERFLOW = frozenset({"Exp", "Pow", "ReduceL2", "ReduceSumSquare"})
"""What they give leaves float16 soon: a norm's squares at 256, an exponential at 11."""
_ADD_UP = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the contract graph with its body in float16; boxes, scores and labels as before."""
    model = _at_opset(model, HALF_SCALES_SINCE)
    topology = Topology(model)
    wide = _wide(topology)
    inside = [
        node for node in body(topology) if id(node) not in wide and not _too_fine(topology, node)
    ]
    halves = _Halves(model, topology, inside)
    for node in inside:
        halves.convert(node)
    halves.cast_where_it_ends()
    return _checked(model, halves.nodes())


def without_quantisation(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with every Q/DQ pair taken out: what FP16 alone would run.

    Weights that are stored as integers keep the values that these stand for.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    topology = Topology(bare)
    instead: dict[str, str] = {}
    for node in topology.nodes:
        if node.op_type != "DequantizeLinear":
            continue
        pair = topology.producer.get(node.input[0])
        if pair is not None and pair.op_type == "QuantizeLinear":
            instead[node.output[0]] = pair.input[0]
        elif topology.is_constant(node.input[0]):
            bare.graph.initializer.append(_dequantised(topology, node))
            instead[node.output[0]] = bare.graph.initializer[-1].name
    kept = [node for node in bare.graph.node if not set(node.output) & set(instead)]
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = instead.get(name, name)
    return _checked(bare, kept)


def _at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    if opset_of(model) < opset:
        return version_converter.convert_version(model, opset)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _checked(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> onnx.ModelProto:
    nodes = list(nodes)
    del model.graph.node[:]
    del model.graph.value_info[:]  # their types are other ones now
    model.graph.node.extend(nodes)
    prune(model.graph)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def _wide(topology: Topology) -> set[int]:
    """Return the ids of nodes that float16 does not do for: what overflows, and what it leads to.

    A norm's mean of squares, its epsilon and its root are float32 like the squares; where something
    else comes in, or sums of products begin, values are of the usual size again.
    """
    wide: set[int] = set()
    names: set[str] = set()
    for node in topology.nodes:
        given = topology.activations(list(node.input))
        follows = bool(given) and names.issuperset(given) and node.op_type not in _ADD_UP
        if follows or node.op_type in _OVERFLOW | _TAKE_PLACES:
            wide.add(id(node))
            if node.op_type not in _TAKE_PLACES:
                names.update(node.output)
    return wide


def _as_half(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Round to float16; a mask's -1e9 becomes the largest there is, an epsilon stays above 0."""
    held = np.where(np.isfinite(values), np.clip(values, -_LARGEST, _LARGEST), values)
    if held.size == 1:
        held = np.where((held > 0) & (held < _SMALLEST_NORMAL), _SMALLEST_NORMAL, held)
    return held.astype(np.float16)


def _too_fine(topology: Topology, node: onnx.NodeProto) -> bool:
    """Return whether float16 cannot hold a Q/DQ node's scales: then the node stays as it is."""
    if node.op_type not in _QUANTISERS:
        return False
    scales = topology.constant(node.input[1])
    fine = scales is not None and bool((np.abs(scales.astype(np.float64)) < _SMALLEST_NORMAL).any())
    if fine:
        _log.info("%s %s keeps float32 scales", node.op_type, node.name)
    return fine


def _dequantised(topology: Topology, node: onnx.NodeProto) -> onnx.TensorProto:
    values, scale = (topology.constant(name) for name in node.input[:2])
    if values is None or scale is None:
        raise ValueError(f"{node.name}: expected constant weights and scales")
    axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
    if scale.ndim:
        scale = scale.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    dequantised = (values.astype(np.float32) * scale.astype(np.float32)).astype(np.float32)
    return numpy_helper.from_array(dequantised, f"{node.output[0]}/value")


class _Halves:
    """Casts between what computes in float16 and what does not, each made once."""

    def __init__(
        self, model: onnx.ModelProto, topology: Topology, inside: list[onnx.NodeProto]
    ) -> None:
        self._graph = model.graph
        self._topology = topology
        self._outputs = {name for node in inside for name in node.output}
        self._inside = {id(node) for node in inside}
        self._before: dict[int, list[onnx.NodeProto]] = {}
        """Casts by the node that they stand in front of."""
        self._casts: dict[tuple[str, int], str] = {}
        self._constants: dict[str, str] = {}

    def convert(self, node: onnx.NodeProto) -> None:
        """Let a node of the body take and give float16."""
        stay = _STAY_FLOAT.get(node.op_type, ())
        for place, name in enumerate(node.input):
            if not name or place in stay:
                continue
            constant = self._topology.constant(name)
            if constant is not None and constant.dtype == np.float32:
                node.input[place] = self._constant(name, _as_half(constant.astype(np.float32)))
            elif self._topology.is_activation(name) and name not in self._outputs:
                node.input[place] = self._cast(node, name, TensorProto.FLOAT16)
        for item in node.attribute:
            if item.name == "to" and item.i == TensorProto.FLOAT:
                item.i = TensorProto.FLOAT16

    def cast_where_it_ends(self) -> None:
        """Give float32 to every node outside that reads a tensor of the body."""
        for node in self._topology.nodes:
            if id(node) in self._inside:
                continue
            for place, name in enumerate(node.input):
                if name in self._outputs and self._topology.is_activation(name):
                    node.input[place] = self._cast(node, name, TensorProto.FLOAT)

    def nodes(self) -> Iterable[onnx.NodeProto]:
        """Return the nodes of the graph, casts where they are first needed."""
        for node in self._topology.nodes:
            yield from self._before.get(id(node), [])
            yield node

    def _cast(self, node: onnx.NodeProto, name: str, to: int) -> str:
        if (name, to) not in self._casts:
            cast = f"{name}/as_{'half' if to == TensorProto.FLOAT16 else 'float'}"
            made = helper.make_node("Cast", [name], [cast], cast, to=to)
            self._before.setdefault(id(node), []).append(made)
            self._casts[name, to] = cast
        return self._casts[name, to]

    def _constant(self, name: str, value: npt.NDArray[np.float16]) -> str:
        if name not in self._constants:
            self._constants[name] = f"{name}/half"
            self._graph.initializer.append(numpy_helper.from_array(value, f"{name}/half"))
        return self._constants[name]
