"""The loop that both networks are trained with: resumable, averaged, the same from the same seed.

A step's samples depend on the seed and the step's number alone, so a run that was stopped and
resumed sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import copy
import csv
import logging
import math
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from engines.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    Sizes = tuple[tuple[float, tuple[int, int]], ...]

CHECKPOINT, CURVES, WEIGHTS = "checkpoint.pt", "losses.csv", "weights.pt"
_AHEAD = 2
"""Batches that are made ready while one is learned from."""
_EVERY = 20
"""Steps between lines of the loss curve."""
_LARGEST_GRADIENT = 10.0
_LEAST = 0.005
"""Share of the rate that the last step still has."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train, and how fast: AdamW, warm-up, then a cosine to nearly nothing."""

    steps: int
    batch: int = 16
    rate: float = 2e-3
    warm_up: int = 100
    decay: float = 0.03
    averaged: float = 0.998
    seed: int = 0
    save_s: float = 120.0
    sizes: Sizes = field(default=((0.0, (384, 224)),))
    """From which share of the steps on the input has which width and height."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.rate <= 0 or self.sizes[0][0] != 0.0:
            raise ValueError(f"Schedule: expected steps, batch, rate > 0, sizes from 0, {self}")

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        share = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (_LEAST + (1 - _LEAST) * (1 + math.cos(math.pi * share)) / 2)

    def size_at(self, step: int) -> tuple[int, int]:
        """Return the input's width and height at a step."""
        reached = [size for share, size in self.sizes if step >= share * self.steps]
        return reached[-1]


class Average:
    """The running mean of a network's weights: it is what is evaluated and exported."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay

    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step; the first ones count less."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            mine, theirs = self.network.state_dict(), network.state_dict()
            for name, kept in mine.items():
                if kept.dtype.is_floating_point:
                    kept.lerp_(theirs[name], 1 - decay)
                else:
                    kept.copy_(theirs[name])


def read_weights(path: Path) -> dict[str, Any]:
    """Return what a file holds that torch saved; raises `BuildError` where it holds no weights."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise BuildError(
            f"weights {path}: cannot be read: {str(error).splitlines()[0]}",
            "give a state_dict that torch.save wrote",
        ) from error
    if not isinstance(found, dict):
        raise BuildError(
            f"weights {path}: expected a state_dict, found {type(found).__name__}",
            "save network.state_dict()",
        )
    return found


def shown(started: float, first: int) -> Callable[[int, int, dict[str, float]], None]:
    """Return what logs a line of progress of a run that went on at step `first`."""

    def show(step: int, steps: int, losses: dict[str, float]) -> None:
        each = (time.monotonic() - started) / max(1, step - first)
        said = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        left = each * (steps - step) / 60
        _log.info("step %d of %d, %.2f s each, %.0f min left: %s", step, steps, each, left, said)

    return show


class Run:
    """A network on its way through a schedule; `folder` keeps its checkpoint and its curves.

    `batch_of(step, size_wh, chance)` makes a batch, in another thread; `loss_of(network, batch)`
    returns losses by name, with their sum under `total`.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, folder: Path) -> None:
        self.network, self.schedule, self.folder = network, schedule, folder
        self.average = Average(network, schedule.averaged)
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        flat = [p for p in network.parameters() if p.requires_grad and p.ndim < 2]  # noqa: PLR2004
        deep = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
        self._optimiser = torch.optim.AdamW(
            [{"params": deep, "weight_decay": schedule.decay}, {"params": flat, "weight_decay": 0}],
            lr=schedule.rate,
        )

    def resume(self) -> bool:
        """Continue from the folder's checkpoint; False where there is none."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return False
        found = read_weights(path)
        try:
            self.network.load_state_dict(found["network"])
            self.average.network.load_state_dict(found["average"])
            self._optimiser.load_state_dict(found["optimiser"])
            self.step = int(found["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise BuildError(
                f"checkpoint {path}: expected one of this network: {str(error).splitlines()[0]}",
                "give another --out, or remove it to begin anew",
            ) from error
        _log.info("resumed %s at step %d", path, self.step)
        return True

    def begin_from(self, path: Path) -> None:
        """Take over the weights of a file that have the same names and shapes; say what was not."""
        given = read_weights(path)
        mine = self.network.state_dict()
        fitting = {n: v for n, v in given.items() if n in mine and v.shape == mine[n].shape}
        if not fitting:
            raise BuildError(
                f"weights {path}: none fits a layer of this network", "give weights of the same one"
            )
        left = sorted(set(mine) - set(fitting))
        _log.info("%d of %d tensors from %s; anew: %s", len(fitting), len(mine), path, left)
        for network in (self.network, self.average.network):
            network.load_state_dict(fitting, strict=False)

    def save(self) -> None:
        """Write the checkpoint; an interrupted write leaves the one before."""
        path = self.folder / CHECKPOINT
        part = path.with_suffix(".part")
        state = {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
        }
        torch.save(state, part)
        part.replace(path)
        torch.save(self.average.network.state_dict(), self.folder / WEIGHTS)

    def train(
        self,
        batch_of: Callable[[int, tuple[int, int], np.random.Generator], Any],
        loss_of: Callable[[nn.Module, Any], dict[str, torch.Tensor]],
        progress: Callable[[int, int, dict[str, float]], None],
        until: int | None = None,
    ) -> None:
        """Take the steps that are left, or those before `until`, and save."""
        end = min(until or self.schedule.steps, self.schedule.steps)
        saved, sums, since = time.monotonic(), dict[str, float](), self.step
        self.network.train()
        with ThreadPoolExecutor(1) as pool:
            ready = [pool.submit(self._made, batch_of, self.step + i) for i in range(_AHEAD)]
            while self.step < end:
                batch = ready.pop(0).result()
                ready.append(pool.submit(self._made, batch_of, self.step + _AHEAD))
                for name, value in self._learn(batch, loss_of).items():
                    sums[name] = sums.get(name, 0.0) + value
                self.step += 1
                if self.step % _EVERY == 0:
                    # A resumed run may have begun in between.
                    means = {name: value / (self.step - since) for name, value in sums.items()}
                    self._note(means)
                    progress(self.step, self.schedule.steps, means)
                    sums, since = {}, self.step
                if time.monotonic() - saved > self.schedule.save_s:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def _made(
        self,
        batch_of: Callable[[int, tuple[int, int], np.random.Generator], Any],
        step: int,
    ) -> Any:  # noqa: ANN401
        chance = np.random.default_rng([self.schedule.seed, step])
        return batch_of(step, self.schedule.size_at(step), chance)

    def _learn(
        self,
        batch: Any,  # noqa: ANN401
        loss_of: Callable[[nn.Module, Any], dict[str, torch.Tensor]],
    ) -> dict[str, float]:
        for group in self._optimiser.param_groups:
            group["lr"] = self.schedule.rate_at(self.step)
        losses = loss_of(self.network, batch)
        if not torch.isfinite(losses["total"]):
            raise BuildError(
                f"training in {self.folder}: the loss is no number at step {self.step}",
                "resume with a smaller --rate",
            )
        self._optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self._optimiser.step()
        self.average.update(self.network, self.step)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _note(self, means: dict[str, float]) -> None:
        path = self.folder / CURVES
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", *means])
            writer.writerow([self.step, *(f"{value:.5f}" for value in means.values())])
