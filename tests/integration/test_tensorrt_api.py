"""Our files that use TensorRT against the real Python API of five versions of it.

mypy checks every class, method, keyword, argument and enum member that they use, found from the
code itself, against stubs of the real bindings. A use that only some versions have stands behind
`hasattr`, which mypy understands, or behind `at_least_10`, which it is told the value of.
"""

import ast
import inspect
import operator
import re
import subprocess
import sys
import textwrap
from enum import Enum
from pathlib import Path

import pytest

from tests.fakes import tensorrt
from tests.tensorrt_bindings import CACHE, VERSIONS, bindings

ROOT = Path(__file__).parents[2]
USERS = [
    path
    for package in ("edge", "engines")
    for path in sorted((ROOT / package).rglob("*.py"))
    if re.search(r"^\s*import tensorrt\b", path.read_text(), re.MULTILINE)
]
SINCE_10 = "at_least_10"
PATH_ID = operator.attrgetter("stem")
ANYTHING = "*args"
"""What a method takes whose signature no stub can say."""


@pytest.fixture(params=VERSIONS)
def real(request):
    return bindings(request.param)


def mypy(real, path, source=None, *options):
    """Return what mypy says of a file, read as `source` if that is given, with the real API."""
    command = [
        *(sys.executable, "-m", "mypy", "--config-file=", "--strict", "--follow-imports=silent"),
        *("--ignore-missing-imports", "--no-warn-unused-ignores", "--no-error-summary"),
        *(
            "--allow-subclassing-any",
            "--allow-untyped-calls",
            "--cache-dir",
            CACHE / f"mypy-{real.version}",
        ),
        "--always-true" if real.major >= 10 else "--always-false",
        *(SINCE_10, path.relative_to(ROOT)),
    ]
    if source is not None:
        copy = CACHE / f"shadow-{real.version}.py"
        copy.write_text(source)
        command += ["--shadow-file", path.relative_to(ROOT), copy]
    done = subprocess.run(
        [str(word) for word in (*command, *options)],
        cwd=ROOT,
        env={"MYPYPATH": str(real.stubs), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert not done.stderr, done.stderr
    return [
        line for line in done.stdout.splitlines() if line.startswith(f"{path.relative_to(ROOT)}:")
    ]


def test_files_of_the_run_and_of_the_build_are_held():
    assert {path.relative_to(ROOT).parts[0] for path in USERS} == {"edge", "engines"}


@pytest.mark.parametrize("path", USERS, ids=PATH_ID)
def test_every_use_exists_in_the_real_api(real, path):
    assert mypy(real, path) == []


def api(real):
    """Return the real API: class -> member -> the names of what it takes, of every overload."""
    tree = ast.parse((real.stubs / "tensorrt" / "tensorrt.pyi").read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            taken = found.setdefault(node.name, {})
            for item in node.body:
                if isinstance(item, ast.FunctionDef):
                    names = {argument.arg for argument in item.args.args}
                    names |= {ANYTHING} if item.args.vararg else set()
                    taken[item.name] = taken.get(item.name, set()) | names
                elif isinstance(item, ast.ClassDef):
                    taken[item.name] = set()
                elif isinstance(item, ast.AnnAssign):
                    taken[item.target.id] = set()
    return found


def members(real):
    """Return the names of all members of all classes of the real API."""
    return {name for taken in api(real).values() for name in taken}


class Revealing(ast.NodeTransformer):
    """Asks mypy for the type of every object of which a member of TensorRT's is used."""

    def __init__(self, names):
        self.names = {name for name in names if not name.startswith("_")}

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if node.attr in self.names and isinstance(node.ctx, ast.Load):
            call = ast.Call(ast.Name("reveal_type", ast.Load()), [node.value], [])
            node.value = ast.copy_location(call, node.value)
        return node

    def visit_AnnAssign(self, node):
        node.value = node.value and self.visit(node.value)
        return node

    def visit_arg(self, node):
        return node

    def visit_FunctionDef(self, node):
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_ClassDef(self, node):
        node.body = [self.visit(statement) for statement in node.body]
        return node


@pytest.mark.parametrize("path", USERS, ids=PATH_ID)
def test_mypy_knows_the_type_of_every_object_of_tensorrt(path):
    """An object of unknown type would be held to nothing."""
    real = bindings("10.16.1.11")
    elsewhere_too = {"name", "log", "type", "shape"}
    transformer = Revealing(members(real) - elsewhere_too)
    source = ast.unparse(ast.fix_missing_locations(transformer.visit(ast.parse(path.read_text()))))

    told = [line for line in mypy(real, path, source) if "Revealed type" in line]

    assert told
    assert [line for line in told if re.search(r'"(Any|builtins\.object)"', line)] == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("engine.get_tensor_nam(0)", "has no attribute"),
        ("engine.get_tensor_name(number=0)", "Unexpected keyword"),
        ("engine.get_tensor_name()", "Missing positional"),
        ("trt.DataType.UINT9", "has no attribute"),
        ("trt.Runtim", "has no attribute"),
    ],
)
@pytest.mark.parametrize("path", USERS, ids=PATH_ID)
def test_a_wrong_use_is_noticed(path, wrong, says):
    source = path.read_text() + (
        f"\n\ndef _wrong(engine: trt.ICudaEngine) -> None:\n"
        f"    import tensorrt as trt\n    {wrong}\n"
    )

    assert any(says in line for line in mypy(bindings("10.16.1.11"), path, source))


def public(part):
    """Return what a class of the double has of its own, and what each of that takes."""
    if issubclass(part, Enum):
        return {name: set() for name in part.__members__}
    return {
        name: set(inspect.signature(value).parameters) if inspect.isfunction(value) else set()
        for name, value in vars(part).items()
        if not name.startswith("_")
    } | {name: set() for name in attributes(part)}


def attributes(part):
    """Return the public attributes that a class of the double gives itself when it is made."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and not node.attr.startswith("_")
    }


def test_the_double_has_nothing_that_the_real_one_lacks(real):
    double = tensorrt.module(real.version, gpu=None)
    known = api(real)

    for name, part in vars(double).items():
        if name.startswith("__"):
            continue
        assert name in known, name
        for member, taken in public(part).items():
            assert member in known[name], f"{name}.{member}"
            takes = known[name][member] | {"self"}
            assert taken <= takes or ANYTHING in takes, f"{name}.{member}({taken})"
