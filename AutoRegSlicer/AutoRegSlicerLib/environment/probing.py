"""What an interpreter can compute with, asked in a process of its own; never by importing torch here."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.leftovers import private_prefix
from AutoRegLib.core.strict_json import parse_object
from AutoRegSlicerLib.environment import question

EnvironmentState = Literal["ready", "cpu-only", "missing", "broken"]
OLDEST_TORCH, OLDEST_PYTHON = (2, 4), (3, 11)
ANSWER_SECONDS = 60.0
#: run by the interpreter asked
QUESTION = Path(question.__file__).resolve()


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

    ``state``: ready (GPU), cpu-only (works, slower), missing (packages absent), broken (it did not answer, or is too
    old a Python). ``platform`` and ``machine`` as ``sys.platform`` and ``platform.machine()`` of that interpreter.
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
    warnings: tuple[tuple[str, str], ...] = ()  # (code, text)
    platform: str = sys.platform
    machine: str = ""
    translated: bool = False  # an Intel program that Rosetta runs on Apple silicon
    mps: bool = False  # whether PyTorch can use an Apple GPU

    def warns(self, *codes: str) -> bool:
        """Whether there is a warning of one of these codes."""
        return any(code in codes for code, _text in self.warnings)

    def lacks(self, device: str) -> bool:
        """Whether a job on "auto", "cpu", "cuda" or "mps" would not find its device."""
        return (device == "cuda" and not self.devices) or (device == "mps" and not self.mps)

    @property
    def ready(self) -> bool:
        """Jobs can run, on a GPU or on the CPU."""
        return self.state in ("ready", "cpu-only")

    @property
    def text(self) -> str:
        """The header line."""
        if self.state == "ready":
            best = self.devices[0]
            return (f"GPU: {best.name}, {best.free / 2**30:.1f} of {best.total / 2**30:.1f} GB free; "
                    f"PyTorch {self.torch}")
        if self.state == "cpu-only":
            return f"CPU only, {self.threads} threads; PyTorch {self.torch}"
        if self.state == "missing":
            return f"Not installed: {', '.join(self.missing)}"
        return self.warnings[0][1] if self.warnings else "This Python does not answer"


class Probe:
    """A question to an interpreter, running in a process of its own."""

    def __init__(self, interpreter: str, variables: Mapping[str, str]) -> None:
        self.interpreter = interpreter
        self._answer: Environment | None = None
        self._until = time.monotonic() + ANSWER_SECONDS
        self._folder = tempfile.mkdtemp(prefix=private_prefix("probe"))
        self._process: subprocess.Popen[bytes] | None = None
        hidden: dict[str, Any] = {}
        if sys.platform == "win32":
            hidden = {"creationflags": subprocess.CREATE_NO_WINDOW}
        try:
            # into a file: a pipe that nobody reads would stop a talkative interpreter
            with open(Path(self._folder) / "told", "wb") as told:
                self._process = subprocess.Popen(
                    [interpreter, str(QUESTION)], stdin=subprocess.DEVNULL, stdout=told, stderr=told,
                    env=dict(variables), cwd=self._folder, **hidden,
                )
        except OSError as problem:
            self._end(_broken(interpreter, f"it cannot be started: {problem.strerror or problem}"))

    def poll(self) -> Environment | None:
        """The answer, or None while it is not there yet. Never waits; gives up (broken) after a minute."""
        if self._answer is not None or self._process is None:
            return self._answer
        if self._process.poll() is None:
            if time.monotonic() > self._until:
                self._end(_broken(self.interpreter, f"no answer in {ANSWER_SECONDS:.0f} s"))
            return self._answer
        text = (Path(self._folder) / "told").read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.startswith(question.MARK)]
        if lines:
            try:
                told = parse_object(lines[-1][len(question.MARK):], where="the answer of the interpreter")
                self._end(describe(told, interpreter=self.interpreter))
            except (InputError, KeyError, TypeError, ValueError) as problem:
                self._end(_broken(self.interpreter, f"its answer cannot be understood: {problem}"[:200]))
        else:
            last = (text.strip().splitlines() or [f"exit code {self._process.returncode}"])[-1]
            self._end(_broken(self.interpreter, last[:200]))
        return self._answer

    def stop(self) -> None:
        """Forget it."""
        self._end(self._answer)

    def _end(self, answer: Environment | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process, self._answer = None, answer
        shutil.rmtree(self._folder, ignore_errors=True)


def probe(interpreter: str | Path | None = None) -> Probe:
    """Ask ``interpreter`` (None: Slicer's own) what it has; returns at once."""
    chosen = str(interpreter) if interpreter else slicerInterpreter()
    variables = cleanEnvironment(interpreter)
    return Probe(chosen, {**variables, "PYTHONIOENCODING": "utf-8", "PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"})


def describe(told: Mapping[str, Any], *, interpreter: str = "") -> Environment:
    """The answer to :data:`QUESTION` as an Environment, with the warnings that follow from it."""
    missing, warnings = list(told["missing"]), []
    if not (fits := _numbers(told["python"]) >= OLDEST_PYTHON):
        warnings.append(("old-python", f"Python {told['python']} is too old; 3.11 or newer is needed."))
    if "nibabel" in missing:  # wanted for NIfTI displacement fields only, which Slicer's jobs never write
        missing.remove("nibabel")
    devices = tuple(Device(str(n), int(free), int(total), bool(ok)) for n, free, total, ok in told["devices"])
    if told["torch_error"]:
        warnings.append(("torch-broken", f"PyTorch is installed but does not load: {told['torch_error']}"))
        missing.insert(0, "torch")
    elif told["torch"] and _numbers(told["torch"]) < OLDEST_TORCH:
        warnings.append(("old-torch", f"PyTorch {told['torch']} is too old; 2.4 or newer is needed."))
        missing.insert(0, "torch")
    if told["numpy"]:
        warnings.append(("numpy", f"PyTorch and numpy do not fit each other: {told['numpy']}"))
    gpus = list(told.get("gpus", ()))
    usable = tuple(device for device in devices if device.supported)
    if told["torch"] and not usable:
        if told.get("mps"):
            warnings.append(("mps", "An Apple GPU was found. Automatic uses the CPU, since AutoReg has not been tried "
                                    "on Apple GPUs: to try it, choose it under Advanced, Compute on."))
        elif devices:
            warnings.append(("old-gpu", f"This PyTorch has no code for the GPU {devices[0].name}; the CPU is used."))
        elif gpus and not told["cuda"]:
            warnings.append(("cpu-build", "A GPU was found but PyTorch was built for CPU; expect 20-50x slower."))
        elif gpus:
            warnings.append(("driver", "A GPU was found but PyTorch cannot use it: update its driver. "
                                       "The CPU is used; expect 20-50x slower."))
        else:
            warnings.append(("no-gpu", "No GPU was found: the CPU is used. Registering works; "
                                       "searching and training take 20-50x longer."))
    state: EnvironmentState = (
        "broken" if not fits else "missing" if missing else "ready" if usable else "cpu-only")
    return Environment(
        state, interpreter, str(told["python"]), str(told["torch"]), str(told["cuda"]), usable,
        (int(told["memory"][0]), int(told["memory"][1])), int(told["threads"]), tuple(missing), tuple(warnings),
        str(told.get("platform", sys.platform)), str(told.get("machine", "")), bool(told.get("translated")),
        bool(told.get("mps")),
    )


def isOwn(interpreter: str) -> bool:
    """Whether this is Slicer's own Python, into which Slicer's pip installs (empty: yes)."""
    own = {Path(path).resolve() for path in (slicerInterpreter(), sys.executable)}
    return not interpreter or Path(interpreter).resolve() in own


def slicerInterpreter() -> str:
    """Slicer's own Python: the ``PythonSlicer`` launcher, or this interpreter outside of Slicer."""
    name = "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer"
    home = os.environ.get("SLICER_HOME", "")
    for place in (*([str(Path(home) / "bin" / name)] if home else []), shutil.which("PythonSlicer") or ""):
        if place and Path(place).is_file():
            return place
    return sys.executable


def cleanEnvironment(interpreter: str | Path | None = None) -> dict[str, str]:
    """The variables a child starts from. An external interpreter gets none of Slicer's library paths."""
    variables = dict(os.environ)
    # what Slicer was started with; its launcher adds Slicer's own paths again. Plain Python has no application
    with contextlib.suppress(ImportError, AttributeError):
        slicer = sys.modules.get("slicer")
        if slicer is not None:
            variables = {str(k): str(v) for k, v in slicer.util.startupEnvironment().items()}
    home = variables.get("SLICER_HOME") or os.environ.get("SLICER_HOME")
    for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"):
        variables.pop(name, None)
    if interpreter is not None and home:
        for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "QT_PLUGIN_PATH"):
            if name in variables:
                parts = [part for part in variables[name].split(os.pathsep) if not part.startswith(home)]
                variables[name] = os.pathsep.join(parts)
    return variables


def _broken(interpreter: str, why: str) -> Environment:
    return Environment("broken", interpreter, warnings=(("broken", f"{interpreter}: {why}"),))


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 13) of "2.13.0+cu126"."""
    parts = version.split("+")[0].split(".")[:2]
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts)
