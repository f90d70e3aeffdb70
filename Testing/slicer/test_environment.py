"""What an interpreter can compute with, and the one consent before anything is installed."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import tools

from AutoRegLib.core.errors import EnvironmentProblem, InputError
from AutoRegSlicerLib import environment, installing, probing
from AutoRegSlicerLib.environment import Environment, InstallPlan

TOLD: dict[str, Any] = {
    "python": "3.12.10", "torch": "2.7.0+cu126", "cuda": "12.6", "devices": [["A GPU", 8 * 2**30, 10 * 2**30, True]],
    "torch_error": "", "numpy": "", "missing": [], "threads": 8, "memory": [1, 2], "gpus": ["A GPU, 10240 MiB"],
}


def answer(question: probing.Probe) -> Environment:
    until = time.monotonic() + 60
    while (told := question.poll()) is None and time.monotonic() < until:
        time.sleep(0.02)
    assert told is not None
    return told


def test_this_interpreter_answers_without_loading_torch_here() -> None:
    before = "torch" in sys.modules
    asked = time.perf_counter()
    question = environment.probe(sys.executable)
    assert time.perf_counter() - asked < 5.0  # it does not wait for the answer
    told = answer(question)
    import importlib.metadata

    assert told.torch.split("+")[0] == importlib.metadata.version("torch").split("+")[0]
    assert told.ready and told.python == ".".join(map(str, sys.version_info[:3])) and told.threads >= 1
    assert told.memory[1] > 2**28 and told.missing == ()
    assert before == ("torch" in sys.modules)


@pytest.mark.skipif(not tools.posix, reason="needs a shell")
def test_interpreters_that_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(environment.probe(tmp_path / "absent")).state == "broken"
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho nothing to say\n")
    other.chmod(0o755)
    told = answer(environment.probe(other))
    assert told.state == "broken" and "nothing to say" in told.warnings[0][1]
    monkeypatch.setattr(probing, "ANSWER_SECONDS", 0.2)
    other.write_text("#!/bin/sh\nexec sleep 60\n")
    assert "no answer" in answer(environment.probe(other)).warnings[0][1]


@pytest.mark.parametrize(
    ("changes", "state", "code"),
    [
        ({}, "ready", ""),
        ({"devices": [], "cuda": "", "torch": "2.7.0+cpu"}, "cpu-only", "cpu-build"),
        ({"devices": []}, "cpu-only", "driver"),
        ({"devices": [], "gpus": []}, "cpu-only", "no-gpu"),
        ({"devices": [["An old GPU", 1, 2, False]]}, "cpu-only", "old-gpu"),
        ({"torch": "2.3.1"}, "missing", "old-torch"),
        ({"torch": "", "torch_error": "OSError: libcudart"}, "missing", "torch-broken"),
        ({"torch": "", "devices": [], "missing": ["torch", "safetensors"]}, "missing", ""),
        ({"missing": ["nibabel"]}, "ready", ""),
        ({"numpy": "_ARRAY_API not found"}, "ready", "numpy"),
    ],
)
def test_what_the_answer_means(changes: dict[str, Any], state: str, code: str) -> None:
    told = environment.describe({**TOLD, **changes})
    assert told.state == state
    assert [c for c, _ in told.warnings] == ([code] if code else [])
    if code in ("cpu-build", "driver"):
        assert "20-50x slower" in told.warnings[0][1]
    assert told.text and ("A GPU, 8.0 of 10.0 GB free" in told.text) == (state == "ready")


def test_an_external_python_gets_nothing_of_slicer(monkeypatch: pytest.MonkeyPatch) -> None:
    home = "/opt/slicer"
    monkeypatch.setenv("SLICER_HOME", home)
    monkeypatch.setenv("PYTHONHOME", f"{home}/lib/Python")
    monkeypatch.setenv("PYTHONPATH", f"{home}/bin/Python")
    monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join([f"{home}/lib", "/usr/local/cuda/lib64"]))
    before = dict(os.environ)
    variables = environment.cleanEnvironment("/usr/bin/python3")
    assert "PYTHONHOME" not in variables and "PYTHONPATH" not in variables
    assert variables["LD_LIBRARY_PATH"] == "/usr/local/cuda/lib64"
    assert "PYTHONHOME" not in environment.cleanEnvironment()
    assert dict(os.environ) == before


# installing, with stand-ins for the parts of Slicer that would do it


class Manager:
    """Slicer's extensions manager."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.works = True

    def setInteractive(self, wanted: bool) -> None:
        assert not wanted

    def installExtensionFromServer(self, name: str, restart: bool) -> bool:
        assert not restart
        self.fetched.append(name)
        return self.works


class Slicer:
    """What of Slicer is there: notes every call."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.calls, self.manager = patch, [], Manager()
        self.constraints = ""
        module = types.ModuleType("slicer")
        module.app = types.SimpleNamespace(extensionsManagerModel=lambda: self.manager)  # type: ignore[attr-defined]
        module.util = self.module("slicer.util", pip_install=self.pip_old)  # type: ignore[attr-defined]
        module.__path__ = []  # type: ignore[attr-defined]
        module.__spec__ = importlib.machinery.ModuleSpec("slicer", None, is_package=True)
        patch.setitem(sys.modules, "slicer", module)
        for name in ("slicer.packaging", "PyTorchUtils"):
            patch.delitem(sys.modules, name, raising=False)

    def module(self, name: str, **content: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        made.__spec__ = importlib.machinery.ModuleSpec(name, None)
        for key, value in content.items():
            setattr(made, key, value)
        self.patch.setitem(sys.modules, name, made)
        return made

    def with_packaging(self) -> None:
        self.module("slicer.packaging", pip_install=self.pip_new)

    def with_torch_extension(self, result: Any = "torch") -> None:
        logic = types.SimpleNamespace(installTorch=lambda askConfirmation=False, forceComputationBackend=None,
                                      torchVersionRequirement=None: self.torch(torchVersionRequirement, result))
        self.module("PyTorchUtils", PyTorchUtilsLogic=lambda: logic)

    def torch(self, version: str | None, result: Any) -> Any:
        self.constraints = Path(os.environ["PIP_CONSTRAINT"]).read_text()
        self.calls.append(("extension", version))
        return result

    def pip_old(self, arguments: list[str]) -> None:
        self.constraints = Path(arguments[arguments.index("--constraint") + 1]).read_text()
        self.calls.append(("pip", tuple(a for a in arguments if a != "--constraint" and "autoreg-pip-" not in a)))

    def pip_new(self, arguments: list[str], constraints: Path, requester: str) -> None:
        self.constraints = Path(constraints).read_text()
        self.calls.append(("packaging", tuple(arguments)))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slicer]:
    yield Slicer(monkeypatch)


NOTHING = Environment("missing", missing=("torch", "safetensors"))


def test_nothing_happens_without_consent(fake: Slicer) -> None:
    fake.with_packaging()
    fake.with_torch_extension()
    plan = environment.installPlan(NOTHING)
    text = environment.consentText(plan)
    assert "torch>=2.4, safetensors>=0.4" in text and "GB of disk" in text and "network" in text
    with pytest.raises(InputError, match="without consent"):
        environment.install(plan, consented=False)
    assert fake.calls == [] and fake.manager.fetched == []


def test_the_pytorch_extension_comes_first(fake: Slicer) -> None:
    fake.with_packaging()
    plan = environment.installPlan(NOTHING)
    assert plan.route == "pytorch-extension" and plan.needsRestart
    assert "restarted" in environment.consentText(plan)
    assert environment.install(plan, consented=True) is True
    assert fake.manager.fetched == ["PyTorch"] and fake.calls == []
    fake.with_torch_extension()  # after the restart
    plan = environment.installPlan(NOTHING)
    assert plan.route == "pytorch-extension" and not plan.needsRestart
    lines: list[str] = []
    assert environment.install(plan, consented=True, log=lines.append) is False
    assert fake.calls == [("extension", ">=2.4"), ("packaging", ("safetensors>=0.4",))]
    assert fake.manager.fetched == ["PyTorch"] and len(lines) == 2


def test_pip_never_replaces_what_slicer_was_built_with(fake: Slicer) -> None:
    import numpy
    import SimpleITK

    fake.with_torch_extension()
    before = os.environ.get("PIP_CONSTRAINT")
    environment.install(environment.installPlan(NOTHING), consented=True)
    for line in (f"numpy=={numpy.__version__}", f"SimpleITK=={SimpleITK.Version.VersionString()}"):
        assert line in fake.constraints.splitlines()
    assert fake.calls[-1][0] == "pip"  # a Slicer without slicer.packaging
    assert os.environ.get("PIP_CONSTRAINT") == before
    assert environment.constraintsText({"numpy": "2.0.2", "torch": "2"}) == "numpy==2.0.2\n"


def test_a_folder_of_wheels_needs_no_network(fake: Slicer, tmp_path: Path) -> None:
    fake.with_packaging()
    fake.with_torch_extension()
    plan = environment.installPlan(NOTHING, wheelFolder=tmp_path)
    assert (plan.route, plan.needsNetwork) == ("packaging", False)
    assert "network is not used" in environment.consentText(plan)
    environment.install(plan, consented=True, wheelFolder=tmp_path)
    assert fake.calls == [
        ("packaging", ("--no-index", "--find-links", str(tmp_path), "torch>=2.4", "safetensors>=0.4"))
    ]


def test_other_plans(fake: Slicer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.installPlan(Environment("ready")).route == "none"
    cpu = Environment("cpu-only", warnings=(("cpu-build", ""),))
    assert environment.installPlan(cpu).packages == ("torch>=2.4",)
    only = environment.installPlan(Environment("missing", missing=("safetensors",)))
    assert (only.route, only.packages) == ("pip", ("safetensors>=0.4",)) and only.bytesNeeded < 1e9
    monkeypatch.setitem(sys.modules, "slicer", types.ModuleType("slicer"))  # slicer-core: no application
    plan = environment.installPlan(NOTHING)
    assert plan.route == "manual" and "yourself" in environment.consentText(plan)
    with pytest.raises(InputError, match="no Slicer application"):
        environment.install(plan, consented=True)


@pytest.mark.parametrize("way", ["server", "declined", "crash"])
def test_an_installation_that_fails_names_the_offline_way(fake: Slicer, way: str) -> None:
    if way == "server":
        fake.manager.works = False
    elif way == "declined":
        fake.with_torch_extension(result=None)
    else:
        fake.with_torch_extension()
        fake.torch = lambda *_: (_ for _ in ()).throw(RuntimeError("exit status 1"))  # type: ignore[method-assign]
    with pytest.raises(EnvironmentProblem) as told:
        environment.install(environment.installPlan(NOTHING), consented=True)
    assert "Wheel folder" in told.value.remedy
    assert isinstance(environment.installPlan(NOTHING), InstallPlan) and "PIP_CONSTRAINT" not in os.environ


def test_requirements_are_those_of_the_library() -> None:
    import tomllib

    project = tomllib.loads((Path(installing.__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = set(project["dependencies"])
    assert installing.TORCH in wanted and set(environment.requirements()) <= wanted
