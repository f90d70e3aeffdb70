"""Section "Comparison" of the second tab: searched models against baselines, all in the same time on these data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AutoRegLib.core.jobs import JobRequest
from AutoRegLib.core.study_rows import TABLES, choose_rows
from AutoRegSlicerLib.jobs.jobs import JobStatus
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.data import DataPanel
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.scene import tables
from AutoRegSlicerLib.wording import counted


class StudyPanel:
    """Starts ``study``; its table comes into the scene and its report is shown. ``options``: those of the search."""

    def __init__(self, session: Session, data: DataPanel, options: Callable[[], dict[str, Any]]) -> None:
        self.session, self.ui, self.data, self._options = session, session.ui, data, options
        self.folder: Path | None = None  # of the report that is shown
        session.importers["study"] = self.take
        titles = {**{name: table.title for name, table in TABLES.items()}, "all": _("Everything")}
        qtbits.fill(self.ui.studyTableComboBox, [
            _("{title}: {n} rows").format(title=title, n=len(choose_rows([name]))) for name, title in titles.items()])
        qtbits.on(self.ui.studyTableComboBox, "currentIndexChanged", session.changed)
        qtbits.on(self.ui.startStudyButton, "clicked", self.start)
        qtbits.on(self.ui.openStudyFolderButton, "clicked", self.openFolder)

    def _table(self) -> str:
        return [*TABLES, "all"][max(0, int(qtbits.read(self.ui.studyTableComboBox, "currentIndex")))]

    def seconds(self) -> float:
        """What it takes: a training for each row, and a search where it is searched, for each repeat."""
        p = self.session.parameters
        parts = sum(2 if row.searched else 1 for row in choose_rows([self._table()]))
        return 60.0 * p.studyMinutes * p.studySeeds * parts

    def refresh(self) -> None:
        ui = self.ui
        reasons = [*self.session.obstacles(), *self.data.blocking]
        if not self.data.pairs("test"):
            reasons.append(_("There is no pair to test on: select two subjects in the table of cases and set their "
                             "role to “Test”."))
        rows = counted(len(choose_rows([self._table()])), _("{n} way to a model"), _("{n} ways to a model"))
        estimate = _("{rows}, together about {time}.").format(rows=rows, time=qtbits.duration(self.seconds()))
        ui.studyEstimateLabel.setText(f"{estimate} {reasons[0]}" if reasons else estimate)
        qtbits.offer(ui.startStudyButton, reasons, _(
            "Search and train each way in the same time and test all on the cases with the role “Test”."))
        ui.studyReportTextBrowser.setVisible(self.folder is not None)
        qtbits.offer(ui.openStudyFolderButton, [] if self.folder else [_("There is no report yet.")], _(
            "Show the report, its table and its figures in the file browser."))

    def start(self) -> None:
        """Export the cases and start the comparison."""
        p, export = self.session.parameters, self.data.exporter()
        arguments = {**self._options(), "rows": [self._table()], "minutes": p.studyMinutes, "seeds": p.studySeeds}

        def prepare(folder: Path) -> Any:
            scenario = yield from export(folder)
            return JobRequest("study", {**arguments, "scenario": scenario})

        title = counted(self.data.used(), _("Comparison on {n} case"), _("Comparison on {n} cases"))
        self.session.launch("study", title, prepare)

    def take(self, status: JobStatus) -> None:
        """The table into the scene, the report on the panel."""
        self.folder = status.folder / "out"
        tables.fromFile(self.session.scene, self.folder / "study.csv", status.title)
        browser = self.ui.studyReportTextBrowser
        browser.setSearchPaths([str(self.folder)])  # of the figures
        browser.setMarkdown((self.folder / "study.md").read_text(encoding="utf-8"))
        qtbits.write(self.ui.studyCollapsibleButton, "collapsed", False)

    def openFolder(self) -> None:
        if self.folder is not None:
            qtbits.open_folder(self.folder)
