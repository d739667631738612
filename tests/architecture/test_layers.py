"""The shape of the program, held by tests: who may import what, and where."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGES = ("edge", "engines", "calibration")
OPTIONAL = ("cv2", "onnxruntime", "onnx", "tensorrt", "pycuda", "amqtt")
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "misc"}


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def importers(module: str, *packages: str) -> set[str]:
    """Return the files that import `module` anywhere in them."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in sources(*packages)
        if any(module == name.partition(".")[0] for name, _ in imports(path))
    }


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each imported module's name, and whether it is imported inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    inside = {
        inner for node in ast.walk(tree) if isinstance(node, functions) for inner in ast.walk(node)
    }
    for node in set(ast.walk(tree)) - for_types:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or "", node in inside


def test_the_import_contracts_hold():
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_one_file_speaks_mqtt():
    assert importers("paho", *PACKAGES) == {"edge/reporting/mqtt.py"}


@pytest.mark.parametrize("module", ["tensorrt", "pycuda"])
@pytest.mark.parametrize("package", ["edge", "engines"])
def test_one_file_of_the_device_and_one_of_the_build_know_the_gpu(module, package):
    assert len(importers(module, package)) <= 1


def test_one_file_of_the_device_opens_cameras():
    users = {
        path.relative_to(ROOT).as_posix()
        for path in sources("edge")
        if re.search(r"\bVideoCapture\(", path.read_text(encoding="utf-8"))
    }

    assert users == {"edge/capture/video.py"}


def test_one_file_of_the_device_runs_onnx():
    assert importers("onnxruntime", "edge") == {"edge/detector/onnxruntime.py"}


def test_optional_packages_are_imported_inside_functions_on_the_device():
    at_top = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources("edge")
        for name, inside in imports(path)
        if name.partition(".")[0] in OPTIONAL and not inside
    }

    assert at_top == set()


def test_no_file_is_named_after_nothing():
    named = {
        path.relative_to(ROOT).as_posix()
        for path in sources(*PACKAGES)
        if NO_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)
    }

    assert named == set()


_IMPORT_ALL_WITHOUT = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Blocker())
for name in {modules}:
    importlib.import_module(name)
"""


def test_every_module_of_the_device_imports_with_no_optional_package():
    modules = [*modules_of("edge"), "engines", "calibration"]
    code = _IMPORT_ALL_WITHOUT.format(blocked=set(OPTIONAL), modules=modules)

    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert len(modules) > 20
    assert result.returncode == 0, result.stderr


def modules_of(package: str) -> Iterator[str]:
    yield package
    for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
        if not module.name.endswith(".__main__"):
            yield module.name


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_marked_by_an_init_that_imports_nothing_heavy(package):
    heavy = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(package)
        if path.name == "__init__.py"
        for name, _ in imports(path)
        if name.partition(".")[0] not in {"importlib", "os", "__future__"}
    }

    assert heavy == set()


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=30, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_names_a_developer_machine():
    # Written in pieces, so that this file does not name them either.
    paths = re.compile(rb"/" + rb"work/|/" + rb"root/|/" + rb"home/[a-z]")
    guilty = {
        path.relative_to(ROOT).as_posix()
        for path in tracked_files()
        if paths.search(path.read_bytes())
    }

    assert guilty == set()
