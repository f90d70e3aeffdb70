"""Slicer's own Python in place of the stand-ins, from checkouts of its public sources named by AUTOREG_SLICER_SOURCE.

Several checkouts are separated as in PATH. Their files are run as they lie there and never copied; where the variable
is not set, the tests that need them are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

VARIABLE = "AUTOREG_SLICER_SOURCE"
#: in the order in which they need each other; a version that has no such file goes without
MODULES = ("util", "i18n", "packaging", "ScriptedLoadableModule", "parameterNodeWrapper")
#: classes that Slicer's code compares a widget's class with; none of our forms has one
COMPARED = {
    "ctk": ("ctkCheckBox", "ctkCheckablePushButton", "ctkComboBox", "ctkDoubleSlider", "ctkDoubleSpinBox",
            "ctkDoubleRangeSlider", "ctkColorPickerButton"),
    "slicer": ("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget", "qSlicerWidget"),
}


def checkouts() -> list[Path]:
    """The checkouts that the variable names. Raises ValueError for a folder that is none."""
    found = [Path(entry) for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    for folder in found:
        if not (folder / "Base" / "Python" / "slicer" / "util.py").is_file():
            raise ValueError(f"{VARIABLE} names {folder}, which is no checkout of Slicer's sources")
    return found


def install(source: Path) -> None:
    """Put Slicer's own modules in place; ``standins.install`` has been there before."""
    import slicer
    from PySide6.QtWidgets import QWidget

    from standins import pythonqt

    for name, kinds in COMPARED.items():
        for kind in kinds:
            setattr(sys.modules[name], kind, pythonqt.wrap(type(kind, (QWidget,), {"__module__": "PySide6.none"})))
    for name in MODULES:
        module = load(source, name)
        if module is not None:
            setattr(slicer, name, module)
    path = str(Path(__file__).resolve().parents[3] / "AutoRegSlicer" / "AutoRegSlicer.py")
    slicer.modules.autoregslicer = SimpleNamespace(path=path)


def load(source: Path, name: str) -> ModuleType | None:
    """One module of package ``slicer``, run anew."""
    base = source / "Base" / "Python" / "slicer"
    folder = base / name
    path = folder / "__init__.py" if folder.is_dir() else base / f"{name}.py"
    full = f"slicer.{name}"
    for key in [key for key in sys.modules if key == full or key.startswith(f"{full}.")]:
        del sys.modules[key]
    if not path.is_file():
        return None
    places: Any = [str(folder)] if folder.is_dir() else None
    spec = importlib.util.spec_from_file_location(full, path, submodule_search_locations=places)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module
