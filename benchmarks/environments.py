"""A virtual environment of its own for every peer, made once in a cache folder.

Some peers pin libraries that ours must not have, or replace torch; so none of them shares an environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

TORCH = "torch==2.13.0"  # the same for all methods that use it, ours included, or the times mean nothing
_MARK = "installed.json"
_INSTALL_SECONDS = 1200
_FAILED: dict[Path, str] = {}  # of this run: a build that fails takes minutes, and would for every pair


@dataclass(frozen=True)
class Needs:
    """What ``pip`` installs: ``packages`` after ``before``, ``without_dependencies`` last."""

    packages: tuple[str, ...]
    before: tuple[str, ...] = ()
    without_dependencies: tuple[str, ...] = field(default=())


class NotInstalledError(RuntimeError):
    """The peer has no environment: never made, or its installation failed; the message says which."""


def interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def environment(name: str, needs: Needs, *, cache: Path | None, install: bool) -> Path:
    """The Python of a peer, installed first if it is missing and may be.

    Raises: NotInstalledError when it is missing and ``install`` is false, or the installation fails.
    """
    if cache is None:
        raise NotInstalledError("not installed: no --environments folder was given")
    folder = cache.resolve() / name
    mark = folder / _MARK
    if mark.is_file() and json.loads(mark.read_text()) == _wish(needs):
        return interpreter(folder)
    if not install:
        raise NotInstalledError(f"not installed: {folder.name}")
    if folder in _FAILED:
        raise NotInstalledError(_FAILED[folder])
    try:
        _install(folder, needs)
    except NotInstalledError as problem:
        _FAILED[folder] = str(problem)
        raise
    mark.write_text(json.dumps(_wish(needs)))
    return interpreter(folder)


def _install(folder: Path, needs: Needs) -> None:
    venv.create(folder, with_pip=True, clear=True)
    for options in (needs.before, needs.packages, ("--no-deps", *needs.without_dependencies)):
        if options and options != ("--no-deps",):
            _pip(interpreter(folder), options, needs)


def versions(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """The versions that are really there; a package that is not, has no key."""
    code = (
        "import importlib.metadata as m, json, sys\nfound = {}\nfor n in sys.argv[1:]:\n"
        "    try: found[n] = m.version(n)\n    except m.PackageNotFoundError: pass\nprint(json.dumps(found))"
    )
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def _wish(needs: Needs) -> dict[str, list[str]]:
    return {"packages": sorted((*needs.before, *needs.packages, *needs.without_dependencies))}


def _pip(python: Path, options: tuple[str, ...], needs: Needs) -> None:
    """Raises NotInstalledError with the end of what pip said."""
    constrained = any(one == TORCH for one in (*needs.before, *needs.packages))
    constraints = python.parent.parent / "constraints.txt"
    constraints.write_text(TORCH + "\n" if constrained else "")
    command: list[str | Path] = [
        python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c",
        constraints, *options,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"installing took over {_INSTALL_SECONDS} s: {' '.join(options)}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        told = [line for line in lines if "rror" in line and "note:" not in line] or lines or ["no message"]
        raise NotInstalledError(f"could not be installed: {told[-1].strip()[:200]}")
