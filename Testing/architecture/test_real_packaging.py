"""The package as Slicer's own CMake macros build and install it, and the module opened from what was installed.

AUTOREG_SLICER_SOURCE names checkouts of Slicer's public sources (separated as in PATH), AUTOREG_CTK_SOURCE one of CTK;
without them, or without cmake, these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from architecture.package_files import MODULES, NOT_SHIPPED, ROOT

SLICER = [Path(entry) for entry in os.environ.get("AUTOREG_SLICER_SOURCE", "").split(os.pathsep) if entry]
CTK = os.environ.get("AUTOREG_CTK_SOURCE", "")
CMAKE = shutil.which("cmake")
ABSENT = ("AUTOREG_SLICER_SOURCE and AUTOREG_CTK_SOURCE name no checkouts" if not (SLICER and CTK)
          else "cmake is not installed" if CMAKE is None else "")
PLACE = "lib/Slicer-5.10/qt-scripted-modules"
#: what a built Slicer would say of itself, and nothing more than the macros ask for
CONFIG = """
set(Slicer_USE_PYTHONQT ON)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR {place})
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR {place})
set(Slicer_USE_FILE ${{CMAKE_CURRENT_LIST_DIR}}/macros.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${{CMAKE_CURRENT_LIST_DIR}}/nothing.cmake)
set(Slicer_EXTENSION_CPACK ${{CMAKE_CURRENT_LIST_DIR}}/nothing.cmake)
set(CTK_CMAKE_DIR {ctk}/CMake)
set(PYTHONINTERP_FOUND ON)
set(PYTHONLIBS_FOUND ON)
set(PYTHON_EXECUTABLE {python})
set(PYTHON_LIBRARIES {python})
"""
MACROS = """
include({ctk}/CMake/ctkMacroCompilePythonScript.cmake)
include({ctk}/CMake/ctkFunctionExtractOptimizedLibrary.cmake)
include({slicer}/CMake/SlicerMacroBuildScriptedModule.cmake)
"""


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if "CMAKE_C_COMPILER" in done.stderr or "CMAKE_MAKE_PROGRAM" in done.stderr:
        pytest.skip("no compiler or make for cmake")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module", params=SLICER or ["absent"], ids=lambda p: getattr(p, "name", p))
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configured, built and installed with the macros of one version of Slicer."""
    if ABSENT:
        pytest.skip(ABSENT)
    base = tmp_path_factory.mktemp("package")
    facts = {"slicer": request.param.as_posix(), "ctk": Path(CTK).as_posix(), "place": PLACE,
             "python": Path(sys.executable).as_posix()}
    (base / "config").mkdir()
    for name, text in (("SlicerConfig", CONFIG), ("macros", MACROS), ("nothing", "")):
        (base / "config" / f"{name}.cmake").write_text(text.format(**facts), encoding="utf-8")
    run(CMAKE, "-S", ROOT, "-B", base / "build", f"-DSlicer_DIR={base / 'config'}", "-DBUILD_TESTING=OFF",
        "-DCMAKE_C_COMPILER_WORKS=1", "-DCMAKE_CXX_COMPILER_WORKS=1")
    run(CMAKE, "--build", base / "build")
    run(CMAKE, "--install", base / "build", "--prefix", base / "installed")
    return base / "installed" / PLACE


def test_what_is_in_the_repository_is_installed(installed: Path) -> None:
    """The library in a folder of its own beside the module's file, every file of git and no other."""
    listed = subprocess.run(["git", "ls-files", *MODULES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    wanted = {Path(line) for line in listed.stdout.splitlines() if Path(line).name not in NOT_SHIPPED}
    wanted = {path.relative_to("AutoRegSlicer") if path.parts[0] == "AutoRegSlicer" else path for path in wanted}
    found = {path.relative_to(installed) for path in installed.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert found == wanted
    compiled = {path.relative_to(installed).with_suffix(".py") for path in installed.rglob("*.pyc")}
    assert {path for path in wanted if path.suffix == ".py"} == compiled


def test_the_module_opens_from_what_was_installed(installed: Path, tmp_path: Path) -> None:
    """In a process that knows the installed tree and the stand-ins alone."""
    pytest.importorskip("slicer_core", reason="slicer-core is not installed")
    pytest.importorskip("PySide6.QtWidgets", reason="PySide6 or its GL libraries are absent", exc_type=ImportError)
    code = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import slicer, vtk, standins
standins.MODULE = Path(sys.argv[1])
from standins import fixtures, scripted
scripted.MODULE = standins.MODULE
desk = fixtures.make_desk(slicer.vtkMRMLScene(), Path(sys.argv[3]))
import AutoRegLib
assert desk.ui.applyButton.text() == "Apply"
print(desk.module.__file__, AutoRegLib.__file__, sep="\\n", flush=True)
os._exit(0)
"""
    variables = {**os.environ, "PYTHONSAFEPATH": "1", "QT_QPA_PLATFORM": "offscreen"}
    variables.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", code, str(installed), str(ROOT / "Testing" / "slicer"), str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=variables)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [Path(line) for line in done.stdout.splitlines()] == [
        installed / "AutoRegSlicer.py", installed / "AutoRegLib" / "__init__.py"]
