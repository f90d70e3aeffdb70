"""Small stand-ins for the parts of desktop Slicer that no package offers, over the real scene of slicer-core.

Qt is PySide6 on its offscreen platform, behind a small PythonQt: module code reaches of a widget what it would reach
in Slicer. What they show is that the panels are wired as meant; the behaviour of the real qMRML and CTK widgets is not
tested here.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

MODULE = Path(__file__).resolve().parents[3] / "AutoRegSlicer"


def install(scene: Any, settings: Path, source: Path | None = None) -> None:
    """Put qt, ctk and the missing parts of slicer in place, around ``scene``.

    ``settings``: an .ini file; ``source``: a checkout of Slicer, whose own Python then takes the place of ours.
    """
    import slicer

    from standins import application, ctk_widgets, mrml_widgets, pythonqt, qt_module, scripted, wrapper

    qt = qt_module.build()
    sys.modules["qt"] = pythonqt.module("qt", qt)
    sys.modules["ctk"] = pythonqt.module("ctk", SimpleNamespace(**{kind.__name__: kind for kind in ctk_widgets.ALL}))
    slicer.mrmlScene = scene
    slicer.app = application.Application(qt, settings)
    slicer.modules = application.Modules(scene)
    for widget in mrml_widgets.ALL:
        setattr(slicer, widget.__name__, pythonqt.wrap(widget))
    application.extend_util(wheel_util())
    for name, module in {
        "slicer.util": wheel_util(),
        "slicer.ScriptedLoadableModule": scripted, "slicer.parameterNodeWrapper": wrapper, "slicer.i18n": application,
    }.items():
        sys.modules[name] = module
        setattr(slicer, name.split(".")[1], module)
    if source is not None:
        from standins import slicer_source

        slicer_source.install(source)
    if str(MODULE) not in sys.path:
        sys.path.insert(0, str(MODULE))


@cache
def wheel_util() -> ModuleType:
    """The ``slicer.util`` that comes with slicer-core."""
    return importlib.import_module("slicer.util")
