"""The one consent before anything is installed, and plans that change what was found: or are left to the user."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from test_environment import TOLD

from AutoRegLib.core.errors import EnvironmentProblem, InputError
from AutoRegSlicerLib import environment
from AutoRegSlicerLib.environment import Environment, InstallPlan, installing, probing

NOTHING = Environment("missing", missing=("torch", "safetensors"), platform="linux", machine="x86_64")
GPU = ["A GPU, 10240 MiB"]


class Computer:
    """A Slicer with pip, its extensions manager and the PyTorch extension; pip leaves what satisfies, as the real one.

    ``torch`` is the installed version, the local part telling the build; ``gpus`` as nvidia-smi lists them.
    """

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.patch, self.folder = patch, folder
        self.torch, self.packages, self.gpus, self.platform, self.machine = "", set(), GPU, "linux", "x86_64"
        self.python, self.interpreter, self.works = "3.12.10", "", True
        self.translated = self.crashes = self.declines = False
        self.calls: list[tuple[str, Any]] = []
        self.constraints = ""
        module = types.ModuleType("slicer")
        module.app = types.SimpleNamespace(extensionsManagerModel=lambda: self)  # type: ignore[attr-defined]
        module.__path__ = []  # type: ignore[attr-defined]
        module.__spec__ = importlib.machinery.ModuleSpec("slicer", None, is_package=True)
        patch.setitem(sys.modules, "slicer", module)
        module.util = self.module(  # type: ignore[attr-defined]
            "slicer.util", pip_install=self.pip_old, pip_uninstall=self.uninstall)
        for name in ("slicer.packaging", "PyTorchUtils", "torch"):
            patch.delitem(sys.modules, name, raising=False)

    def module(self, name: str, **content: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        made.__spec__ = importlib.machinery.ModuleSpec(name, None)
        for key, value in content.items():
            setattr(made, key, value)
        self.patch.setitem(sys.modules, name, made)
        return made

    def with_packaging(self) -> None:
        self.module("slicer.packaging", pip_install=self.pip_new, pip_uninstall=self.uninstall,
                    isPipInstallInProgress=lambda: False)

    def with_torch_extension(self) -> None:
        logic = types.SimpleNamespace(installTorch=lambda askConfirmation=False, forceComputationBackend=None,
                                      torchVersionRequirement=None: self.light_the_torch(torchVersionRequirement))
        self.module("PyTorchUtils", PyTorchUtilsLogic=lambda: logic)

    def restart(self) -> None:
        """What was installed is there after it."""
        if ("manager", "PyTorch") in self.calls:
            self.with_torch_extension()
        self.patch.delitem(sys.modules, "torch", raising=False)

    # the extensions manager

    def setInteractive(self, wanted: bool) -> None:
        assert not wanted

    def installExtensionFromServer(self, name: str, restart: bool) -> bool:
        assert not restart
        self.calls.append(("manager", name))
        return self.works

    # installing

    def satisfied(self) -> bool:
        return bool(self.torch) and probing._numbers(self.torch) >= (2, 4)

    def light_the_torch(self, version: str | None) -> Any:
        self.constraints = Path(url2pathname(urlsplit(os.environ["PIP_CONSTRAINT"]).path)).read_text()
        self.calls.append(("extension", version))
        if self.crashes:
            raise RuntimeError("exit status 1")
        if self.declines:
            return None
        if not self.satisfied():
            self.torch = "2.13.0+cu126" if self.gpus else "2.13.0+cpu"
        print("Successfully installed torch")
        return "torch"

    def index(self, requirements: list[str]) -> None:
        for name in (requirement.split(">")[0] for requirement in requirements if ">" in requirement):
            if name != "torch":
                self.packages.add(name)
            elif not self.satisfied():
                self.torch = "2.13.0+cu126" if self.platform == "linux" else "2.13.0+cpu"

    def uninstall(self, names: list[str]) -> None:
        self.calls.append(("uninstall", tuple(names)))
        if "torch" in names:
            self.torch = ""

    def pip_old(self, arguments: list[str]) -> None:
        self.constraints = Path(arguments[arguments.index("--constraint") + 1]).read_text()
        self.calls.append(("pip", tuple(a for a in arguments if a != "--constraint" and "autoreg-pip-" not in a)))
        self.index(arguments)

    def pip_new(self, arguments: list[str], constraints: Path, requester: str) -> None:
        self.constraints = Path(constraints).read_text()
        self.calls.append(("packaging", tuple(arguments)))
        self.index(arguments)

    # what is there

    def look(self) -> Environment:
        cuda = "12.6" if "cu" in self.torch.partition("+")[2].removeprefix("cpu") else ""
        missing = [name for name in ("safetensors",) if name not in self.packages]
        return environment.describe({
            **TOLD, "python": self.python, "platform": self.platform, "machine": self.machine, "gpus": self.gpus,
            "torch": self.torch, "cuda": cuda, "devices": TOLD["devices"] if cuda and self.gpus else [],
            "missing": ([] if self.torch else ["torch"]) + missing, "translated": self.translated,
        }, interpreter=self.interpreter)

    def plan(self, wheelFolder: Path | None = None) -> InstallPlan:
        return environment.installPlan(self.look(), wheelFolder=wheelFolder)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Computer]:
    yield Computer(monkeypatch, tmp_path)


SITUATIONS: dict[str, dict[str, Any]] = {
    "absent": {},
    "old": {"torch": "2.3.1+cu121"},
    "cpu build": {"torch": "2.13.0+cpu", "packages": {"safetensors"}},
    "safetensors alone": {"torch": "2.13.0+cu126"},
    "other interpreter": {"interpreter": "/opt/other/bin/python"},
    "cpu build in another": {"torch": "2.13.0+cpu", "interpreter": "/opt/other/bin/python"},
    "Python 3.10": {"python": "3.10.14", "interpreter": "/opt/old/bin/python"},
}


@pytest.mark.parametrize("place", ["plain", "a place with blanks and ü"])
@pytest.mark.parametrize(
    ("platform", "machine", "tools", "routes"),
    [
        ("linux", "x86_64", "extension", {}),
        ("linux", "x86_64", "manager", {}),
        ("linux", "x86_64", "wheels", {"absent": "packaging", "old": "packaging", "cpu build": "packaging"}),
        ("linux", "x86_64", "pip", {"absent": "packaging", "old": "packaging", "cpu build": "packaging"}),
        ("win32", "AMD64", "extension", {}),
        ("win32", "AMD64", "pip", {"absent": "packaging", "old": "packaging", "cpu build": "manual"}),
        ("darwin", "arm64", "extension", {"cpu build": "none"}),
        ("darwin", "x86_64", "extension", {"absent": "manual", "old": "manual", "cpu build": "none"}),
        ("darwin", "x86_64", "manager", {"absent": "manual", "old": "manual", "cpu build": "none"}),
    ],
)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_plan_changes_what_is_found_or_is_left_to_the_user(
    fake: Computer, situation: str, platform: str, machine: str, tools: str, routes: dict[str, str], place: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = {"absent": "pytorch-extension", "old": "pytorch-extension", "cpu build": "pytorch-extension",
             "safetensors alone": "packaging"}
    expected = {**usual, **routes}.get(situation, "manual")
    temporary = tmp_path / place
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    fake.platform, fake.machine = platform, machine
    if platform == "darwin":
        fake.gpus = []
    for name, value in SITUATIONS[situation].items():
        setattr(fake, name, value)
    fake.with_packaging()
    if tools == "extension":
        fake.with_torch_extension()
    elif tools != "manager":
        sys.modules["slicer"].app = types.SimpleNamespace()
    wheels = tmp_path if tools == "wheels" else None
    before, plan = fake.look(), fake.plan(wheels)
    assert plan.route == expected
    text = environment.consentText(plan)
    if expected == "manual":
        with pytest.raises(InputError):
            environment.install(plan, consented=True)
        assert fake.calls == [] and text
        if situation == "Python 3.10":
            assert "3.11" in text and "Use this Python instead" in text
        elif "interpreter" in SITUATIONS[situation] and machine != "x86_64":
            assert '"/opt/other/bin/python" -m pip' in text
        return
    if expected == "none":
        return
    for _restarts in range(2):
        if not environment.install(plan, consented=True, wheelFolder=wheels):
            break
        assert plan.needsRestart and "goes on by itself" in text
        fake.restart()
        plan = fake.plan(wheels)
    after = fake.look()
    assert after.ready and after != before and not after.warns("old-torch")
    # Windows finds PyTorch for the CPU alone in the package index: it computes, and the next plan says what to do
    poor = (platform, tools) == ("win32", "pip") and situation != "safetensors alone"
    assert after.warns("cpu-build") == poor and fake.plan(wheels).route == ("manual" if poor else "none")
    assert ("removed first" in text) == (situation == "cpu build") and "GB of disk" in text
    assert "numpy==" in fake.constraints


def test_pip_reads_the_constraints_where_the_path_has_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pip")
    place = tmp_path / "a place with blanks and ü"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with installing.constrained() as constraints:
        constraints.write_text("numpy==0.0.1\n")
        told = subprocess.run([sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "numpy"],
                              capture_output=True, text=True, check=False)
    assert "Could not open" not in told.stderr and "numpy==0.0.1" in told.stdout + told.stderr


def test_another_python_is_told_everything_that_it_lacks(fake: Computer) -> None:
    """Slicer has numpy and SimpleITK of its own; a bare Python has not, and must not be called complete."""
    for missing in (("torch", "numpy", "SimpleITK", "safetensors"), ("SimpleITK",)):
        plan = environment.installPlan(Environment("missing", "/opt/other/bin/python", missing=missing))
        assert plan.route == "manual" and all(f'"{name}' in environment.consentText(plan) for name in missing)


def test_macos_says_what_is_possible(fake: Computer) -> None:
    fake.platform, fake.machine, fake.gpus = "darwin", "x86_64", []
    intel = environment.consentText(fake.plan())
    assert "2.2" in intel and "Use this Python instead" not in intel
    fake.translated = True
    rosetta = environment.consentText(fake.plan())
    assert "arm64" in rosetta and "Use this Python instead" in rosetta and "pip install" in rosetta


def test_a_python_that_does_not_answer_is_not_complete(fake: Computer) -> None:
    plan = environment.installPlan(Environment("broken", "/x", warnings=(("broken", "/x: no answer in 60 s"),)))
    assert plan.route == "manual" and "no answer" in environment.consentText(plan)


def test_torch_in_use_is_replaced_after_a_restart(fake: Computer) -> None:
    fake.with_packaging()
    fake.with_torch_extension()
    fake.torch, fake.packages = "2.13.0+cpu", {"safetensors"}
    fake.module("torch")
    plan = fake.plan()
    assert plan.needsRestart and environment.install(plan, consented=True) is True and fake.calls == []
    fake.restart()
    assert environment.install(fake.plan(), consented=True) is False
    assert [name for name, _ in fake.calls] == ["uninstall", "extension"] and fake.look().state == "ready"


def test_nothing_happens_without_consent(fake: Computer) -> None:
    fake.with_packaging()
    fake.with_torch_extension()
    plan = environment.installPlan(NOTHING)
    text = environment.consentText(plan)
    assert "torch>=2.4, safetensors>=0.4" in text and "6.0 GB of disk" in text and "network" in text
    with pytest.raises(InputError, match="without consent"):
        environment.install(plan, consented=False)
    assert fake.calls == []


def test_the_pytorch_extension_comes_first_and_each_step_is_told(fake: Computer) -> None:
    fake.with_packaging()
    plan = environment.installPlan(NOTHING)
    assert plan.route == "pytorch-extension" and plan.needsRestart
    assert environment.install(plan, consented=True) is True
    assert fake.calls == [("manager", "PyTorch")]
    fake.restart()
    plan = environment.installPlan(NOTHING)
    assert plan.route == "pytorch-extension" and not plan.needsRestart
    lines: list[str] = []
    assert environment.install(plan, consented=True, log=lines.append) is False
    assert fake.calls[1:] == [("extension", ">=2.4"), ("packaging", ("safetensors>=0.4",))]
    assert lines == ["Installing PyTorch", "Successfully installed torch", "Installing safetensors>=0.4"]


def test_pip_never_replaces_what_slicer_was_built_with(fake: Computer) -> None:
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


def test_a_folder_of_wheels_needs_no_network(fake: Computer, tmp_path: Path) -> None:
    fake.with_packaging()
    fake.with_torch_extension()
    plan = environment.installPlan(NOTHING, wheelFolder=tmp_path)
    assert (plan.route, plan.needsNetwork) == ("packaging", False)
    assert "network is not used" in environment.consentText(plan)
    environment.install(plan, consented=True, wheelFolder=tmp_path)
    assert fake.calls == [
        ("packaging", ("--no-index", "--find-links", str(tmp_path), "torch>=2.4", "safetensors>=0.4"))
    ]


def test_without_an_application_the_user_installs(fake: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.installPlan(Environment("ready")).route == "none"
    monkeypatch.setitem(sys.modules, "slicer", types.ModuleType("slicer"))  # slicer-core: no application
    plan = environment.installPlan(NOTHING)
    assert plan.route == "manual" and "-m pip install" in environment.consentText(plan)
    with pytest.raises(InputError, match="no Slicer application"):
        environment.install(plan, consented=True)


@pytest.mark.parametrize("way", ["server", "declined", "crash"])
def test_an_installation_that_fails_names_the_offline_way(fake: Computer, way: str) -> None:
    fake.works, fake.declines, fake.crashes = way != "server", way == "declined", way == "crash"
    if way != "server":
        fake.with_torch_extension()
    with pytest.raises(EnvironmentProblem) as told:
        environment.install(environment.installPlan(NOTHING), consented=True)
    assert "Wheel folder" in told.value.remedy
    assert isinstance(environment.installPlan(NOTHING), InstallPlan) and "PIP_CONSTRAINT" not in os.environ


def test_a_replacement_that_fails_says_that_pytorch_is_gone(fake: Computer) -> None:
    fake.with_torch_extension()
    fake.torch, fake.packages, fake.crashes = "2.13.0+cpu", {"safetensors"}, True
    with pytest.raises(EnvironmentProblem, match=r"2\.13\.0\+cpu was removed"):
        environment.install(fake.plan(), consented=True)
    fake.crashes = False
    environment.install(fake.plan(), consented=True)
    assert fake.look().state == "ready"
