"""The scripting doors without a process: where jobs live, and what waiting for one ends with."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import slicer

from AutoRegLib.core.errors import AutoRegError, CancelledError
from AutoRegSlicerLib import settings
from AutoRegSlicerLib.jobs.jobs import Failure, JobState
from AutoRegSlicerLib.registration import scripting


class Settings(dict[str, str]):
    def value(self, name: str) -> str | None:
        return self.get(name)


class Told:
    """Jobs that go through the given states, one a poll."""

    def __init__(self, *states: JobState, error: Failure | None = None) -> None:
        self.states, self.error, self.seen = list(states), error, 0

    def poll(self) -> None:
        self.seen += 1

    def status(self, folder: Any) -> SimpleNamespace:
        return SimpleNamespace(state=self.states[min(self.seen, len(self.states)) - 1], error=self.error)


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An application object with settings, which counts how often it was let draw."""
    settings, drawn = Settings(), []
    app = SimpleNamespace(userSettings=lambda: settings, slicerUserSettingsFilePath=str(tmp_path / "x" / "Slicer.ini"),
                          processEvents=lambda: drawn.append(1), settings=settings, drawn=drawn)
    monkeypatch.setattr(slicer, "app", app, raising=False)
    monkeypatch.setattr(scripting, "_POLL_SECONDS", 0.001)
    return app


def test_jobs_of_scripts_have_their_own_place_and_the_chosen_python(application: Any, tmp_path: Path) -> None:
    """Beside the panels' jobs, not among them: the panel would import the results a second time."""
    assert settings.defaultWorkspace() == tmp_path / "x" / "AutoReg"
    application.settings["AutoReg/Workspace"] = str(tmp_path / "mine")
    assert settings.defaultWorkspace() == tmp_path / "mine"
    jobs = scripting.defaultJobs()
    assert jobs.folder == tmp_path / "mine" / "scripts" / "jobs"


def test_jobs_do_not_roam_on_windows(application: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes beside the settings would travel with the account; what lies there already goes on being found."""
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert settings.defaultWorkspace() == tmp_path / "Local" / "AutoReg"
    (tmp_path / "x" / "AutoReg" / "jobs").mkdir(parents=True)
    assert settings.defaultWorkspace() == tmp_path / "Local" / "AutoReg"
    (tmp_path / "x" / "AutoReg" / "jobs" / "20260101-search").mkdir()
    assert settings.defaultWorkspace() == tmp_path / "x" / "AutoReg"


def test_waiting_ends_with_the_results(application: Any) -> None:
    seen: list[JobState] = []
    states = (JobState.Queued, JobState.Launching, JobState.Running, JobState.Importing)
    found = scripting.waitFor(Told(*states), "job", onStatus=lambda status: seen.append(status.state))
    assert found.state is JobState.Importing and tuple(seen) == states
    assert len(application.drawn) == 3  # the application draws while a script waits


@pytest.mark.parametrize(("state", "error", "kind", "message"), [
    (JobState.Failed, Failure("memory", "It does not fit", "use a coarser grid"), AutoRegError, "coarser grid"),
    (JobState.Interrupted, None, AutoRegError, "interrupted"),
    (JobState.Cancelled, None, CancelledError, "cancelled"),
])
def test_waiting_ends_with_the_reason(
    application: Any, state: JobState, error: Failure | None, kind: type[Exception], message: str,
) -> None:
    with pytest.raises(kind, match=message) as caught:
        scripting.waitFor(Told(JobState.Running, state, error=error), "job")
    if error is not None:
        assert caught.value.code == error.code


def test_waiting_ends_in_time(application: Any) -> None:
    with pytest.raises(AutoRegError, match=r"did not end within 0.05 s; it goes on.*import job later"):
        scripting.waitFor(Told(JobState.Running), "job", timeoutSeconds=0.05)



def test_a_damaged_summary_of_a_batch_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("name,state,dice,folds\na,done,0.5,3\nb,done,x,²\n,,\nc\n")
    first, second, third = scripting.readSummary(tmp_path)
    assert (first["dice"], first["folds"]) == (0.5, 3) and math.isnan(second["dice"]) and third["name"] == "c"
    (tmp_path / "summary.csv").write_bytes(b"\xff\xfe\0")
    assert scripting.readSummary(tmp_path) == []
