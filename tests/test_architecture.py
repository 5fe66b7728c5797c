"""The house's size budget and habits, kept by machine."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import slidemask

ROOT = Path(slidemask.__file__).parent
PROJECT = Path(__file__).resolve().parents[1]
MODULES = sorted(ROOT.rglob("*.py"))
BANNED = re.compile(r"Manager|Handler|Helper|Utils|Engine|Processor|Base|Runner")
LATE_IMPORTS = 40
"""Imports inside functions, all rooms but apps: more hide cycles and slow surprises."""


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_keeps_its_budget(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= 400, "module over 400 lines: split it by what it is about"
    assert not BANNED.search(path.stem.title()), "the name says nothing about what it does"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = lines(node) - (lines(node.body[0]) if ast.get_docstring(node) else 0)
            assert body <= 60, f"{node.name} has {body} lines without its docstring"
        if isinstance(node, ast.ClassDef):
            public = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]
            assert len(public) <= 12, f"{node.name} has {len(public)} public methods"
            assert not BANNED.search(node.name), f"{node.name}: the name says nothing"


def test_few_imports_hide_inside_functions() -> None:
    late = [
        f"{path.relative_to(ROOT)}:{inner.lineno}"
        for path in MODULES
        if path.parent.name != "apps"
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        for inner in ast.walk(function)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert len(late) <= LATE_IMPORTS, late


def test_every_bound_and_every_silenced_remark_has_its_reason() -> None:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    required = tomllib.loads(text)["project"]["dependencies"]
    for bound in required:
        (line,) = [line for line in text.splitlines() if line.strip().startswith(f'"{bound}",')]
        assert "#" in line, f"{bound} has no reason"
    for path in MODULES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if mark := re.search(r"#\s*(type: ignore|noqa)\S*(.*)", line):
                assert mark[2].strip(" :-#"), f"{path.name}:{number} silences without a reason"


def test_importing_the_package_loads_no_torch_and_no_reader() -> None:
    code = "import slidemask, slidemask.apps.cli, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "cv2", "openslide", "scipy", "matplotlib", "shapely", "numpy"}
    assert not heavy & set(done.stdout.split())
