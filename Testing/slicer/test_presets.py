"""Presets of the Register tab: chosen, recognized, saved, found again, deleted; nothing of the user's is lost."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)


def choose(desk: Any, name: str) -> None:
    """As the user does, who is heard by another signal than a program."""
    combo = desk.ui.presetComboBox
    combo.setCurrentIndex(combo.findText(name))
    combo.activated.emit(combo.currentIndex())
    desk.settle()


def settings(desk: Any) -> tuple[Any, ...]:
    p = desk.parameters
    return p.model, p.initialAlignment.value, p.similarity.value, p.refinementSteps


def names(desk: Any) -> list[str]:
    return [desk.ui.presetComboBox.itemText(i) for i in range(desk.ui.presetComboBox.count())]


def test_a_preset_sets_what_it_says_and_is_recognized(full_desk: Any) -> None:
    desk, combo = full_desk, full_desk.ui.presetComboBox
    assert combo.currentText() == "Default"
    choose(desk, "Different contrasts (MIND)")
    assert settings(desk) == ("none", "auto", "mind", 0) and combo.currentText() == "Different contrasts (MIND)"
    choose(desk, "Most accurate (slower)")
    assert settings(desk) == ("none", "auto", "auto", -1)
    desk.ui.refinementStepsSpinBox.setValue(40)
    desk.settle()
    assert combo.currentText() == "Settings of your own"
    choose(desk, "Default")
    assert combo.currentText() == "Default" and "Settings of your own" not in names(desk)
    assert desk.parameters.createTransform and desk.parameters.fixedVolume is not None


def test_saved_found_again_and_deleted(full_desk: Any) -> None:
    """A round trip through the file, by another panel."""
    desk, ui, dialogs = full_desk, full_desk.ui, full_desk.session.dialogs
    ui.refinementStepsSpinBox.setValue(40)
    ui.similarityComboBox.setCurrentIndex(1)
    desk.settle()
    wanted = settings(desk)
    dialogs.paths = ["Knee follow-up"]
    ui.savePresetButton.click()
    desk.settle()
    assert ui.presetComboBox.currentText() == "Knee follow-up" and ui.deletePresetButton.isEnabled()
    choose(desk, "Different contrasts (MIND)")
    assert settings(desk) != wanted and not ui.deletePresetButton.isEnabled()
    desk.widget.registerPanel.presets.own = None  # as when Slicer starts
    desk.session.refresh()
    choose(desk, "Knee follow-up")
    assert settings(desk) == wanted == ("tiny", "auto", "lncc", 40)
    ui.deletePresetButton.click()
    desk.settle()
    assert "Delete your preset “Knee follow-up”?" in dialogs.questions and "Knee follow-up" not in names(desk)
    assert settings(desk) == wanted


def test_names_are_asked_about_before_anything_is_replaced(full_desk: Any) -> None:
    from AutoRegSlicerLib.registration import presets

    desk, ui, dialogs = full_desk, full_desk.ui, full_desk.session.dialogs
    dialogs.paths = ["mine", "mine", "Default", ""]
    ui.savePresetButton.click()
    desk.settle()
    before = presets.read()
    dialogs.yes = False
    ui.refinementStepsSpinBox.setValue(7)
    desk.settle()
    ui.savePresetButton.click()  # "mine" again, and no
    assert presets.read() == before and any("Replace" in question for question in dialogs.questions)
    ui.savePresetButton.click()  # a built-in name
    ui.savePresetButton.click()  # no name
    assert presets.read() == before


def test_a_damaged_file_is_left_alone(full_desk: Any) -> None:
    from AutoRegSlicerLib.registration import presets

    desk = full_desk
    presets.file().parent.mkdir(parents=True, exist_ok=True)
    presets.file().write_text("{not json", encoding="utf-8")
    desk.widget.registerPanel.presets.own = None
    desk.session.refresh()
    assert names(desk) == list(presets.builtIn())
    desk.session.dialogs.paths = ["mine"]
    desk.ui.savePresetButton.click()
    desk.settle()
    assert presets.file().read_text(encoding="utf-8") == "{not json"


def test_what_is_not_here_is_left_out_and_the_rest_is_set(full_desk: Any) -> None:
    from AutoRegSlicerLib.registration import presets

    desk = full_desk
    presets.save("from elsewhere", {"model": "gone", "similarity": "ncc", "refinementSteps": 30})
    desk.widget.registerPanel.presets.own = None
    desk.session.refresh()
    choose(desk, "from elsewhere")
    assert settings(desk) == ("tiny", "auto", "auto", 30)
