"""Setting up from the panel: one question, what is done in sight, one at a time, and on after a restart."""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from typing import Any

import pytest

pytest.importorskip("PySide6.QtWidgets")

import slicer
from standins.fixtures import Desk, environment

from AutoRegSlicerLib import environment as door
from AutoRegSlicerLib import settings
from AutoRegSlicerLib.environment.plans import InstallPlan

TORCH = InstallPlan("pytorch-extension", ("torch>=2.4",), 6 * 10**9)


class Installing:
    """In place of pip: goes on when a test lets it."""

    def __init__(self, patch: pytest.MonkeyPatch, plan: InstallPlan = TORCH) -> None:
        self.plan, self.begun, self.ended, self.restart = plan, 0, False, False
        self.log: Callable[[str], Any] = print
        patch.setattr(door, "installPlan", lambda found, wheelFolder=None: self.plan)
        patch.setattr(door, "installSteps", self.steps)

    def steps(self, plan: InstallPlan, *, step: Callable[[str], Any], log: Callable[[str], Any], **_: Any,
              ) -> Generator[None, None, bool]:
        self.begun, self.log = self.begun + 1, log
        step("Installing PyTorch")
        while not self.ended:
            yield
        return self.restart


@pytest.fixture
def bare(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The module where PyTorch is missing; its check answers when a test calls ``answer``."""
    desk.session.environment = environment(state="missing", torch="", missing=("torch",))
    desk.session.refresh()
    return desk


def answer(desk: Desk, **found: Any) -> None:
    """The probe found this."""
    panel = desk.widget.environmentPanel
    panel._probe = types.SimpleNamespace(poll=lambda: environment(**found), stop=lambda: None)
    panel.poll()
    desk.settle()


def text(desk: Desk) -> str:
    return str(desk.ui.environmentStatusLabel.text())


def test_what_is_done_is_in_sight_and_a_second_click_starts_nothing(
    bare: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = Installing(monkeypatch)
    assert "6.0 GB" in text(bare)
    bare.ui.setupEnvironmentButton.click()
    bare.settle()
    pip.log("Downloading torch (800 MB)")
    bare.session.refresh()
    assert "Installing PyTorch" in text(bare) and " s)" in text(bare) and "Downloading torch" in text(bare)
    assert not bare.ui.setupEnvironmentButton.isEnabled()
    assert bare.session.obstacles() == ["Being set up: see the line at the top."]
    bare.session.setUp()
    bare.settle()
    assert pip.begun == 1 and len(bare.session.dialogs.questions) == 1
    assert slicer.util.shownMessages[-1] == "Being set up."
    pip.ended = True
    bare.settle()
    answer(bare)
    assert "CPU only" in text(bare) and bare.ui.setupEnvironmentButton.isHidden() and not bare.session.obstacles()


def test_nothing_is_installed_while_another_module_installs(bare: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Installing(monkeypatch)
    monkeypatch.setattr(door, "pipBusy", lambda: True)
    bare.ui.setupEnvironmentButton.click()
    bare.settle()
    assert pip.begun == 0 and bare.session.dialogs.questions == []


def test_a_refusal_installs_nothing(bare: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Installing(monkeypatch)
    bare.session.dialogs.yes = False
    bare.ui.setupEnvironmentButton.click()
    bare.settle()
    assert pip.begun == 0 and bare.ui.setupEnvironmentButton.isEnabled()


def test_the_set_up_goes_on_after_a_restart_once_and_with_what_was_agreed(
    bare: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = Installing(monkeypatch, InstallPlan("pytorch-extension", ("torch>=2.4",), 1, needsRestart=True))
    pip.ended = pip.restart = True
    restarts: list[bool] = []
    monkeypatch.setattr("slicer.util.restart", lambda: restarts.append(True), raising=False)
    bare.ui.setupEnvironmentButton.click()
    bare.settle()
    assert restarts == [True] and settings.read(settings.AGREED) == "torch>=2.4"
    answer(bare, state="missing", torch="", missing=("torch",))  # still the same Slicer: nothing goes on
    assert pip.begun == 1
    bare.widget.environmentPanel.setup._marked = False  # as in the Slicer that was started again
    pip.restart, pip.plan, asked = False, TORCH, len(bare.session.dialogs.questions)
    answer(bare, state="missing", torch="", missing=("torch",))
    assert pip.begun == 2 and len(bare.session.dialogs.questions) == asked
    answer(bare, state="missing", torch="", missing=("torch",))
    assert pip.begun == 2 and settings.read(settings.AGREED) == ""


@pytest.mark.parametrize("plan", [
    InstallPlan("packaging", ("torch>=2.4", "another>=1")), InstallPlan("manual", ("torch>=2.4",)),
    InstallPlan("pytorch-extension", ("torch>=2.4",), needsRestart=True),
])
def test_what_was_not_agreed_to_is_not_installed(
    bare: Desk, monkeypatch: pytest.MonkeyPatch, plan: InstallPlan
) -> None:
    pip = Installing(monkeypatch, plan)
    settings.write(settings.AGREED, "torch>=2.4")
    answer(bare, state="missing", torch="", missing=("torch",))
    assert pip.begun == 0 and settings.read(settings.AGREED) == ""


def test_a_build_for_the_cpu_again_is_told(bare: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Installing(monkeypatch, InstallPlan("pytorch-extension", ("torch>=2.4",), replaces="2.7.0+cpu"))
    pip.ended = True
    cpu = (("cpu-build", "A GPU was found but PyTorch was built for CPU"),)
    answer(bare, warnings=cpu)
    assert not bare.ui.setupEnvironmentButton.isHidden()
    bare.ui.setupEnvironmentButton.click()
    bare.settle()
    answer(bare, warnings=cpu)
    assert "PyTorch Utils" in bare.session.dialogs.questions[-1]


def test_what_can_be_mended_is_in_sight(bare: Desk) -> None:
    answer(bare, warnings=(("cpu-build", "A GPU was found but PyTorch was built for CPU."),))
    assert "CPU only" in text(bare) and "A GPU was found" in text(bare)
    answer(bare, warnings=(("no-gpu", "No GPU was found."),))
    assert "No GPU" not in text(bare) and "No GPU" in bare.ui.environmentStatusLabel.toolTip()
    answer(bare, state="missing", torch="", missing=("torch",), platform="darwin", machine="x86_64", translated=True)
    assert "another can be used" in text(bare) and "GB" not in text(bare)
    bare.ui.setupEnvironmentButton.click()
    bare.settle()
    assert "arm64" in bare.session.dialogs.questions[-1]


def test_a_failure_says_what_to_do(bare: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoRegLib.core.errors import EnvironmentProblem

    Installing(monkeypatch)

    def fails(*_: Any, **__: Any) -> Generator[None, None, bool]:
        raise EnvironmentProblem("the installation did not work", remedy="try without a network")
        yield

    monkeypatch.setattr(door, "installSteps", fails)
    bare.ui.setupEnvironmentButton.click()
    bare.settle()
    assert "try without a network" in bare.session.dialogs.questions[-1]
    assert bare.widget.environmentPanel.setup.text == ""
