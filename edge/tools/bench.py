"""`edge bench`: the whole pipeline against the bare inference session, interleaved in one run.

Each round runs the real pipeline for a while (source, letterbox, inference, aisles, messages,
outbox on disk; no broker), then the bare session on the frames that the pipeline has just used. The
figure that matters is the ratio: how much of the bare session's frames per second is left.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections import deque
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from edge.config import AisleView, CameraConfig, Config, MqttConfig, OutboxConfig
from edge.detector.bundle import PLAN, load_bundle
from edge.detector.detector import UnderWay
from edge.detector.letterbox import letterbox
from edge.detector.runtimes import choose_engine
from edge.errors import StartError
from edge.reporting.compose import Composer
from edge.reporting.outbox import Outbox
from edge.reporting.topics import Topics
from edge.service.detection import turn
from edge.service.pipeline import Pipeline
from edge.tools.amounts import count, positive, threads
from edge.tools.bench_report import WAIT, WORK, Round, median, paced, report_of, table
from edge.tools.trtexec import queries_per_second

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from edge.capture.mailbox import Mailbox
    from edge.detector.bundle import Bundle
    from edge.detector.detector import Prepared
    from edge.detector.runtimes import Engine
    from edge.frame import Image
    from edge.reporting.compose import Outgoing

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
RIGHT = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
ROUND_S = 0.25
"""The report thread's own pace, as in the daemon."""
FRAME_S = 10.0
"""Longest wait for a source's next frame: an RTSP camera may take that long to open."""
KEPT = 8
"""The pipeline's last frames, on which the bare session runs."""


class _Report(threading.Thread):
    """The report thread, without a broker: aisles, messages, and the outbox on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="report", daemon=True)
        self._path = path
        self._woken = threading.Event()
        self._stopping = False
        self.step: Callable[[], list[Outgoing]] = list
        self.stages_ms: dict[str, list[float]] = {"aisles and messages": [], "outbox": []}

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self._stopping = True
        self.wake()
        self.join(2.0)

    def run(self) -> None:
        outbox = Outbox(self._path, OutboxConfig().max_mb)
        while not self._stopping:
            self._woken.wait(ROUND_S)
            self._woken.clear()
            started = time.perf_counter()
            messages = self.step()
            composed = time.perf_counter()
            if messages:
                outbox.append(messages)
                self.stages_ms["outbox"].append((time.perf_counter() - composed) * 1e3)
            self.stages_ms["aisles and messages"].append((composed - started) * 1e3)
        outbox.close()


class _Clocked:
    """The mailbox, and how long its last `take` took."""

    def __init__(self, mailbox: Mailbox[Prepared]) -> None:
        self._mailbox = mailbox
        self.waited_s = 0.0

    def take(
        self, limit: int, timeout: float, unless: Callable[[], bool]
    ) -> list[tuple[str, Prepared]]:
        started = time.perf_counter()
        taken = self._mailbox.take(limit, timeout, unless)
        self.waited_s = time.perf_counter() - started
        return taken


class Bench:
    """Owns the pipeline and the reporting; runs rounds on the thread that opened the engine."""

    def __init__(self, bundle: Bundle, source: str, engine: Engine, scratch: Path) -> None:
        camera = CameraConfig(
            name="bench",
            source=source,
            fps=240,
            aisles=(AisleView(id="left", zone=LEFT), AisleView(id="right", zone=RIGHT)),
        )
        config = Config(
            bundle=bundle.path, cameras=(camera,), mqtt=MqttConfig(host="none"), device="bench"
        )
        composer = Composer(Topics("bench", "bench", "bench"), bundle.labels)
        self._report = _Report(scratch / "outbox.db")
        self._pipeline = Pipeline(config, bundle, composer, engine, self._report.wake)
        self._report.step = self._pipeline.step
        self._clocked = _Clocked(self._pipeline.mailbox)
        self._runtime = engine.runtime
        self._spec = bundle.passport.input
        self._under_way = UnderWay(
            engine.runtime, self._spec, self._pipeline.aisles.floor, self._pipeline.mailbox.wake
        )
        self._recent: deque[Prepared] = deque(maxlen=KEPT)
        self._stages: dict[str, list[float]] = {}

    def __enter__(self) -> Self:
        self._report.start()
        self._pipeline.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipeline.stop(2.0)
        self._report.stop()

    def round(self, seconds: float) -> Round:
        """Run the pipeline for that long, then the bare session for as many frames."""
        self._let_stale_frames_pass()
        self._stages = {}
        latencies: list[float] = []
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            latencies += self._turn()
        pipeline_s = time.perf_counter() - started
        started = time.perf_counter()
        bare = self._bare(len(latencies))
        bare_s = time.perf_counter() - started
        return Round(
            pipeline_fps=len(latencies) / pipeline_s,
            bare_fps=len(bare) / bare_s,
            latencies_ms=latencies,
            bare_ms=bare,
            stages_ms=self._stages,
        )

    def report_stages_ms(self) -> dict[str, float]:
        """Return the median time of what the report thread does, in milliseconds."""
        return {name: median(times) for name, times in self._report.stages_ms.items() if times}

    def _let_stale_frames_pass(self) -> None:
        """Take turns until none is left that was ready while the bare session ran."""
        started = time.perf_counter()
        while not (ms := self._turn()) or max(ms) > (time.perf_counter() - started) * 1e3:
            pass

    def _turn(self) -> list[float]:
        """Take what the cameras have, detect, hand on; return each finished frame's latency, ms."""
        started = time.perf_counter()
        finished = turn(self._clocked, self._under_way, self._runtime.max_batch, FRAME_S)
        if not finished and not self._under_way:
            raise StartError(
                f"no frame within {FRAME_S:.0f} s: {self._why_silent()}",
                "give a source that goes on, for example file:///video.mp4?loop=1",
            )
        for item, found in finished:
            self._pipeline.found(item.stamp, found)
        waited = self._clocked.waited_s
        self._note(WAIT, waited)
        self._note(WORK, time.perf_counter() - started - waited)
        self._recent.extend(item for item, _ in finished)
        now = time.monotonic()
        return [(now - item.stamp.monotonic_s) * 1e3 for item, _ in finished]

    def _why_silent(self) -> str:
        camera = self._pipeline.cameras[0]
        if camera.ended:
            return "the recording is at its end"
        return camera.status().detail or "the source is silent"

    def _bare(self, frames: int) -> list[float]:
        """Return the milliseconds of each of that many bare inferences, as many at once as ever."""
        inputs = [letterbox(item.pixels, self._spec)[0] for item in self._recent]
        begun: deque[float] = deque()

        def stamped() -> Iterator[Image]:
            for image in islice(cycle(inputs), frames):
                begun.append(time.perf_counter())
                yield image

        results = self._runtime.infer_each(stamped())
        return [(time.perf_counter() - begun.popleft()) * 1e3 for _ in results]

    def _note(self, stage: str, seconds: float) -> None:
        self._stages.setdefault(stage, []).append(seconds * 1e3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("bundle", type=Path, help="directory that edge-build-engine wrote")
    parser.add_argument("--source", required=True, metavar="URI", help="as in the configuration")
    parser.add_argument(
        "--threads", type=threads, help="inference threads (default: this machine's)"
    )
    parser.add_argument("--rounds", type=count, default=7)
    parser.add_argument("--seconds", type=positive, default=2.0, help="of pipeline, in each round")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Run the rounds and print the medians."""
    bundle = load_bundle(arguments.bundle)
    engine = choose_engine(bundle, "auto", arguments.threads)
    with (
        tempfile.TemporaryDirectory(prefix="aisle-edge-bench-") as scratch,
        engine.serving(bundle) as serving,
        Bench(bundle, arguments.source, engine, Path(scratch)) as bench,
    ):
        bench.round(arguments.seconds / 2)  # warm-up, not counted
        rounds = [bench.round(arguments.seconds) for _ in range(arguments.rounds)]
        report = report_of(bundle, serving.description, rounds, bench.report_stages_ms())
        on_plan = engine.part == PLAN
    if on_plan and (qps := queries_per_second(bundle)):
        report["trtexec_fps"] = qps
        report["ratio_to_trtexec"] = round(median([r.pipeline_fps for r in rounds]) / qps, 4)
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    if note := paced(report):
        print(f"edge: {note}", file=sys.stderr)
    return 0
