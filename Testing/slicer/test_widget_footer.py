"""The job below all tabs: every state in words, the next step, and jobs that outlive the scene and the program."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import slicer
from standins.fixtures import Desk, make_desk


def shown(desk: Desk, state: str, **facts: Any) -> Any:
    """Put a made-up job on display."""
    from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus

    status = JobStatus(Path("job"), "search", "Search, 6 cases", JobState[state], **facts)
    desk.session.statuses = [status]
    desk.widget.footer.refresh()
    return status


def test_no_job(desk: Desk) -> None:
    assert desk.ui.jobTitleLabel.text() == "No job is running."
    for name in ("jobProgressBar", "stageProgressBar", "jobCancelButton", "jobResumeButton", "jobDiscardButton"):
        assert getattr(desk.ui, name).isHidden(), name


def test_every_state_has_words_and_every_next_step_too(desk: Desk) -> None:
    from AutoRegSlicerLib.jobs.jobs import JobState
    from AutoRegSlicerLib.panels.footer import next_step_text, state_text

    assert len({state_text(state) for state in JobState}) == len(JobState)
    keys = ("resume", "discard", "wait", "cancel", "setUp", "useCpu", "showLog", "freeDisk", "useCheckpoint",
            "openResult", "checkInput")
    assert all(next_step_text(key).endswith(".") for key in keys)


def test_a_running_search(desk: Desk) -> None:
    from AutoRegSlicerLib.jobs.jobs import Stage

    shown(desk, "Running", stage=Stage("deformation architecture", 1, 3), fraction=0.42, stageFraction=0.3,
          etaSeconds=754.0, memory=(5_200_000_000, 24_000_000_000), device="cuda")
    ui = desk.ui
    assert ui.jobTitleLabel.text() == "Search, 6 cases: Running"
    assert ui.jobProgressBar.value() == 420 and ui.stageProgressBar.value() == 300
    assert ui.stageProgressBar.format() == "Deformation architecture (2 of 3)"
    assert ui.jobEtaLabel.text() == "About 13 min left"
    assert ui.jobMemoryLabel.text() == "GPU · 5.2 GB of 24.0 GB memory"
    assert ui.jobCancelButton.isEnabled() and ui.jobResumeButton.isHidden()


def test_a_failure_says_why_and_what_to_do(desk: Desk) -> None:
    from AutoRegSlicerLib.jobs.jobs import Failure

    shown(desk, "Failed", nextStep="useCheckpoint", error=Failure(
        "diverged", "Training diverged at step 12 (loss not finite)", "Lower the learning rate"))
    ui = desk.ui
    assert ui.jobMessageLabel.text() == ("Training diverged at step 12 (loss not finite). Lower the learning rate. "
                                         "Resume uses the last good checkpoint.")
    assert not ui.jobResumeButton.isHidden() and not ui.jobCancelButton.isEnabled()
    assert ui.jobCancelButton.toolTip() == "It has ended."


def test_interrupted_offers_resume_and_discard(desk: Desk) -> None:
    shown(desk, "Interrupted", nextStep="resume")
    assert not desk.ui.jobResumeButton.isHidden() and not desk.ui.jobDiscardButton.isHidden()
    assert "Resume goes on" in desk.ui.jobMessageLabel.text()


def test_warnings_of_the_memory_ladder_are_shown(desk: Desk) -> None:
    shown(desk, "Running", message="Registering", warnings=(("memory", "Working grid reduced to 2 mm"),))
    assert desk.ui.jobMessageLabel.text() == "Working grid reduced to 2 mm."


def test_an_old_job_is_not_cancelled_without_asking(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[Path] = []
    monkeypatch.setattr(desk.session.jobs, "cancel", cancelled.append)
    monkeypatch.setattr(desk.session, "poll", lambda: None)
    status = shown(desk, "Running", created=time.time() - 100)
    desk.ui.jobCancelButton.click()
    assert cancelled == [status.folder] and not desk.session.dialogs.questions
    desk.session.statuses = [replace(status, created=time.time() - 4000)]
    desk.session.dialogs.yes = False
    desk.ui.jobCancelButton.click()
    assert len(cancelled) == 1 and "1 min" not in desk.session.dialogs.questions[0]
    desk.session.dialogs.yes = True
    desk.ui.jobCancelButton.click()
    assert len(cancelled) == 2


def test_the_log_is_read_only_when_it_is_open_and_stays_short(desk: Desk) -> None:
    tail = "\n".join(f"line {i}" for i in range(20_000))
    shown(desk, "Running", logTail=tail)
    assert desk.ui.jobLogTextEdit.toPlainText() == ""
    desk.ui.jobLogGroupBox.setProperty("collapsed", False)
    desk.widget.footer.refresh()
    lines = desk.ui.jobLogTextEdit.toPlainText().splitlines()
    assert len(lines) == 5000 and lines[-1] == "line 19999"


def test_a_second_job_waits_a_third_is_refused_and_diagnostics_can_be_copied(full_desk: Desk) -> None:
    ui = full_desk.ui
    ui.applyButton.click()
    full_desk.wait(lambda: full_desk.state() in ("Launching", "Running"))
    full_desk.widget.registerPanel.own = None  # as if another panel had started it
    full_desk.session.refresh()
    assert ui.applyButton.text() == "Queue" and ui.applyButton.isEnabled()
    ui.applyButton.click()
    full_desk.wait(lambda: full_desk.state() == "Queued", 5)
    full_desk.widget.registerPanel.own = None
    full_desk.session.refresh()
    assert not ui.applyButton.isEnabled() and "waiting" in ui.applyButton.toolTip()
    full_desk.wait(lambda: [s.state.name for s in full_desk.session.statuses] == ["Done", "Done"], 40)
    assert ui.jobHistoryComboBox.count() == 3  # the present one, and both
    full_desk.settle()
    ui.copyDiagnosticsButton.click()
    text = slicer.app.clipboard().text()
    assert "register" in text and "autoreg" in text.lower()


def test_the_scene_is_closed_while_a_job_runs(full_desk: Desk) -> None:
    """The job goes on; its result is offered and opened when the user asks for it."""
    ui = full_desk.ui
    ui.applyButton.click()
    full_desk.wait(lambda: full_desk.state() in ("Launching", "Running"))
    full_desk.scene.Clear(False)
    full_desk.wait(lambda: full_desk.state() == "DoneNotImported")
    full_desk.settle()
    assert full_desk.parameters is not None and full_desk.parameters.outputVolume is None
    assert ui.jobResumeButton.text() == "Open result" and not ui.jobResumeButton.isHidden()
    ui.jobResumeButton.click()
    full_desk.wait(lambda: full_desk.state() == "Done")
    full_desk.settle()
    assert full_desk.parameters.outputVolume.GetImageData() is not None
    assert full_desk.parameters.outputTransform is not None


def test_enter_attaches_to_a_job_of_an_earlier_session(full_desk: Desk, tmp_path: Path) -> None:
    """Another widget on the same workspace, as after a restart, finds the job, follows it and offers its result."""
    import scenes

    full_desk.ui.applyButton.click()
    full_desk.wait(lambda: full_desk.state() in ("Launching", "Running"))
    folder = full_desk.session.statuses[-1].folder
    size = full_desk.parameters.fixedVolume.GetImageData().GetDimensions()
    full_desk.widget.cleanup()  # nobody looks after it any more
    full_desk.session.poll = lambda: None
    again = make_desk(scenes.newScene(), tmp_path)
    try:
        assert [status.folder for status in again.session.statuses] == [folder]
        again.wait(lambda: again.state() == "DoneNotImported")
        again.settle()
        again.ui.jobResumeButton.click()
        again.wait(lambda: again.state() == "Done")
        again.settle()
        assert again.parameters.outputVolume.GetImageData().GetDimensions() == size
    finally:
        again.widget.cleanup()
