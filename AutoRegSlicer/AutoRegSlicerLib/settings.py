"""What AutoReg keeps in Slicer's application settings: names in one place. Outside the application there are none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from AutoRegLib.core import places

PYTHON, WORKSPACE, WHEELS = "AutoReg/Python", "AutoReg/Workspace", "AutoReg/WheelFolder"
STOP_JOBS = "AutoReg/StopJobsWhenSlicerCloses"
AGREED = "AutoReg/AgreedPackages"  # a set-up that goes on after a restart: what the user agreed to


def application() -> Any:
    """Slicer's application object; None outside the application."""
    import slicer

    app = getattr(slicer, "app", None)
    return app if hasattr(app, "userSettings") else None


def read(name: str) -> str:
    """The setting, empty where there is none."""
    app = application()
    return "" if app is None else str(app.userSettings().value(name) or "")


def write(name: str, value: str) -> None:
    """Keep the setting."""
    app = application()
    if app is not None:
        app.userSettings().setValue(name, value)


def defaultWorkspace() -> Path:
    """Where jobs live: the setting ``AutoReg/Workspace``, else AutoReg beside Slicer's settings.

    On Windows those settings roam with the account, so jobs, which take gigabytes, lie in the local application data;
    where an earlier version left jobs beside the settings they stay, and so does the folder.
    """
    chosen = read(WORKSPACE)
    if chosen:
        return Path(chosen)
    app = application()
    if app is None:
        return Path.home() / ".AutoReg"
    beside = Path(app.slicerUserSettingsFilePath).parent / "AutoReg"
    if sys.platform == "win32":
        return places.kept(places.data_folder() / "jobs", beside / "jobs").parent
    return beside
