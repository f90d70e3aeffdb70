"""The fourth tab: the models on this computer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AutoRegSlicerLib.panels import bundles, qtbits
from AutoRegSlicerLib.panels.session import Session, describe

KEEP_DAYS = 7.0
ANATOMY, ANATOMY_PIXELS = 1, 180


class ModelsPanel:
    """List, card, import, export, rename, delete; and the room that models and jobs take."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.shown: list[bundles.Bundle] = []
        self._texts: Any = None
        self._card: Path | None = None
        self.notice = ""  # how the last action went
        self.model = qtbits.make_table(self.ui.modelsTableView, [
            _("Name"), _("Anatomy"), _("Modality"), _("Network"), _("Loss"), _("Dice val"), _("Folds val"), _("Size"),
            _("Date"),
        ])
        for button, action in {
            "importModelButton": self.importModel, "exportModelButton": self.exportModel,
            "renameModelButton": self.renameModel, "deleteModelButton": self.deleteModel,
            "openModelsFolderButton": lambda: qtbits.open_folder(bundles.models_folder()),
            "cleanJobsButton": self.cleanJobs,
        }.items():
            qtbits.on(getattr(self.ui, button), "clicked", action)
        qtbits.on(self.ui.modelFilterLineEdit, "textChanged", self.refresh)
        qtbits.on(self.ui.modelsTableView.selectionModel(), "selectionChanged", self.showCard)

    def refresh(self) -> None:
        """The table, keeping the selected model, and the buttons."""
        wanted = str(qtbits.read(self.ui.modelFilterLineEdit, "text")).lower()
        self.shown = [b for b in self.session.models
                      if wanted in " ".join((b.name, b.anatomy, b.modality, b.network)).lower()]
        texts = [cells(bundle) for bundle in self.shown]
        if texts != self._texts:
            chosen = self.chosen_name()
            self._texts = texts
            self.model.removeRows(0, self.model.rowCount())
            for line in texts:
                self.model.appendRow([qtbits.cell(text) for text in line])
            self.ui.modelsTableView.resizeColumnsToContents()
            if self.ui.modelsTableView.columnWidth(ANATOMY) > ANATOMY_PIXELS:
                self.ui.modelsTableView.setColumnWidth(ANATOMY, ANATOMY_PIXELS)  # the tooltip has all of it
            names = [bundle.name for bundle in self.shown]
            if names:
                self.ui.modelsTableView.selectRow(names.index(chosen) if chosen in names else 0)
            self.readUsage()
        self.showCard()
        problems, notices = self.session.modelProblems, [self.notice] if self.notice else []
        if problems:
            notices.append(_("Not readable: {what}.").format(what="; ".join(problems)))
        if not self.session.models:
            notices.append(_("No model yet: train one in “Search and train”, or import one."))
        qtbits.show(self.ui.modelsMessageLabel, " ".join(notices))

    def chosen(self) -> bundles.Bundle | None:
        rows = qtbits.selected_rows(self.ui.modelsTableView)
        return self.shown[rows[0]] if len(rows) == 1 and rows[0] < len(self.shown) else None

    def chosen_name(self) -> str:
        rows = qtbits.selected_rows(self.ui.modelsTableView)
        return self.model.item(rows[0], 0).text() if rows else ""

    def showCard(self) -> None:
        """The card of the chosen model, and what can be done with it."""
        bundle = self.chosen()
        none = [] if bundle else [_("Select a model in the table.")]
        own = none or ([_("Models that came with AutoReg stay as they are.")] if bundle and bundle.shipped else [])
        qtbits.offer(self.ui.exportModelButton, none, _("Write the model as a .zip archive, to give it away."))
        qtbits.offer(self.ui.renameModelButton, own, _("Give the model another name."))
        qtbits.offer(self.ui.deleteModelButton, own, _("Delete the model from this computer."))
        folder = bundle.folder if bundle else None
        if folder != self._card or bundle is None:
            self._card = folder
            self.ui.modelCardTextBrowser.setMarkdown(bundle.card if bundle else _(
                "Select a model to read what it was trained on, how accurate it is and what it is not for."))

    def readUsage(self) -> None:
        """Bytes of models and jobs; looks at every job folder, so only when something changed."""
        models = sum(bundle.bytes for bundle in self.session.models if not bundle.shipped)
        self.ui.storageUsageLabel.setText(_("Models {models} · jobs {jobs}").format(
            models=qtbits.size(models), jobs=qtbits.size(self.session.jobs.storageBytes())))

    # ---- buttons

    def attempt(self, action: Callable[[], Any], done: Callable[[Any], str]) -> None:
        """Do it and say so, or say why not; then read the folders again."""
        try:
            text = done(action())
        except Exception as problem:
            _code, what, hint = describe(problem)
            text = f"{what} {hint[:1].upper()}{hint[1:]}".strip()
            text = text if text.endswith(".") else text + "."
        self.notice = text
        self.session.modelsChanged()
        self.refresh()

    def importModel(self) -> None:
        path = self.session.dialogs.open_file(_("Import a model"), _("Model archive (*.zip)"))
        if path:
            self.attempt(lambda: bundles.import_archive(path),
                         lambda b: _("“{name}” was imported.").format(name=b.name))

    def exportModel(self) -> None:
        bundle = self.chosen()
        path = self.session.dialogs.save_file(_("Export the model"), f"{bundle.name}.zip", _("Model archive (*.zip)"))
        if path:
            self.attempt(lambda: bundles.export_archive(bundle, path), lambda p: _("Written to {path}.").format(path=p))

    def renameModel(self) -> None:
        bundle = self.chosen()
        name = self.session.dialogs.text(_("Rename the model"), _("New name:"), bundle.name)
        if name and name != bundle.name:
            self.attempt(lambda: bundles.rename(bundle, name), lambda renamed: self._follow(
                bundle, renamed.name, _("Renamed to “{name}”.").format(name=renamed.name)))

    def deleteModel(self) -> None:
        bundle = self.chosen()
        if self.session.dialogs.confirm(
                _("Delete the model “{name}” from this computer? This cannot be undone.").format(name=bundle.name)):
            self.attempt(lambda: bundles.delete(bundle.name), lambda _none: self._follow(
                bundle, "", _("“{name}” was deleted.").format(name=bundle.name)))

    def _follow(self, bundle: bundles.Bundle, name: str, notice: str) -> str:
        """A chosen model stays so under its new name; of a deleted one (name "") Register lets go."""
        p = self.session.parameters
        if p is not None and p.model == bundle.name:
            p.model = name
        return notice

    def cleanJobs(self) -> None:
        question = _("Delete the files of jobs that ended more than {days} days ago, with what searches found? Trained "
                     "models and results that are not loaded yet stay.").format(days=round(KEEP_DAYS))
        if self.session.dialogs.confirm(question):
            freed = self.session.jobs.cleanUp(KEEP_DAYS)
            self.notice = _("{size} freed.").format(size=qtbits.size(freed))
            self.readUsage()
            self.refresh()


def cells(bundle: bundles.Bundle) -> list[str]:
    """One line of the table; what was not measured stays empty."""
    dice, folds = bundle.validation("dice"), bundle.validation("folds")
    return [
        bundle.name, bundle.anatomy, bundle.modality, bundle.network, bundle.loss,
        "" if dice is None else f"{dice:.3f}", "" if folds is None else f"{folds:.1f}", qtbits.size(bundle.bytes),
        time.strftime("%Y-%m-%d", time.localtime(bundle.modified)),
    ]
