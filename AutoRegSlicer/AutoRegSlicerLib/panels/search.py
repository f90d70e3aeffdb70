"""Section "Auto-search" of the second tab: one button that searches, and the table of what searches found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from AutoRegSlicerLib.jobs.jobs import JobRequest, JobState, JobStatus
from AutoRegSlicerLib.panels import qtbits, trials
from AutoRegSlicerLib.panels.choices import NETWORKS, PRESET_MINUTES, SearchPreset, ValidationObjective, networkWords
from AutoRegSlicerLib.panels.data import DataPanel
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.panels.start_models import StartModels
from AutoRegSlicerLib.wording import counted

#: of the labels' overlap in training, where it is asked for
LABEL_WEIGHT = 3.0


class SearchPanel:
    """The search and the table of searches. ``train`` is called with a search whose result shall be trained."""

    def __init__(self, session: Session, data: DataPanel, train: Callable[[trials.Found], Any]) -> None:
        self.session, self.ui, self.data, self._train = session, session.ui, data, train
        self.searches: list[JobStatus] = []  # newest first, finished or not
        self.recipes: list[trials.Found] = []
        self.trialsModel = qtbits.make_table(self.ui.trialsTableView, trials.headers())
        self._seen: Any = None
        self._texts: list[list[str]] = []
        session.importers["search"] = self.take
        qtbits.fill(self.ui.networkComboBox, list(NETWORKS))
        qtbits.on(self.ui.networkComboBox, "currentIndexChanged", session.changed)
        self.start = StartModels(self.ui.searchStartComboBox, _("The usual start"))
        for button, action in {
            "autoSearchButton": self.search, "finishSearchButton": self.finish,
            "trainSelectedTrialButton": self.trainSelected, "copyTrialSettingsButton": self.copySettings,
        }.items():
            qtbits.on(getattr(self.ui, button), "clicked", action)
        qtbits.on(self.ui.searchPresetComboBox, "currentIndexChanged", self.presetChosen)
        qtbits.on(self.ui.trialsTableView.selectionModel(), "selectionChanged", self.session.changed)

    def refresh(self) -> None:
        p, ui = self.session.parameters, self.ui
        custom = p.searchPreset is SearchPreset.Custom
        qtbits.offer(ui.searchMinutesSpinBox, [] if custom else [
            _("Choose “Custom time” above to set the time yourself.")], _("The search stops after this time."))
        qtbits.offer(ui.learnFromLabelsCheckBox, [] if self.data.labeled() else [
            _("Two training cases with labels are needed.")], _(
            "Let the overlap of the training cases' labels count in training, beside the images. Better where all "
            "cases show the same structures; leave it off for labels that some cases lack, such as a tumor."))
        ui.autoSearchButton.setText(_("Queue auto-search") if self.session.busy() else _("Auto-search"))
        self._advanced()
        reasons = [*self.session.obstacles(), *self.data.blocking, *self._validationMissing()]
        qtbits.offer(ui.autoSearchButton, reasons, _(
            "Search for the network and the loss that register these data best; nothing else has to be chosen."))
        qtbits.show(ui.searchMessageLabel, reasons[0] if reasons and self.data.cases.rows else "")
        running = [s for s in self.session.statuses if s.verb == "search" and s.state is JobState.Running]
        qtbits.offer(ui.finishSearchButton, [] if running else [_("No search is running.")], _(
            "End the search now; the best network so far can be trained."))
        one = [_("Select one finished search in the table.")] if self.selected() is None else []
        qtbits.offer(ui.trainSelectedTrialButton, [*one, *self.session.obstacles()], _(
            "Train the network that this search found."))
        qtbits.offer(ui.copyTrialSettingsButton, one, _("Copy what was found to the clipboard."))
        for name in ("trialsTableView", "trainSelectedTrialButton", "copyTrialSettingsButton"):
            getattr(ui, name).setVisible(bool(self.searches))

    def _network(self) -> str:
        return NETWORKS[max(0, int(qtbits.read(self.ui.networkComboBox, "currentIndex")))]

    def _advanced(self) -> None:
        """What depends on the network: only AutoReg's own has operators to choose by their speed."""
        self.ui.networkComboBox.setToolTip(networkWords(self._network()))
        own = [] if self._network() == NETWORKS[0] else [
            _("Only the network “{name}” has operators to choose: choose it above.").format(name=NETWORKS[0])]
        qtbits.offer(self.ui.maxSecondsSpinBox, own, _(
            "The most that a pass of the network over one pair may take on this computer."))
        qtbits.offer(self.ui.speedWeightSpinBox, own, _(
            "How much speed counts beside accuracy while operators are chosen."))
        self.start.offer(
            [b for b in self.session.models
             if b.network == self._network() and b.recipe.spatial_dims == self.data.dims()],
            _("The operators and loss weights that the search starts from and has to beat."),
            _("No model of this network is installed: train or import one."))

    def _validationMissing(self) -> list[str]:
        """Why the chosen validation objective cannot be computed."""
        objective = self.session.parameters.judge
        if objective is ValidationObjective.Labels and not self.data.having("labels", "val"):
            return [_("No validation case has labels to validate by: choose “Automatic” under Advanced, or add "
                      "labels.")]
        if objective is ValidationObjective.Landmarks and not self.data.having("landmarks", "val"):
            return [_("No validation case has landmarks to validate by: choose “Automatic” under Advanced, or add "
                      "landmarks.")]
        return []

    def follow(self, statuses: list[JobStatus]) -> None:
        """The table of searches, with the figures of those that run."""
        mark = [(s.folder, s.state) for s in statuses if s.verb in ("search", "train")]
        if mark != self._seen:
            self._seen = mark
            self.searches = [s for s in self.session.jobs.history() if s.verb == "search"]
        live = {s.folder: s for s in statuses}
        self.searches = [live.get(s.folder, s) for s in self.searches]
        self._fillTrials()

    def _fillTrials(self) -> None:
        texts = [trials.cells(number, status) for number, status in enumerate(self.searches, start=1)]
        if texts == self._texts:
            return
        self._texts, kept = texts, qtbits.selected_rows(self.ui.trialsTableView)
        self.trialsModel.removeRows(0, self.trialsModel.rowCount())
        for line in texts:
            self.trialsModel.appendRow([qtbits.cell(text) for text in line])
        self.ui.trialsTableView.resizeColumnsToContents()
        for row in kept[:1]:
            self.ui.trialsTableView.selectRow(row)
        self.recipes = [found for status in self.searches if (found := trials.read_found(status)) is not None]

    def selected(self) -> trials.Found | None:
        """What the one selected search found, if it has finished."""
        rows = qtbits.selected_rows(self.ui.trialsTableView)
        if len(rows) != 1 or rows[0] >= len(self.searches):
            return None
        folder = self.searches[rows[0]].folder
        return next((found for found in self.recipes if found.folder == folder), None)

    # ---- buttons

    def presetChosen(self) -> None:
        p = self.session.parameters
        if p is not None and p.searchPreset.name in PRESET_MINUTES:
            p.searchMinutes = PRESET_MINUTES[p.searchPreset.name]

    def options(self) -> dict[str, Any]:
        """What a search and a comparison of searches are asked alike."""
        p = self.session.parameters
        return {
            "preset": "standard" if p.searchPreset is SearchPreset.Custom else p.searchPreset.value,
            "minutes": p.searchMinutes, "seed": p.randomSeed, "device": p.device.value,
            "label_weight": LABEL_WEIGHT if p.learnFromLabels and self.data.labeled() else 0.0,
        }

    def search(self) -> None:
        """Export the cases and start the search."""
        p, start, own = self.session.parameters, self.start.chosen(), self._network() == NETWORKS[0]
        arguments = {**self.options(), "network": self._network(), "judge": p.judge.value}
        if own:
            arguments |= {"max_seconds": p.maxSeconds or None, "speed_weight": p.speedWeight}
        if start is not None:
            arguments["start"] = str(start.folder)
        export = self.data.exporter()

        def prepare(folder: Path) -> Any:
            scenario = yield from export(folder)
            return JobRequest("search", {**arguments, "scenario": scenario})

        title = counted(self.data.used(), _("Search on {n} case"), _("Search on {n} cases"))
        self.session.launch("search", title, prepare)
        qtbits.write(self.ui.dataCollapsibleButton, "collapsed", True)  # from now on the search is what counts

    def finish(self) -> None:
        for status in self.session.statuses:
            if status.verb == "search" and status.state is JobState.Running:
                self.session.jobs.finish(status.folder)
        self.session.poll()

    def trainSelected(self) -> None:
        found = self.selected()
        if found is not None:
            self._train(found)

    def take(self, status: JobStatus) -> None:
        """A search is over: what it found can be trained."""
        self._seen = None

    def copySettings(self) -> str:
        found = self.selected()
        text = "" if found is None else trials.settings_text(found)
        slicer.app.clipboard().setText(text)
        return text
