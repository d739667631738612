"""What the builder measured, kept for the next build: `BUNDLE.timing-cache`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import tensorrt as trt

log = logging.getLogger(__name__)


def use_timings(config: trt.IBuilderConfig, path: Path) -> None:
    """Give the builder what it measured before, if that was on this device, or room for it."""
    try:
        kept = path.read_bytes() if path.exists() else b""
    except OSError as error:
        log.warning("%s: %s; everything is measured again", path, error.strerror)
        kept = b""
    for timings in (kept, b""):
        cache = config.create_timing_cache(timings)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return
        log.warning("%s is of another device or version, and starts anew", path)


def keep_timings(config: trt.IBuilderConfig, path: Path) -> None:
    """Write what was measured, whole or not at all; a build is not lost for it."""
    whole = path.with_name(f"{path.name}.new")
    try:
        whole.write_bytes(bytes(config.get_timing_cache().serialize()))
        whole.replace(path)
    except OSError as error:
        log.warning("%s: %s; the next build measures everything again", path, error.strerror)
