"""What AutoReg keeps in Slicer's application settings: names in one place. Outside the application there are none."""

from __future__ import annotations

from typing import Any

PYTHON, WORKSPACE, WHEELS = "AutoReg/Python", "AutoReg/Workspace", "AutoReg/WheelFolder"
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
