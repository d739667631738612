"""What can go wrong in a calibration: below `edge.errors.EdgeError`, exit 3."""

from __future__ import annotations

from edge.errors import EdgeError


class CalibrationError(EdgeError):
    """A graph or its frames cannot be calibrated: which tensor or node, and what to do."""

    exit_code = 3
