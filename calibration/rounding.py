"""Round weights so that the errors of one make up for those of others.

Optimal brain quantisation, column by column, as in GPTQ (Frantar et al., 2022): after a weight is
rounded, those not rounded yet move to the least squared error of the output, given how the inputs
vary together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_DAMPING = 0.01
"""Of the inputs' mean variance, added to each: against what few frames cannot tell."""
_SMALLEST_VARIANCE = 1e-12
_BLOCK = 64
"""Weights after which the error is passed on to all that follow, at once."""
_LIMIT = 127


def compensated(
    values: npt.NDArray[np.float32],
    scales: npt.NDArray[np.float32],
    covariance: npt.NDArray[np.float64],
) -> npt.NDArray[np.int8]:
    """Return the integers (C, ...) of the weights `values` (C, ...) in steps of `scales` (C,).

    `covariance` is that of the inputs, (G, K, K) with G groups of K inputs each.
    """
    groups, size, _ = covariance.shape
    weights = values.reshape(groups, -1, size).astype(np.float64)
    steps = scales.reshape(groups, -1).astype(np.float64)
    variance = np.einsum("gkk->gk", covariance)
    order = np.argsort(-variance, axis=1, kind="stable")
    weights = np.take_along_axis(weights, order[:, None, :], axis=2)
    sorted_rows = np.take_along_axis(covariance, order[:, :, None], axis=1)
    factor = _factor(np.take_along_axis(sorted_rows, order[:, None, :], axis=2))
    integers = np.empty_like(weights)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        errors = np.empty((groups, weights.shape[1], end - start))
        for k in range(start, end):
            integers[:, :, k] = np.clip(np.rint(weights[:, :, k] / steps), -_LIMIT, _LIMIT)
            error = (weights[:, :, k] - integers[:, :, k] * steps) / factor[:, None, k, k]
            weights[:, :, k:end] -= error[:, :, None] * factor[:, None, k, k:end]
            errors[:, :, k - start] = error
        weights[:, :, end:] -= errors @ factor[:, start:end, end:]
    back = np.argsort(order, axis=1)
    found = np.take_along_axis(integers, back[:, None, :], axis=2)
    return found.reshape(values.shape).astype(np.int8)


def _factor(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the upper Cholesky factor of the inverse of a damped covariance, (G, K, K)."""
    variance = np.einsum("gkk->gk", covariance).mean(axis=1)
    damping = np.maximum(_DAMPING * variance, _SMALLEST_VARIANCE)
    damped = covariance + damping[:, None, None] * np.eye(covariance.shape[1])
    inverse = np.linalg.inv(damped)
    factor: npt.NDArray[np.float64] = np.linalg.cholesky(inverse).swapaxes(1, 2)
    return factor
