"""Round weights so that the errors of one make up for those of others.

One input after the other, as in GPTQ (Frantar et al., 2022): after a weight is rounded, those not
rounded yet move to the least squared error of the output, given how the inputs vary together.
Written with the Cholesky factor of the covariance itself, which needs no inverse (Babai's nearest
plane).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .products import fitted

if TYPE_CHECKING:
    import numpy.typing as npt

_DAMPING = 0.01
"""Of the inputs' mean variance, added to each: against what few frames cannot tell."""
_SMALLEST_VARIANCE = 1e-12
_BLOCK = 32
"""Weights after which the error is passed on to all that follow, at once."""
_LIMIT = 127


def compensated(
    values: npt.NDArray[np.float32],
    scales: npt.NDArray[np.float32],
    covariance: npt.NDArray[np.float64],
) -> npt.NDArray[np.int8]:
    """Return the integers (C, ...) of the weights `values` (C, ...) in steps of `scales` (C,).

    `covariance` is that of the inputs, (G, K, K) with G groups of K inputs each; or with B blocks
    of K inputs, of which every output reads all. Neighbours fit 16 bits (products.py).
    """
    groups, size, _ = covariance.shape
    filters = values.reshape(len(values), -1, size).astype(np.float64)
    blocks = filters.shape[1] > 1
    weights = filters.swapaxes(0, 1) if blocks else filters.reshape(groups, -1, size)
    steps = (scales[None] if blocks else scales.reshape(groups, -1)).astype(np.float64)
    # From the last to the first: the inputs that vary most are rounded while all can make up.
    order = np.argsort(np.einsum("gkk->gk", covariance), axis=1, kind="stable")
    by_rows = np.take_along_axis(covariance, order[:, :, None], axis=1)
    factor = _factor(np.take_along_axis(by_rows, order[:, None, :], axis=2))
    rows = np.take_along_axis(weights.swapaxes(1, 2), order[:, :, None], axis=1)
    integers = _rounded(np.ascontiguousarray(rows), steps[:, None], factor)
    back = np.argsort(order, axis=1)
    found = np.take_along_axis(integers, back[:, :, None], axis=1).swapaxes(1, 2)
    if blocks:
        found = found.swapaxes(0, 1)
    return fitted(found.reshape(values.shape).astype(np.int8))


def _rounded(
    rows: npt.NDArray[np.float64],
    steps: npt.NDArray[np.float64],
    factor: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the integers of weights (G, K, C), of which row k makes up for all behind it.

    With the upper Cholesky factor U of the covariance the error is the square of U e, so row k is
    wrong by U[k] e in all, and takes what the rows behind it put there off itself.
    """
    integers, errors = np.empty_like(rows), np.zeros_like(rows)
    size = rows.shape[1]
    for end in range(size, 0, -_BLOCK):
        start = max(0, end - _BLOCK)
        pushed = factor[:, start:end, end:] @ errors[:, end:]
        for k in range(end - 1, start - 1, -1):
            total = (
                pushed[:, k - start, None]
                + factor[:, k, None, k + 1 : end] @ errors[:, k + 1 : end]
            )
            wanted = rows[:, k, None] + total / factor[:, k, k, None, None]
            integers[:, k, None] = np.clip(np.rint(wanted / steps), -_LIMIT, _LIMIT)
            errors[:, k] = rows[:, k] - integers[:, k] * steps[:, 0]
    return integers


def _factor(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the upper Cholesky factor of a damped covariance, (G, K, K)."""
    variance = np.einsum("gkk->gk", covariance).mean(axis=1)
    damping = np.maximum(_DAMPING * variance, _SMALLEST_VARIANCE)
    damped = covariance + damping[:, None, None] * np.eye(covariance.shape[1])
    factor: npt.NDArray[np.float64] = np.linalg.cholesky(damped).swapaxes(1, 2)
    return factor
