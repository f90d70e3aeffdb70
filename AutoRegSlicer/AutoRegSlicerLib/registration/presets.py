"""Named settings of a registration: the built-in ones and the user's own, which are kept beside Slicer's settings.

A preset says how to register, never what: no nodes and no outputs. A value that a preset leaves out stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.places import data_folder
from AutoRegLib.core.records import make_folder, read_json, write_json
from AutoRegSlicerLib import settings
from AutoRegSlicerLib.scene.values import NO_MODEL

SCHEMA = "autoreg-presets/1"
#: what a preset may hold: the model's name (or NO_MODEL), the words of the command line, and a number of steps
Preset = dict[str, str | int]
KEYS = ("model", "initialAlignment", "similarity", "refinementSteps")


def builtIn() -> dict[str, Preset]:
    """What comes with AutoReg, by name."""
    return {
        _("Default"): {"initialAlignment": "auto", "similarity": "auto", "refinementSteps": 0},
        _("Most accurate (slower)"): {"initialAlignment": "auto", "similarity": "auto", "refinementSteps": -1},
        _("One person, same kind of scan"): {
            "model": NO_MODEL, "initialAlignment": "auto", "similarity": "lncc", "refinementSteps": 0},
        _("Different contrasts (MIND)"): {
            "model": NO_MODEL, "initialAlignment": "auto", "similarity": "mind", "refinementSteps": 0},
        _("Aligned already"): {"initialAlignment": "none", "similarity": "auto", "refinementSteps": 0},
    }


def file() -> Path:
    """Where the user's own are."""
    app = settings.application()
    folder = data_folder() if app is None else Path(app.slicerUserSettingsFilePath).parent / "AutoReg"
    return folder / "presets.json"


def read() -> dict[str, Preset]:
    """The user's own, by name. Raises InputError when the file is there and cannot be understood."""
    path = file()
    if not path.is_file():
        return {}
    found = read_json(path, schema=SCHEMA).get("presets")
    valid = isinstance(found, dict) and all(isinstance(preset, dict) for preset in found.values())
    if not valid:
        raise InputError(f"{path} holds no presets", expected='{"presets": {name: {...}}}',
                         remedy="move the file away, or mend it")
    return {name: {key: value for key, value in preset.items() if key in KEYS} for name, preset in found.items()}


def save(name: str, preset: Preset) -> None:
    """Keep one of the user's own, replacing its namesake. Raises InputError (a built-in name, the file), DiskError."""
    if not name.strip() or name in builtIn():
        raise InputError(f"'{name}' cannot be the name of a preset of yours", expected="a name that is not built in",
                         remedy="choose another name")
    _write(read() | {name: preset})


def delete(name: str) -> None:
    """Forget one of the user's own. Raises InputError (the file), DiskError."""
    _write({other: preset for other, preset in read().items() if other != name})


def _write(presets: dict[str, Any]) -> None:
    make_folder(file().parent)
    write_json(file(), {"presets": presets}, schema=SCHEMA)
