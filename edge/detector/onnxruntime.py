"""The default runtime: ONNX Runtime on the CPU. The only run-time file that imports it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import PIP, MissingPackage, RuntimeFailure

from .runtime import Pending, RawDetections, Runtime, nobody

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

INPUT = "frames"
OUTPUTS = ["boxes", "scores", "labels"]


def default_threads() -> int:
    """Return the inference threads for this machine."""
    return max(1, min(4, len(os.sched_getaffinity(0))))


_PRODUCTS_FIT = b"any two fit 16 bits"
_METADATA_BYTES = 4096


def products_fit(graph: Path | bytes) -> bool:
    """Return whether a graph says of itself that no sum of its products saturates, on any CPU.

    It does so in its metadata, which an ONNX file ends with.
    """
    if isinstance(graph, bytes):
        return _PRODUCTS_FIT in graph[-_METADATA_BYTES:]
    with graph.open("rb") as file:
        file.seek(max(0, graph.stat().st_size - _METADATA_BYTES))
        return _PRODUCTS_FIT in file.read()


def exact_products(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the session options with which uint8 times int8 is exact on this CPU.

    That is, in graphs of which `products_fit` does not hold. Without VNNI it saturates unless it is
    widened; with VNNI the option would only take the fast kernels away. Where nobody can tell, it
    is widened.
    """
    try:
        vnni = "_vnni" in cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        vnni = False
    return {} if vnni else {"session.x64quantprecision": "1"}


class OnnxRuntime(Runtime):
    """Runs a contract graph, given as a file or as bytes, on `threads` CPU threads.

    Half as many frames are under way at once, as threads do more beside one another than on the
    same frame: with four, a small network finishes 1.8 times the frames. One frame alone has all.
    """

    name = "onnxruntime"

    def __init__(
        self,
        graph: Path | bytes,
        input_shape: tuple[int, int, int],
        threads: int | None = None,
    ) -> None:
        super().__init__(input_shape)
        self._graph = graph
        self._session: Any = None
        self._beside: ThreadPoolExecutor | None = None
        self.threads = threads or default_threads()
        self.in_flight = max(1, self.threads // 2)

    def describe(self) -> str:
        """Return for example `onnxruntime 1.31.1, cpu, 4 threads`."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}, cpu, {self.threads} threads"

    def _open(self) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingPackage(
                f"onnxruntime is not installed ({error})", f"{PIP} install 'aisle-edge[cpu]'"
            ) from error
        options = onnxruntime.SessionOptions()
        # Each frame under way brings its own thread; the session's other threads help all of them.
        options.intra_op_num_threads = self.threads - self.in_flight + 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Without it an idle pool burns a core per thread between frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._choose_products(options)
        graph = self._graph if isinstance(self._graph, bytes) else str(self._graph)
        try:
            session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no base but this
            raise RuntimeFailure(
                f"onnxruntime cannot load {self._title()}: {_first_line(error)}",
                "build the bundle again with edge-build-engine",
            ) from error
        _check_contract(session, self.input_shape, self._title())
        self._session = session
        if self.in_flight > 1:
            self._beside = ThreadPoolExecutor(self.in_flight, "inference")

    def _choose_products(self, options: Any) -> None:  # noqa: ANN401
        """Let products be widened where they might saturate: that takes half as long again."""
        try:
            fit = products_fit(self._graph)
        except OSError as error:
            raise RuntimeFailure(
                f"cannot read {self._title()}: {error.strerror or error}",
                "build the bundle again with edge-build-engine",
            ) from error
        for key, value in ({} if fit else exact_products()).items():
            options.add_session_config_entry(key, value)

    def begin(self, frames: npt.NDArray[np.uint8], done: Callable[[], None] = nobody) -> Pending:
        """Begin an inference beside those that are under way."""
        if self._beside is None:
            return super().begin(frames, done)
        self._check(frames)
        outputs = self._beside.submit(self._infer, frames)
        outputs.add_done_callback(lambda _: done())
        return Pending(outputs.result, outputs.done)

    def _infer(self, frames: npt.NDArray[np.uint8]) -> RawDetections:
        if self._session is None:
            raise RuntimeFailure("onnxruntime: infer() before open()", "open the runtime first")
        boxes, scores, labels = self._session.run(OUTPUTS, {INPUT: frames})
        return RawDetections(boxes, scores, labels)

    def _close(self) -> None:
        if self._beside is not None:
            self._beside.shutdown()
        self._beside = None
        self._session = None

    def _title(self) -> str:
        return "a graph in memory" if isinstance(self._graph, bytes) else str(self._graph)


def _check_contract(session: Any, input_shape: tuple[int, int, int], title: str) -> None:  # noqa: ANN401
    inputs = [(i.name, i.type, tuple(i.shape[1:])) for i in session.get_inputs()]
    outputs = [o.name for o in session.get_outputs()]
    wanted = [(INPUT, "tensor(uint8)", input_shape)]
    if inputs != wanted or outputs != OUTPUTS:
        raise RuntimeFailure(
            f"{title} is not a contract graph: expected inputs {wanted} and outputs {OUTPUTS}, "
            f"found {inputs} and {outputs}",
            "build a bundle from the model with edge-build-engine",
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
