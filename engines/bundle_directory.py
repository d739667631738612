"""A directory that appears complete under its name, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engines.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def refuse_existing(out: Path) -> None:
    """Raise `BuildError` if something is there: a bundle in service is never overwritten."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BuildError(f"--out {out}: exists already", "give a new directory, or remove this one")


@contextmanager
def directory_for(out: Path) -> Iterator[Path]:
    """Yield an empty directory beside `out`; afterwards sync it to disk and name it `out`.

    Where the block raises, Ctrl-C included, the directory is removed.
    """
    folder = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = out.parent / tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent)
        yield folder
        _publish(folder, out)
    except BaseException as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise BuildError(
                f"--out {out}: cannot be written: {error.strerror}",
                "give a directory that you may write, on a disk with room",
            ) from error
        raise


def _publish(folder: Path, out: Path) -> None:
    folder.chmod(0o755)  # mkdtemp's is for its owner only; a daemon of another user reads this
    for path in (*folder.iterdir(), folder):
        _sync(path)
    refuse_existing(out)
    folder.rename(out)
    _sync(out.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
