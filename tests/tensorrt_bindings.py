"""The real Python API of TensorRT, version by version, as type stubs: no GPU, no TensorRT needed.

The package index has the compiled Python bindings. They import against shared libraries that only
export the names they miss, and say then what they have: `stubgen` writes it down, and mypy can hold
our code to it. What is fetched is kept in the user's cache directory.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "aisle-edge" / "tensorrt"
VERSIONS = {
    "8.6.1": "tensorrt-bindings",
    "10.3.0": "tensorrt-cu12-bindings",
    "10.13.3.9": "tensorrt-cu13-bindings",
    "10.16.1.11": "tensorrt-cu13-bindings",
    "11.4.0.106": "tensorrt-cu13-bindings",
}
"""TensorRT of JetPack 6.0, 6.1/6.2, 7.0/7.1 and 7.2, and 11: version, package."""

_MISSED = re.compile(
    r"create\w+_INTERNAL|get(Builder)?PluginRegistry|getNvOnnxParserVersion|initLibNvInferPlugins"
    r"|_ZN\w*parser\w*"
)


@dataclass(frozen=True, slots=True)
class Bindings:
    """Type stubs of one version, in `stubs`, a directory for MYPYPATH."""

    version: str
    stubs: Path

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


@cache
def bindings(version: str) -> Bindings:
    """Return the stubs of a version; skips the test where they cannot be made, and says why."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = CACHE / f"{version}-python{python}"
    if not (folder / "stubs").is_dir():
        for program in ("gcc", "nm", "readelf"):
            if shutil.which(program) is None:
                pytest.skip(f"needs {program}: apt install gcc binutils")
        shutil.rmtree(folder, ignore_errors=True)
        _fetch(version, folder)
        _write_libraries(folder)
        _write_stubs(folder)
    return Bindings(version, folder / "stubs")


def _fetch(version: str, folder: Path) -> None:
    """Unpack the bindings of this Python into `folder/site/tensorrt`."""
    package = f"{VERSIONS[version]}=={version}"
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
        *("--only-binary", ":all:", "--target", folder / "fetched", package),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"{package} cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
    (folder / "site").mkdir()
    (folder / "fetched" / "tensorrt_bindings").rename(folder / "site" / "tensorrt")


def _write_libraries(folder: Path) -> None:
    """Make the shared libraries the bindings ask for, with nothing in them but names."""
    extension = folder / "site" / "tensorrt" / "tensorrt.so"
    undefined = _output("nm", "-D", "--undefined-only", extension)
    names = [name for name in undefined.split() if _MISSED.fullmatch(name)]
    source = folder / "names.c"
    source.write_text("\n".join(f"void *{name};" for name in names))
    for soname in re.findall(r"\[(libnv\S+)\]", _output("readelf", "-d", extension)):
        library = folder / "libraries" / soname
        library.parent.mkdir(exist_ok=True)
        _output("gcc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", library, source)


def _write_stubs(folder: Path) -> None:
    written = folder / "written"
    _output(
        *(Path(sys.executable).parent / "stubgen", "--quiet", "--inspect-mode"),
        *("-m", "tensorrt.tensorrt", "-o", written),
        LD_LIBRARY_PATH=str(folder / "libraries"),
        PYTHONPATH=str(folder / "site"),
    )
    stub = written / "tensorrt" / "tensorrt.pyi"
    stub.write_text(_readable(stub.read_text()))
    init = "from tensorrt.tensorrt import *\n__version__: str\n"
    (written / "tensorrt" / "__init__.pyi").write_text(init)
    written.rename(folder / "stubs")


def _readable(stub: str) -> str:
    """Drop what is no Python (defaults before others), and the data type that hides `bool`.

    That the bytes of IHostMemory can be read is beyond stubgen: its type has a buffer in every one
    of these versions (tp_as_buffer), and says so to Python from 3.12 on only.
    """
    buffer = "class IHostMemory:\n    def __buffer__(self, flags: int) -> memoryview: ..."
    stub = stub.replace("class IHostMemory:", buffer)
    lines = [line for line in stub.splitlines() if not re.match(r"bool: ", line)]
    while True:
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:  # noqa: PERF203 - each names the next line to drop
            lines[(error.lineno or 1) - 1] = ""
        else:
            return "\n".join(lines)


def _output(*command: object, **environment: str) -> str:
    return subprocess.run(
        [str(word) for word in command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout
