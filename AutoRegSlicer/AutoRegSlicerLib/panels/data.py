"""Section "Data" of the second tab: which cases there are, and what they lack."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AutoRegLib.core.errors import AutoRegError
from AutoRegSlicerLib import logic
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.case_details import CaseDetails
from AutoRegSlicerLib.panels.cases_table import CasesTable, title
from AutoRegSlicerLib.panels.choices import Pairing
from AutoRegSlicerLib.panels.session import Session, describe
from AutoRegSlicerLib.registration.flat_cases import isFlat
from AutoRegSlicerLib.wording import counted


class DataPanel:
    """The cases, how they are paired, and whether they are enough."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.blocking: list[str] = []  # what stands against a search
        self._searching = False  # label maps, for their values
        self.cases = CasesTable(self.ui.casesTableView, session.scene, self.casesChanged)
        self.details = CaseDetails(self.ui, self.cases)
        for button, action in {
            "addFromSceneButton": self.cases.addFromScene, "removeCasesButton": self.cases.removeSelected,
            "addFolderButton": self.addFolder, "importCsvButton": self.importCsv, "checkDataButton": self.checkData,
        }.items():
            qtbits.on(getattr(self.ui, button), "clicked", action)
        qtbits.on(self.ui.casesTableView.selectionModel(), "selectionChanged", session.changed)

    def casesChanged(self) -> None:
        if self.session.parameters is not None:
            self.session.parameters.cases = self.cases.text()
        self.session.changed()

    def parametersChanged(self) -> None:
        """Another parameter set, or another scene."""
        if self.session.parameters is not None and self.session.parameters.cases != self.cases.text():
            self.cases.restore(self.session.parameters.cases)

    def addFolder(self) -> None:
        self._addTable(self.session.dialogs.folder(_("Folder with images")))

    def importCsv(self) -> None:
        self._addTable(self.session.dialogs.open_file(_("Table of cases"), "CSV (*.csv)"))

    def _addTable(self, path: str) -> None:
        if not path:
            return
        try:
            self.cases.add(logic.readCaseTable(path))
        except AutoRegError as problem:
            _code, text, hint = describe(problem)
            qtbits.show(self.ui.datasetSummaryLabel, f"{text} {hint}")

    def checkData(self) -> None:
        """The same check as always, and row by row; the first row with a fault is selected, its fault below it."""
        self.cases.dropDeleted()
        summary, messages = self._check()
        for row in self.cases.rows:
            names = (f"'{row.subject}'", f"'{title(row.volume)}'")
            about = [m.text for m in messages if any(name in m.text for name in names)]
            row.remark = about[0] if about else _("Checked: nothing is missing.") if row.use else _("Not used.")
            row.faulty = bool(about)
        self.cases.fill()
        faulty = next((number for number, row in enumerate(self.cases.rows) if row.faulty), None)
        if faulty is not None:
            self.ui.casesTableView.selectRow(faulty)
        self.session.say(messages[0].text if messages else _("{summary}: everything needed is there.").format(
            summary=summary))

    def _template(self) -> Any:
        p = self.session.parameters
        return p.templateVolume if p.pairing is Pairing.Template else None

    def _check(self) -> tuple[str, list[Any]]:
        p = self.session.parameters
        return logic.checkCases(self.cases.cases(), p.validationPercent, p.pairing.value, self._template())

    def used(self) -> int:
        """How many cases are in use."""
        return sum(row.use for row in self.cases.rows)

    def having(self, what: str, split: str) -> int:
        """How many cases of a split have "labels" or "landmarks"."""
        return logic.casesWith(what, split, self.cases.cases(), self.session.parameters.validationPercent)

    def pairs(self, split: str) -> int:
        """How many pairs of a split there are."""
        p = self.session.parameters
        return logic.countPairs(split, self.cases.cases(), p.validationPercent, p.pairing.value)

    def dims(self) -> int:
        """Of the images: single slices are pictures."""
        return 2 if any(isFlat(row.volume) for row in self.cases.cases() if row.use) else 3

    def labeled(self) -> bool:
        """Whether training cases can be learnt from by their labels."""
        return self.having("labels", "train") > 1

    def exporter(self) -> Callable[[Path], Generator[Any, None, str]]:
        """What writes the cases as they are now, and their scenario, into a job folder; returns the scenario's path."""
        p, cases, template = self.session.parameters, self.cases.cases(), self._template()
        pairing, percent = p.pairing.value, p.validationPercent
        name = counted(self.used(), _("{n} case from Slicer"), _("{n} cases from Slicer"))

        def export(folder: Path) -> Generator[Any, None, str]:
            path = yield from logic.exportScenarioSteps(cases, folder / "in", pairing, percent, template, name=name)
            return str(Path(path).relative_to(folder))

        return export

    def _searchLabels(self) -> None:
        """Look through label maps that are new or changed, one whenever Qt is idle: each is read once."""
        cases = self.cases.cases()
        if self._searching or all(logic.isSearched(c.labels) for c in cases if hasattr(c.labels, "GetID")):
            return

        def over(_result: Any) -> None:
            self._searching = False
            self.session.changed()

        self._searching = True
        self.session.run(lambda: logic.searchLabelsSteps(cases), over, over)

    def refresh(self) -> None:
        p, ui = self.session.parameters, self.ui
        self.cases.dropDeleted()
        self._searchLabels()
        self.details.refresh()
        summary, messages = self._check()
        self.blocking = [m.text for m in messages if m.blocking]
        template = p.pairing is Pairing.Template
        qtbits.offer(ui.templateVolumeSelector, [] if template else [
            _("Choose “To template” above to register all cases to one volume.")], _("One of the rows."))
        lines = [summary if self.cases.rows else _("No data yet: add volumes with labels.")]
        lines += [m.text for m in messages][:1] if self.cases.rows else []
        ui.datasetSummaryLabel.setText("\n".join(line for line in lines if line))
        qtbits.offer(ui.checkDataButton, [] if self.cases.rows else [_("There are no rows to check.")], _(
            "Look for what is missing or contradictory, row by row."))
        qtbits.offer(ui.removeCasesButton, [] if qtbits.selected_rows(ui.casesTableView) else [
            _("Select the rows to remove.")], _(
            "Remove the selected rows. Nothing is deleted from the scene or the disk."))
