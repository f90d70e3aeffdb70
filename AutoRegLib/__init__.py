"""AutoReg: deep registration networks whose architecture and loss are found for your data.

For scripts: ``from AutoRegLib import register, load_bundle, read_scenario``. Importing this package loads nothing else;
what is behind these names is loaded when one of them is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_DOORS = {"register": "AutoRegLib.app.perform", "load_bundle": "AutoRegLib.bundle",
          "read_scenario": "AutoRegLib.core.scenario"}


def __getattr__(name: str) -> Any:
    if name in _DOORS:
        return getattr(import_module(_DOORS[name]), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
