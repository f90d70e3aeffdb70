"""What would be installed and how, before anything is: a plan changes what the probe says, or the user does it."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from AutoRegSlicerLib.environment.probing import Environment, isOwn

Route = Literal["none", "pytorch-extension", "packaging", "pip", "manual"]
TORCH = "torch>=2.4"
#: on disk when installed, bytes: PyTorch with CUDA libraries (Linux), or for the CPU; the rest is small
TORCH_BYTES, OTHER_BYTES = {"linux": 6_000_000_000, "win32": 5_000_000_000, "darwin": 500_000_000}, 20_000_000
#: a PyTorch that satisfies the requirement, so that pip leaves it as it is, and yet must be replaced
SATISFYING = ("cpu-build", "torch-broken")
GET_STARTED = "https://pytorch.org/get-started/locally"
ANOTHER = "Choose another Python under Advanced, Use this Python instead."


@dataclass(frozen=True)
class InstallPlan:
    """What would be done, to be shown before anything is done.

    ``route``: "pytorch-extension" (PyTorch through Slicer's extension, which is itself fetched when absent, and then
    needs a restart), "packaging" (``slicer.packaging``), "pip" (``slicer.util.pip_install`` of older Slicer),
    "none" (nothing is missing), "manual" (the user installs: ``reason`` says why and how).
    ``replaces``: the version of PyTorch that is removed first.
    """

    route: Route
    packages: tuple[str, ...] = ()
    bytesNeeded: int = 0
    needsRestart: bool = False
    needsNetwork: bool = True
    replaces: str = ""
    reason: str = ""


def installPlan(environment: Environment, *, wheelFolder: str | Path | None = None) -> InstallPlan:
    """Which way to take on this Slicer, without doing anything; ``wheelFolder``: wheels on disk, no network.

    An environment with a CPU build on a machine with a GPU counts as missing PyTorch.
    """
    needsTorch = "torch" in environment.missing or environment.warns("cpu-build")
    versions = {_name(requirement): requirement for requirement in requirements()}
    wanted = tuple(versions.get(name.lower(), name) for name in environment.missing if name != "torch")
    packages = ((TORCH,) if needsTorch else ()) + wanted
    if not packages and environment.state != "broken":
        return InstallPlan("none", needsNetwork=False)
    size = diskNeeded(environment)
    app = application()
    byExtension = wheelFolder is None and needsTorch and (hasTorchUtilities() or extensions(app) is not None)
    if reason := _reason(environment, packages, wheelFolder, app=app, byExtension=byExtension):
        return InstallPlan("manual", packages, size, needsNetwork=wheelFolder is None, reason=reason)
    pip: Route = "packaging" if importlib.util.find_spec("slicer.packaging") else "pip"
    # files of a loaded library cannot be replaced on Windows, and should not be followed by others elsewhere
    return InstallPlan(
        "pytorch-extension" if byExtension else pip, packages, size,
        needsRestart=(byExtension and not hasTorchUtilities()) or (needsTorch and torchIsLoaded(environment)),
        needsNetwork=wheelFolder is None,
        replaces=(environment.torch or "that does not load") if environment.warns(*SATISFYING) else "",
    )


def tooOldForTorch(environment: Environment) -> bool:
    """Whether there is no PyTorch that is new enough for this kind of Python: it ended with 2.2 for Intel on macOS."""
    return environment.platform == "darwin" and environment.machine == "x86_64"


def torchIsLoaded(environment: Environment) -> bool:
    """Whether the PyTorch that is installed is in use by this very process (another module loaded it)."""
    return bool(environment.torch) and "torch" in sys.modules


def diskNeeded(environment: Environment) -> int:
    """Bytes on disk of what is missing: the one figure that is shown everywhere."""
    needsTorch = "torch" in environment.missing or environment.warns("cpu-build")
    return (TORCH_BYTES.get(environment.platform, TORCH_BYTES["win32"]) if needsTorch else 0) + OTHER_BYTES


def _reason(
    environment: Environment, packages: tuple[str, ...], wheelFolder: str | Path | None, *, app: Any, byExtension: bool,
) -> str:
    """Why AutoReg cannot install here and what the user can do; empty where it can."""
    if environment.state == "broken":
        return f"{environment.text}\n{ANOTHER}"
    needsTorch = TORCH in packages
    if needsTorch and tooOldForTorch(environment):
        return _intelMac(environment)
    own = isOwn(environment.interpreter)
    if own and app is not None:
        # the package index has PyTorch for the CPU alone on Windows: it would be replaced by the same
        same = environment.warns("cpu-build") and environment.platform == "win32" and wheelFolder is None
        return _byHand(environment, packages) if same and not byExtension else ""
    what = "AutoReg installs only into Slicer's own Python" if not own else "There is no Slicer application here"
    return f"{what}; {environment.interpreter or sys.executable} is yours to change.\n{_byHand(environment, packages)}"


def _byHand(environment: Environment, packages: tuple[str, ...]) -> str:
    """The commands for this very interpreter."""
    pip = f'"{environment.interpreter or sys.executable}" -m pip'
    listed = " ".join(f'"{package}"' for package in packages)
    where = "Please run in a command prompt" if environment.platform == "win32" else "Please run in a terminal"
    last = "Then press “Check again”."
    if not environment.warns(*SATISFYING):
        return f"{where}:\n{pip} install {listed}\n{last}"
    rest = " ".join(f'"{package}"' for package in packages if package != TORCH)
    return (f"{where}:\n{pip} uninstall torch torchvision\nthen, with the same Python, the command that "
            f"{GET_STARTED} shows for this computer" + (f", and:\n{pip} install {rest}" if rest else ".") + f"\n{last}")


def _intelMac(environment: Environment) -> str:
    """What is possible on macOS where Python is an Intel program."""
    lines = ["This Python is an Intel program (x86_64). PyTorch for it ended with version 2.2; AutoReg needs 2.4."]
    if environment.translated:
        lines.append(
            "This Mac itself can run AutoReg: install a Python for Apple silicon (arm64, 3.11 or newer, for example "
            f"from python.org), run\npython3 -m pip install \"{TORCH}\" numpy SimpleITK {_quoted()}\n"
            "with it, and choose it under Advanced, Use this Python instead.")
    else:
        lines.append("On a Mac with an Intel processor there is no such PyTorch: use another computer.")
    return "\n".join(lines)


def consentText(plan: InstallPlan) -> str:
    """The one question: which packages, from where, how much disk, whether a restart follows."""
    if plan.route == "none":
        return "Everything needed is installed."
    if plan.route == "manual":
        return plan.reason
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
    if TORCH in plan.packages:
        lines.append("It takes some minutes; while PyTorch is downloaded the window may not answer.")
    if plan.replaces:
        lines.append(f"PyTorch {plan.replaces} is removed first, also for other extensions that use it.")
    if plan.needsRestart:
        lines.append("Slicer has to be restarted on the way; then the set-up goes on by itself.")
    return "\n".join([*lines, "", "Install now?"])


def offlineText() -> str:
    """How to install without a network, and how to use another Python instead."""
    return (
        "Without a network: on a connected computer of the same kind run "
        f"'pip download \"{TORCH}\" {_quoted()} -d wheels' with the Python version of this Slicer, "
        "copy the folder, and choose it under Advanced, Wheel folder.\n"
        "Or choose another Python that has these packages under Advanced, Use this Python instead."
    )


def requirements() -> tuple[str, ...]:
    """The packages beside PyTorch, as in ``Resources/requirements.txt``."""
    path = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)


def application() -> Any:
    """``slicer.app`` of a running Slicer; None in plain Python and in slicer-core."""
    slicer = sys.modules.get("slicer")
    try:
        return getattr(slicer, "app", None) if slicer is not None else None
    except ImportError:
        return None


def hasTorchUtilities() -> bool:
    """Whether the PyTorch extension is installed (found, not imported)."""
    return importlib.util.find_spec("PyTorchUtils") is not None


def extensions(app: Any) -> Any:
    """The extensions manager, None in a Slicer built without it."""
    manager = getattr(app, "extensionsManagerModel", None)
    return manager() if callable(manager) else None


def _quoted() -> str:
    return " ".join(f'"{requirement}"' for requirement in requirements())


def _name(requirement: str) -> str:
    for index, letter in enumerate(requirement):
        if letter in "<>=!~[; ":
            return requirement[:index].lower()
    return requirement.lower()
