"""What there is to compute with, asked in a process of its own, and how to get what is missing.

Nothing here imports torch, starts pip or touches the network before the user consented.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

EnvironmentState = Literal["ready", "cpu-only", "missing", "broken"]


@dataclass(frozen=True)
class Device:
    """One GPU: name, bytes free and there, and whether this PyTorch has code for it."""

    name: str
    free: int = 0
    total: int = 0
    supported: bool = True


@dataclass(frozen=True)
class Environment:
    """What an interpreter can compute with.

    ``state``: ready (GPU), cpu-only (works, slower), missing (packages absent), broken (it did not answer).
    """

    state: EnvironmentState
    interpreter: str = ""
    python: str = ""
    torch: str = ""  # version, "" when absent
    cuda: str = ""  # version PyTorch was built for, "" for a CPU build
    devices: tuple[Device, ...] = ()
    memory: tuple[int, int] = (0, 0)  # main memory: bytes free, bytes there
    threads: int = 1
    missing: tuple[str, ...] = ()  # names for pip: "torch", "safetensors", ...
    warnings: tuple[tuple[str, str], ...] = ()  # (code, text): "cpu-build", "old-gpu", "no-gpu", "old-torch" ...

    @property
    def ready(self) -> bool:
        """Jobs can run, on a GPU or on the CPU."""
        return self.state in ("ready", "cpu-only")

    @property
    def text(self) -> str:
        """The header line, e.g. "GPU: NVIDIA ... 22.1/24 GB free, PyTorch 2.7"."""
        raise NotImplementedError


class Probe:
    """A question to an interpreter, running in a process of its own."""

    def poll(self) -> Environment | None:
        """The answer, or None while it is not there yet. Never waits; gives up (broken) after a minute."""
        raise NotImplementedError

    def stop(self) -> None:
        """Forget it."""
        raise NotImplementedError


def probe(interpreter: str | Path | None = None) -> Probe:
    """Ask ``interpreter`` (None: Slicer's own) what it has; returns at once."""
    raise NotImplementedError


def slicerInterpreter() -> str:
    """Slicer's own Python: the ``PythonSlicer`` launcher, or this interpreter outside of Slicer."""
    raise NotImplementedError


def cleanEnvironment(interpreter: str | Path | None = None) -> dict[str, str]:
    """The variables a child starts from. An external interpreter gets none of Slicer's library paths."""
    raise NotImplementedError


@dataclass(frozen=True)
class InstallPlan:
    """What would be done, to be shown before anything is done.

    ``route``: "pytorch-extension" (needs a restart when the extension itself is absent), "packaging"
    (``slicer.packaging``), "pip" (``slicer.util.pip_install``), "none" (nothing missing), "manual" (no Slicer).
    """

    route: Literal["none", "pytorch-extension", "packaging", "pip", "manual"]
    packages: tuple[str, ...] = ()
    bytesNeeded: int = 0
    needsRestart: bool = False
    needsNetwork: bool = True


def installPlan(environment: Environment, *, wheelFolder: str | Path | None = None) -> InstallPlan:
    """Which way to take on this Slicer, without doing anything; ``wheelFolder``: wheels on disk, no network."""
    raise NotImplementedError


def consentText(plan: InstallPlan) -> str:
    """The one question: which packages, from where, how much disk, whether a restart follows."""
    raise NotImplementedError


def offlineText() -> str:
    """How to install without a network, and how to use another Python instead."""
    raise NotImplementedError


def constraintsText(installed: dict[str, str] | None = None) -> str:
    """pip constraints that keep the installed numpy, scipy, SimpleITK, requests, vtk as they are."""
    raise NotImplementedError


def install(
    plan: InstallPlan, *, consented: bool, log: Callable[[str], Any] | None = None,
    wheelFolder: str | Path | None = None,
) -> bool:
    """Carry the plan out; returns whether Slicer must be restarted.

    Raises InputError without consent, EnvironmentProblem when it did not work (with the offline way as remedy).
    """
    raise NotImplementedError
