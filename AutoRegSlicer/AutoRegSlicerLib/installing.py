"""How to get what is missing: the PyTorch extension first, then Slicer's packaging; never before consent."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from AutoRegLib.core.errors import EnvironmentProblem, InputError
from AutoRegSlicerLib.probing import Environment

Route = Literal["none", "pytorch-extension", "packaging", "pip", "manual"]
TORCH = "torch>=2.4"
REQUESTER = "AutoReg"
#: pip must never replace these: Slicer's own classes were built against them
KEPT = ("numpy", "scipy", "SimpleITK", "requests", "vtk", "slicer-core")
#: on disk when installed, bytes: PyTorch with CUDA libraries (Linux), or for the CPU; the rest is small
TORCH_BYTES, OTHER_BYTES = {"linux": 6_000_000_000, "win32": 5_000_000_000, "darwin": 500_000_000}, 20_000_000


@dataclass(frozen=True)
class InstallPlan:
    """What would be done, to be shown before anything is done.

    ``route``: "pytorch-extension" (PyTorch through Slicer's extension, which is itself fetched when absent, and then
    needs a restart), "packaging" (``slicer.packaging``), "pip" (``slicer.util.pip_install`` of older Slicer),
    "none" (nothing is missing), "manual" (no Slicer application, or another interpreter: the user installs).
    """

    route: Route
    packages: tuple[str, ...] = ()
    bytesNeeded: int = 0
    needsRestart: bool = False
    needsNetwork: bool = True


def installPlan(environment: Environment, *, wheelFolder: str | Path | None = None) -> InstallPlan:
    """Which way to take on this Slicer, without doing anything; ``wheelFolder``: wheels on disk, no network.

    An environment with a CPU build on a machine with a GPU counts as missing PyTorch.
    """
    needsTorch = "torch" in environment.missing
    if any(code == "cpu-build" for code, _ in environment.warnings):
        needsTorch = True
    wanted = tuple(r for r in requirements() if _name(r) in {m.lower() for m in environment.missing})
    packages = ((TORCH,) if needsTorch else ()) + wanted
    if not packages:
        return InstallPlan("none", needsNetwork=False)
    size = (TORCH_BYTES.get(sys.platform, 5_000_000_000) if needsTorch else 0) + OTHER_BYTES
    app = _application()
    if app is None:
        return InstallPlan("manual", packages, size, needsNetwork=wheelFolder is None)
    pip: Route = "packaging" if importlib.util.find_spec("slicer.packaging") else "pip"
    if wheelFolder is not None:
        return InstallPlan(pip, packages, size, needsNetwork=False)
    if needsTorch and (_torchUtilities() or _extensions(app) is not None):
        return InstallPlan("pytorch-extension", packages, size, needsRestart=not _torchUtilities())
    return InstallPlan(pip, packages, size)


def consentText(plan: InstallPlan) -> str:
    """The one question: which packages, from where, how much disk, whether a restart follows."""
    if plan.route == "none":
        return "Everything needed is installed."
    if plan.route == "manual":
        return f"Please install into this Python yourself: {', '.join(plan.packages)}.\n\n{offlineText()}"
    source = {
        "pytorch-extension": "PyTorch comes through Slicer's PyTorch extension, in the build that fits this computer.",
        "packaging": "They come from the Python package index.",
        "pip": "They come from the Python package index.",
    }[plan.route]
    if not plan.needsNetwork:
        source = "They come from the folder of wheels; the network is not used."
    lines = [
        f"AutoReg needs these Python packages: {', '.join(plan.packages)}.",
        source,
        f"About {plan.bytesNeeded / 1e9:.1f} GB of disk are needed"
        + (", and a network connection." if plan.needsNetwork else "."),
        "Slicer's own packages (numpy, SimpleITK and others) stay as they are.",
    ]
    if plan.needsRestart:
        lines.append("The PyTorch extension is not installed yet: it is installed first, then Slicer has to be "
                     "restarted, and Set up pressed again.")
    return "\n".join([*lines, "", "Install now?"])


def offlineText() -> str:
    """How to install without a network, and how to use another Python instead."""
    return (
        "Without a network: on a connected computer of the same kind run "
        f"'pip download \"{TORCH}\" {' '.join(requirements())} -d wheels' with the Python version of this Slicer, "
        "copy the folder, and choose it under Advanced, Wheel folder.\n"
        "Or choose another Python that has these packages under Advanced, Use this Python instead."
    )


def requirements() -> tuple[str, ...]:
    """The packages beside PyTorch, as in ``Resources/requirements.txt``."""
    path = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)


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


def install(
    plan: InstallPlan, *, consented: bool, log: Callable[[str], Any] | None = None,
    wheelFolder: str | Path | None = None,
) -> bool:
    """Carry the plan out; returns whether Slicer must be restarted.

    Raises InputError without consent or a Slicer application, EnvironmentProblem when it did not work.
    """
    if not consented:
        raise InputError("nothing is installed without consent", remedy="show consentText and ask")
    if plan.route == "none":
        return False
    app = _application()
    if plan.route == "manual" or app is None:
        raise InputError("there is no Slicer application to install into", got=plan.route, remedy=offlineText())
    say = log or (lambda line: None)
    packages = list(plan.packages)
    try:
        with _constrained() as constraints:
            if plan.route == "pytorch-extension":
                if not _torchUtilities():
                    say("Installing Slicer's PyTorch extension")
                    return _fetchExtension(app)
                say("Installing PyTorch")
                _installTorch()
                packages.remove(TORCH)
            if packages:
                say(f"Installing {', '.join(packages)}")
                _pip(packages, constraints, wheelFolder)
    except (EnvironmentProblem, InputError):
        raise
    except Exception as problem:  # pip, the extension and the network fail in many ways, all of them the user's to see
        raise EnvironmentProblem("the installation did not work", got=str(problem)[:300] or type(problem).__name__,
                                 remedy=offlineText()) from problem
    importlib.invalidate_caches()
    return plan.needsRestart


def _application() -> Any:
    """``slicer.app`` of a running Slicer; None in plain Python and in slicer-core."""
    slicer = sys.modules.get("slicer")
    try:
        return getattr(slicer, "app", None) if slicer is not None else None
    except ImportError:
        return None


def _torchUtilities() -> bool:
    """Whether the PyTorch extension is installed (found, not imported)."""
    return importlib.util.find_spec("PyTorchUtils") is not None


def _extensions(app: Any) -> Any:
    """The extensions manager, None in a Slicer built without it."""
    manager = getattr(app, "extensionsManagerModel", None)
    return manager() if callable(manager) else None


def _fetchExtension(app: Any) -> bool:
    manager = _extensions(app)
    manager.setInteractive(False)  # no further questions: the user consented to this one
    if not manager.installExtensionFromServer("PyTorch", False):
        raise EnvironmentProblem("Slicer's PyTorch extension could not be fetched", remedy=offlineText())
    return True


def _installTorch() -> None:
    """By the PyTorch extension, which chooses the build by the driver (it asks nothing more)."""
    logic = importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
    wanted = {"askConfirmation": False, "torchVersionRequirement": TORCH.removeprefix("torch")}
    known = inspect.signature(logic.installTorch).parameters
    if logic.installTorch(**{name: value for name, value in wanted.items() if name in known}) is None:
        raise EnvironmentProblem("PyTorch was not installed", remedy=offlineText())


def _pip(packages: list[str], constraints: Path, wheelFolder: str | Path | None) -> None:
    """Through ``slicer.packaging`` where there is one (its dialog keeps the application alive), else the older way."""
    offline = [] if wheelFolder is None else ["--no-index", "--find-links", str(wheelFolder)]
    if importlib.util.find_spec("slicer.packaging"):
        importlib.import_module("slicer.packaging").pip_install(
            [*offline, *packages], constraints=constraints, requester=REQUESTER
        )
    else:
        import slicer.util

        slicer.util.pip_install([*offline, "--constraint", str(constraints), *packages])


@contextlib.contextmanager
def _constrained() -> Iterator[Path]:
    """A constraints file, also named to any pip that others start meanwhile; the variable is put back after."""
    with tempfile.TemporaryDirectory(prefix="autoreg-pip-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text(constraintsText(), encoding="utf-8")
        before = os.environ.get("PIP_CONSTRAINT")
        os.environ["PIP_CONSTRAINT"] = path.as_posix()
        try:
            yield path
        finally:
            if before is None:
                os.environ.pop("PIP_CONSTRAINT", None)
            else:
                os.environ["PIP_CONSTRAINT"] = before


def _name(requirement: str) -> str:
    for index, letter in enumerate(requirement):
        if letter in "<>=!~[; ":
            return requirement[:index].lower()
    return requirement.lower()
