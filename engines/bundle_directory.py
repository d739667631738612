"""A directory that appears complete under its name, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterator


def refuse_existing(out: Path) -> None:
    """Raise `BuildError` if something is there: a bundle in service is never overwritten."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BuildError(f"--out {out}: exists already", "give a new directory, or remove this one")


def refuse_unwritable(out: Path) -> None:
    """Raise `BuildError`, before a long build, if something is there or nothing can be made."""
    try:
        refuse_existing(out)
        there = next(folder for folder in out.parents if folder.exists())
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=there):
            pass
    except OSError as error:
        raise _unwritable(out, error) from error


@contextmanager
def directory_for(out: Path) -> Iterator[Path]:
    """Yield an empty directory beside `out`; afterwards sync it to disk and name it `out`.

    Where the block raises, Ctrl-C included, the directory is removed, and those above that were
    made for it.
    """
    folder = None
    missing = [above for above in out.parents if not above.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        yield folder
        _publish(folder, out)
    except BaseException as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # somebody else put something there
            for above in missing:
                above.rmdir()
        if isinstance(error, OSError):
            raise _unwritable(out, error) from error
        raise


def _unwritable(out: Path, error: OSError) -> BuildError:
    return BuildError(
        f"--out {out}: cannot be written: {error.strerror}",
        "give a directory that you may write, on a disk with room",
    )


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
