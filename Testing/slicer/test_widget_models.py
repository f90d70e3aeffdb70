"""The fourth tab: the same models as the command line, and what can be done with them."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

from standins.fixtures import Desk, why


@pytest.fixture
def shelf(full_desk: Desk, tmp_path: Path) -> Desk:
    """Two models, the tab open."""
    shutil.copytree(tmp_path / "models" / "tiny", tmp_path / "models" / "brain t1")
    full_desk.session.modelsChanged()
    full_desk.ui.workflowTabWidget.setCurrentWidget(full_desk.ui.modelsTab)
    full_desk.settle()
    return full_desk


def names(desk: Desk) -> list[str]:
    model = desk.widget.modelsPanel.model
    return sorted(model.item(row, 0).text() for row in range(model.rowCount()))


def choose(desk: Desk, name: str) -> None:
    panel = desk.widget.modelsPanel
    desk.ui.modelsTableView.selectRow([b.name for b in panel.shown].index(name))
    desk.settle()


def test_no_model_says_where_models_come_from(desk: Desk) -> None:
    assert "train one" in desk.ui.modelsMessageLabel.text()
    for name in ("exportModelButton", "renameModelButton", "deleteModelButton"):
        assert "Select a model" in why(getattr(desk.ui, name)), name
    assert why(desk.ui.importModelButton) == ""


def test_list_card_and_filter(shelf: Desk) -> None:
    assert names(shelf) == ["brain t1", "tiny"]
    choose(shelf, "tiny")
    assert "autoreg" in shelf.ui.modelCardTextBrowser.toPlainText()
    assert "Models" in shelf.ui.storageUsageLabel.text() and "kB" in shelf.ui.storageUsageLabel.text()
    shelf.ui.modelFilterLineEdit.setText("T1")
    shelf.settle()
    assert names(shelf) == ["brain t1"]


def test_export_and_import_again(shelf: Desk, tmp_path: Path) -> None:
    from AutoRegLib.bundle import load_bundle

    choose(shelf, "brain t1")
    archive = tmp_path / "given away.zip"
    shelf.session.dialogs.paths = [str(archive), str(archive), str(archive)]
    shelf.ui.exportModelButton.click()
    assert set(zipfile.ZipFile(archive).namelist()) == {
        "recipe.json", "weights.safetensors", "card.md", "provenance.json", "metrics.json", "history.csv"}
    shelf.ui.exportModelButton.click()
    assert "exists" in shelf.ui.modelsMessageLabel.text()
    shelf.ui.importModelButton.click()
    shelf.settle()
    assert names(shelf) == ["brain t1", "given away", "tiny"]
    load_bundle(tmp_path / "models" / "given away")  # the library agrees that it is whole


def test_what_is_no_archive_is_refused_and_nothing_stays(shelf: Desk, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as packed:
        packed.writestr("../outside.py", "raise SystemExit")
        packed.writestr("recipe.json", "{}")
    shelf.session.dialogs.paths = [str(bad)]
    shelf.ui.importModelButton.click()
    shelf.settle()
    assert "not a model archive" in shelf.ui.modelsMessageLabel.text()
    assert "Export" in shelf.ui.modelsMessageLabel.text()
    assert names(shelf) == ["brain t1", "tiny"]
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["brain t1", "tiny"]
    assert not (tmp_path / "outside.py").exists()


def test_rename_and_delete(shelf: Desk, tmp_path: Path) -> None:
    choose(shelf, "brain t1")
    shelf.parameters.model = "brain t1"
    shelf.session.dialogs.paths = ["tiny", "../away", "brain t1 2026"]
    shelf.ui.renameModelButton.click()
    assert "already" in shelf.ui.modelsMessageLabel.text()
    shelf.ui.renameModelButton.click()
    assert not (tmp_path / "away").exists()
    shelf.ui.renameModelButton.click()
    shelf.settle()
    assert names(shelf) == ["brain t1 2026", "tiny"]
    assert shelf.parameters.model == "brain t1 2026"  # it is the same one
    choose(shelf, "tiny")
    shelf.parameters.model = "tiny"
    shelf.session.dialogs.yes = False
    shelf.ui.deleteModelButton.click()
    assert (tmp_path / "models" / "tiny").is_dir() and "tiny" in shelf.session.dialogs.questions[-1]
    shelf.session.dialogs.yes = True
    shelf.ui.deleteModelButton.click()
    shelf.settle()
    assert names(shelf) == ["brain t1 2026"]
    assert shelf.parameters.model == "brain t1 2026"  # Register took another one


def test_a_damaged_model_is_named_and_does_not_hide_the_others(shelf: Desk, tmp_path: Path) -> None:
    (tmp_path / "models" / "brain t1" / "metrics.json").write_text("{", encoding="utf-8")
    shelf.session.modelsChanged()
    shelf.settle()
    assert names(shelf) == ["tiny"]
    assert "brain t1" in shelf.ui.modelsMessageLabel.text()


def test_details_in_register_lead_here(shelf: Desk) -> None:
    shelf.ui.workflowTabWidget.setCurrentWidget(shelf.ui.registerTab)
    shelf.ui.modelInfoButton.click()
    shelf.settle()
    assert shelf.ui.workflowTabWidget.currentWidget() is shelf.ui.modelsTab
    assert shelf.widget.modelsPanel.chosen_name() == shelf.parameters.model
