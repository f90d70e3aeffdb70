"""The rules of the design, checked: layers, forbidden imports, the one place of a thing, file sizes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "AutoRegLib"
SOURCES = sorted(LIBRARY.rglob("*.py"))


def names(folder: Path = LIBRARY) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in sorted(folder.rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, lazily or not, as a dotted name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def uses(path: Path, package: str) -> bool:
    return any(name.split(".")[0] == package for name in imported(path))


def loaded_by(code: str) -> set[str]:
    """The top-level packages in ``sys.modules`` after running code in a fresh interpreter."""
    listing = "import sys; print(' '.join({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{listing}"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stderr.split())


def test_layers_and_forbidden_imports() -> None:
    linter = pytest.importorskip("importlinter.cli", reason="import-linter is not installed")
    done = subprocess.run(
        [sys.executable, "-c", f"from {linter.__name__} import lint_imports_command as run; run()", "--no-cache"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import AutoRegLib",
        "import AutoRegLib.core.jobs, AutoRegLib.core.recipe, AutoRegLib.core.scenario, AutoRegLib.core.presets",
        "from AutoRegLib.app.cli import main; assert main(['--help']) == 0",
        "from AutoRegLib.app.cli import main; assert main(['register', '--help']) == 0",
        "import AutoRegLib.app.worker",
    ],
)
def test_nothing_heavy_before_it_is_needed(code: str) -> None:
    assert loaded_by(code).isdisjoint({"torch", "numpy", "SimpleITK", "nibabel", "matplotlib", "safetensors"})


def test_imaging_loads_no_torch() -> None:
    modules = ", ".join(n.removesuffix(".py").replace("/", ".") for n in names(LIBRARY / "imaging") if "__" not in n)
    assert "torch" not in loaded_by(f"import {modules}")


def test_grid_sample_in_one_file() -> None:
    assert [p.name for p in SOURCES if re.search(r"\bgrid_sample\(", p.read_text())] == ["sampling.py"]


def test_arrays_leave_simpleitk_in_imaging_and_bridge_only() -> None:
    for path in SOURCES:
        if re.search(r"Get(Array|ArrayView)FromImage", path.read_text()):
            assert path.parent.name == "imaging" or path.name == "bridge.py", path


@pytest.mark.parametrize("package", ["slicer", "qt", "vtk", "ctk", "monai", "pandas"])
def test_the_library_does_without(package: str) -> None:
    assert [p.name for p in SOURCES if uses(p, package)] == []


def test_scipy_for_tests_of_significance_only() -> None:
    """Where it is asked for when they are made: Slicer's Python need not have it."""
    users = [p for p in SOURCES if uses(p, "scipy")]
    assert [p.name for p in users] == ["significance.py"]
    assert "    from scipy" in users[0].read_text() and "\nfrom scipy" not in users[0].read_text()


def test_simpleitk_in_imaging_and_bridge_only() -> None:
    users = {p.relative_to(LIBRARY).as_posix() for p in SOURCES if uses(p, "SimpleITK")}
    assert users and all(name.startswith("imaging/") or name == "bridge.py" for name in users), users


def test_nibabel_in_the_file_readers_only() -> None:
    users = {p.relative_to(LIBRARY).as_posix() for p in SOURCES if uses(p, "nibabel")}
    assert users and all(name.startswith("imaging/") for name in users), users


def test_the_slicer_module_uses_core_and_imaging_only() -> None:
    allowed = {"AutoRegLib", "AutoRegLib.__version__", "AutoRegLib.core", "AutoRegLib.imaging"}
    for path in (ROOT / "AutoRegSlicer").rglob("*.py"):
        found = {".".join(n.split(".")[:2]) for n in imported(path) if n.split(".")[0] == "AutoRegLib"}
        assert found <= allowed, path
        assert not uses(path, "torch"), path


def test_prints_only_in_the_command_line() -> None:
    printing = set()
    for path in SOURCES:
        calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        if any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls):
            printing.add(path.name)
    assert printing <= {"cli.py", "console.py", "worker.py"}  # the worker prints to its log file


def test_files_stay_readable_in_one_sitting() -> None:
    folders = [ROOT / name for name in ("AutoRegLib", "AutoRegSlicer", "Testing", "benchmarks")]
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for f in folders for p in f.rglob("*.py")}
    assert {p.relative_to(ROOT).as_posix(): n for p, n in lengths.items() if n > 350} == {}
