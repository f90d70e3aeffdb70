"""Carrying an install plan out: the PyTorch extension first, then Slicer's packaging; never before consent."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import io
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import EnvironmentProblem, InputError
from AutoRegLib.core.leftovers import private_prefix
from AutoRegSlicerLib.environment.plans import (
    TORCH,
    InstallPlan,
    application,
    extensions,
    hasTorchUtilities,
    offlineText,
)

REQUESTER = "AutoReg"
#: pip must never replace these: Slicer's own classes were built against them
KEPT = ("numpy", "scipy", "SimpleITK", "requests", "vtk", "slicer-core")


def install(
    plan: InstallPlan, *, consented: bool, log: Callable[[str], Any] | None = None,
    wheelFolder: str | Path | None = None,
) -> bool:
    """Carry the plan out at once; see :func:`installSteps`. ``log`` hears what is done and what pip says."""
    say = log or (lambda line: None)
    steps = installSteps(plan, consented=consented, step=say, log=say, wheelFolder=wheelFolder)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)


def installSteps(
    plan: InstallPlan, *, consented: bool, step: Callable[[str], Any], log: Callable[[str], Any],
    wheelFolder: str | Path | None = None,
) -> Generator[None, None, bool]:
    """Carry the plan out step by step; returns whether Slicer must be restarted, and the rest planned again after.

    ``step`` hears what is done next, before the generator yields (the window can show it), ``log`` each line of pip.
    Raises InputError without consent or a Slicer application, EnvironmentProblem when it did not work.
    """
    if not consented:
        raise InputError("nothing is installed without consent", remedy="show consentText and ask")
    if plan.route == "none":
        return False
    app = application()
    if plan.route == "manual" or app is None:
        raise InputError("there is no Slicer application to install into", got=plan.route,
                         remedy=plan.reason or offlineText())
    if plan.route == "pytorch-extension" and not hasTorchUtilities():
        step("Installing Slicer's PyTorch extension")
        yield
        with _reported(plan, log):
            _fetchExtension(app)
        return True
    if plan.needsRestart:  # PyTorch is loaded in this process: nothing of it can be replaced before the restart
        return True
    packages = list(plan.packages)
    removed = ""
    if plan.replaces:
        step(f"Removing PyTorch {plan.replaces}")
        yield
        with _reported(plan, log):
            _pipFunction("pip_uninstall")(["torch", "torchvision"])
        removed = plan.replaces
    if plan.route == "pytorch-extension" and TORCH in packages:
        step("Installing PyTorch")
        yield
        with _reported(plan, log, removed), constrained():
            _installTorch()
        packages.remove(TORCH)
    if packages:
        step(f"Installing {', '.join(packages)}")
        yield
        with _reported(plan, log, removed), constrained() as constraints:
            _pip(packages, constraints, wheelFolder)
    importlib.invalidate_caches()
    return False


def pipBusy() -> bool:
    """Whether another module installs packages at this moment."""
    packaging = sys.modules.get("slicer.packaging")
    asked = getattr(packaging, "isPipInstallInProgress", None)
    return bool(asked()) if callable(asked) else False


def constraintsText(installed: Mapping[str, str] | None = None) -> str:
    """pip constraints that keep the installed numpy, SimpleITK and others as they are.

    ``installed``: name to version; None: what this interpreter has.
    """
    lines = []
    for name in KEPT:
        if installed is not None:
            version = installed.get(name)
        else:
            try:
                version = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        if version:
            # a local build ("2.0.2+slicer") has no equal on an index, but pip keeps what is installed and equal
            lines.append(f"{name}=={version}")
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def constrained() -> Iterator[Path]:
    """A constraints file, also named to any pip that others start meanwhile; the variable is put back after.

    The variable takes the file's address: pip splits it at blanks, which an address has none of.
    """
    with tempfile.TemporaryDirectory(prefix=private_prefix("pip")) as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text(constraintsText(), encoding="utf-8")
        before = os.environ.get("PIP_CONSTRAINT")
        os.environ["PIP_CONSTRAINT"] = path.resolve().as_uri()
        try:
            yield path
        finally:
            if before is None:
                os.environ.pop("PIP_CONSTRAINT", None)
            else:
                os.environ["PIP_CONSTRAINT"] = before


class _Lines(io.TextIOBase):
    """What is printed goes on to where it went before, and each line of it to ``log``."""

    def __init__(self, beside: Any, log: Callable[[str], Any]) -> None:
        self._beside, self._log = beside, log

    def write(self, text: str) -> int:
        if self._beside is not None:
            self._beside.write(text)
        for line in filter(None, map(str.strip, text.splitlines())):
            self._log(line)
        return len(text)

    def flush(self) -> None:
        if self._beside is not None:
            self._beside.flush()


@contextlib.contextmanager
def _reported(plan: InstallPlan, log: Callable[[str], Any], removed: str = "") -> Iterator[None]:
    """``log`` hears the lines of pip, which Slicer prints, and every failure says what to do."""
    try:
        with contextlib.redirect_stdout(_Lines(sys.stdout, log)):
            yield
    except (EnvironmentProblem, InputError):
        raise
    except Exception as problem:  # pip, the extension and the network fail in many ways, all of them the user's to see
        what = "the installation did not work"
        if removed:
            what = f"PyTorch {removed} was removed, but its successor could not be installed; Set up tries again"
        raise EnvironmentProblem(what, got=str(problem)[:300] or type(problem).__name__,
                                 remedy=offlineText()) from problem


def _fetchExtension(app: Any) -> None:
    manager = extensions(app)
    manager.setInteractive(False)  # no further questions: the user consented to this one
    if not manager.installExtensionFromServer("PyTorch", False):
        raise EnvironmentProblem("Slicer's PyTorch extension could not be fetched", remedy=offlineText())


def _installTorch() -> None:
    """By the PyTorch extension, which chooses the build by the driver (it asks nothing more)."""
    logic = importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
    wanted = {"askConfirmation": False, "torchVersionRequirement": TORCH.removeprefix("torch")}
    known = inspect.signature(logic.installTorch).parameters
    if logic.installTorch(**{name: value for name, value in wanted.items() if name in known}) is None:
        raise EnvironmentProblem("PyTorch was not installed", remedy=offlineText())


def _pipFunction(name: str) -> Callable[..., Any]:
    """Of ``slicer.packaging`` where there is one (its dialog keeps the window alive), else of older Slicer."""
    if importlib.util.find_spec("slicer.packaging"):
        return getattr(importlib.import_module("slicer.packaging"), name)  # type: ignore[no-any-return]
    return getattr(importlib.import_module("slicer.util"), name)  # type: ignore[no-any-return]


def _pip(packages: list[str], constraints: Path, wheelFolder: str | Path | None) -> None:
    offline = [] if wheelFolder is None else ["--no-index", "--find-links", str(wheelFolder)]
    install = _pipFunction("pip_install")
    if importlib.util.find_spec("slicer.packaging"):
        install([*offline, *packages], constraints=constraints, requester=REQUESTER)
    else:
        install([*offline, "--constraint", str(constraints), *packages])
