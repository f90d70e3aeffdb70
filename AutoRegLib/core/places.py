"""Where AutoReg keeps what is the user's: models, jobs and derived facts, in the place that the system has for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """Of models and jobs.

    Windows: the local application data, since gigabytes in the roaming part travel with the account; macOS:
    Application Support; elsewhere ``XDG_DATA_HOME``, which is obeyed everywhere when it is set.
    """
    home = Path(os.path.expanduser("~"))
    if given := os.environ.get("XDG_DATA_HOME"):
        return Path(given) / "autoreg"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "AutoReg"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "AutoReg"
    return home / ".local" / "share" / "autoreg"


def models_folder() -> Path:
    """Of imported and trained models; ``AUTOREG_MODELS`` names another."""
    if given := os.environ.get("AUTOREG_MODELS"):
        return Path(given)
    former = Path(os.path.expanduser("~"), ".local", "share", "autoreg", "models")
    return kept(data_folder() / "models", former)


def cache_folder() -> Path:
    """Of small derived facts between runs; safe to delete at any time. ``AUTOREG_CACHE`` names another."""
    home = Path(os.path.expanduser("~"))
    if given := os.environ.get("AUTOREG_CACHE"):
        return Path(given)
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "autoreg"
    if sys.platform == "win32":
        return data_folder() / "cache"
    return home / ("Library/Caches/AutoReg" if sys.platform == "darwin" else ".cache/autoreg")


def kept(place: Path, former: Path) -> Path:
    """``former`` where it holds something, else ``place``: what an earlier version wrote goes on being found."""
    try:
        return former if any(former.iterdir()) else place
    except OSError:
        return place
