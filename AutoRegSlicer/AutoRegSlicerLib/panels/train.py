"""The second tab: data, one button that searches, and training what the search found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from AutoRegLib.core.errors import AutoRegError
from AutoRegSlicerLib import logic
from AutoRegSlicerLib.jobs_ui import JobRequest, JobState, JobStatus
from AutoRegSlicerLib.panels import bundles, qtbits, trials
from AutoRegSlicerLib.panels.cases_table import CasesTable, title
from AutoRegSlicerLib.panels.choices import NETWORKS, PRESET_MINUTES, Pairing, SearchPreset
from AutoRegSlicerLib.panels.session import Session, describe

#: of the labels' overlap in training, where it is asked for
LABEL_WEIGHT = 1.0


class TrainPanel:
    """Cases, the search, the table of searches, the training."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.searches: list[JobStatus] = []  # newest first, finished or not
        self.recipes: list[trials.Found] = []
        self.models: dict[Path, str] = {}  # training jobs: name of the model to be
        self.cases = CasesTable(self.ui.casesTableView, session.scene, self.casesChanged)
        self.trialsModel = qtbits.make_table(self.ui.trialsTableView, trials.headers())
        self._views = {"searchPlotView": None, "trainingPlotView": None}
        self._seen: Any = None
        self._plotted: dict[str, Any] = {}
        self._texts: list[list[str]] = []
        session.importers["search"] = self.takeSearch
        session.importers["train"] = self.takeModel
        self.ui.architecturesListWidget.addItems(list(NETWORKS))
        self.ui.architecturesListWidget.setCurrentRow(0)
        for button, action in {
            "addFromSceneButton": self.cases.addFromScene, "removeCasesButton": self.cases.removeSelected,
            "addFolderButton": self.addFolder, "importCsvButton": self.importCsv, "checkDataButton": self.checkData,
            "autoSearchButton": self.search, "finishSearchButton": self.finish,
            "trainSelectedTrialButton": self.trainSelected, "copyTrialSettingsButton": self.copySettings,
            "startTrainingButton": self.train,
        }.items():
            qtbits.on(getattr(self.ui, button), "clicked", action)
        qtbits.on(self.ui.searchPresetComboBox, "currentIndexChanged", self.presetChosen)
        qtbits.on(self.ui.trialsTableView.selectionModel(), "selectionChanged", self.session.changed)
        qtbits.on(self.ui.casesTableView.selectionModel(), "selectionChanged", self.session.changed)
        qtbits.on(self.ui.trainingRecipeComboBox, "currentIndexChanged", self.session.changed)

    # ---- data

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
        """The same check as always, and in words what is good."""
        self.cases.dropDeleted()
        summary, messages = self._check()
        for row in self.cases.rows:
            names = (f"'{row.subject}'", f"'{title(row.volume)}'")
            about = [m.text for m in messages if any(name in m.text for name in names)]
            row.remark = about[0] if about else _("OK") if row.use else _("Not used")
        self.cases.fill()
        self.session.say(messages[0].text if messages else _("{summary}: everything needed is there.").format(
            summary=summary))

    def _check(self) -> tuple[str, list[Any]]:
        p = self.session.parameters
        template = p.templateVolume if p.pairing is Pairing.Template else None
        return logic.checkCases(self.cases.cases(), p.validationPercent, p.pairing.value, template)

    def _labeled(self) -> bool:
        return logic.labeledTraining(self.cases.cases(), self.session.parameters.validationPercent) > 1

    # ---- looking

    def refresh(self) -> None:
        if self.session.parameters is None:
            return
        p, ui = self.session.parameters, self.ui
        self.cases.dropDeleted()
        summary, messages = self._check()
        blocking = [m.text for m in messages if m.blocking]
        template = p.pairing is Pairing.Template
        qtbits.offer(ui.templateVolumeSelector, [] if template else [
            _("Choose “To template” above to register all cases to one volume.")], _("One of the rows."))
        lines = [summary if self.cases.rows else _("No data yet: add volumes with labels.")]
        lines += [m.text for m in messages][:1] if self.cases.rows else []
        ui.datasetSummaryLabel.setText("\n".join(line for line in lines if line))
        rows = bool(self.cases.rows)
        qtbits.offer(ui.checkDataButton, [] if rows else [_("There are no rows to check.")], _(
            "Look for what is missing or contradictory, row by row."))
        selected = qtbits.selected_rows(ui.casesTableView)
        qtbits.offer(ui.removeCasesButton, [] if selected else [_("Select the rows to remove.")], _(
            "Remove the selected rows. Nothing is deleted from the scene or the disk."))
        custom = p.searchPreset is SearchPreset.Custom
        qtbits.offer(ui.searchMinutesSpinBox, [] if custom else [
            _("Choose “Custom time” above to set the time yourself.")], _("The search stops after this time."))
        qtbits.offer(ui.learnFromLabelsCheckBox, [] if self._labeled() else [
            _("Two training cases with labels are needed.")], _(
            "Let the overlap of the training cases' labels count in training, beside the images. Better where all "
            "cases show the same structures; leave it off for labels that some cases lack, such as a tumor."))
        self._searchButtons(blocking)
        self._trainButtons()
        for name in ("trialsTableView", "trainSelectedTrialButton", "copyTrialSettingsButton"):
            getattr(ui, name).setVisible(bool(self.searches))
        for view, node in self._views.items():
            getattr(ui, view).setVisible(node is not None)

    def _searchButtons(self, blocking: list[str]) -> None:
        busy = self.session.busy()
        self.ui.autoSearchButton.setText(_("Queue auto-search") if busy else _("Auto-search"))
        reasons = [*self.session.obstacles(), *blocking]
        qtbits.offer(self.ui.autoSearchButton, reasons, _(
            "Search for the network and the loss that register these data best; nothing else has to be chosen."))
        qtbits.show(self.ui.searchMessageLabel, reasons[0] if reasons and self.cases.rows else "")
        running = [s for s in self.session.statuses if s.verb == "search" and s.state is JobState.Running]
        qtbits.offer(self.ui.finishSearchButton, [] if running else [_("No search is running.")], _(
            "End the search now; the best network so far can be trained."))

    def _trainButtons(self) -> None:
        chosen = self.selectedTrial()
        one = [_("Select one finished search in the table.")] if chosen is None else []
        qtbits.offer(self.ui.trainSelectedTrialButton, [*one, *self.session.obstacles()], _(
            "Train the network that this search found."))
        qtbits.offer(self.ui.copyTrialSettingsButton, one, _("Copy what was found to the clipboard."))
        reasons = list(self.session.obstacles())
        if not self.recipes:
            reasons.append(_("There is nothing to train yet: run Auto-search first."))
        name = self.session.parameters.modelName
        try:
            bundles.free_folder(name)
        except AutoRegError as problem:
            why = f"{describe(problem)[1]} {problem.remedy.capitalize()}."
            reasons.append(why if name else _("Enter a name for the model."))
        qtbits.offer(self.ui.startTrainingButton, reasons, _("Train the chosen recipe on the data of its search."))
        training = any(s.verb == "train" and not s.state.over for s in self.session.statuses)
        qtbits.show(self.ui.trainingMessageLabel, reasons[0] if reasons and self.recipes and not training else "")

    def follow(self, statuses: list[JobStatus]) -> None:
        """New figures: the table of searches and the plots."""
        mark = [(s.folder, s.state) for s in statuses if s.verb in ("search", "train")]
        if mark != self._seen:
            self._seen = mark
            self.searches = [s for s in self.session.jobs.history() if s.verb == "search"]
        live = {s.folder: s for s in statuses}
        self.searches = [live.get(s.folder, s) for s in self.searches]
        self._fillTrials()
        for verb, view, update in (
            ("search", "searchPlotView", logic.updateSearchPlots),
            ("train", "trainingPlotView", logic.updateTrainingPlots),
        ):
            latest = next((s for s in reversed(statuses) if s.verb == verb and s.metrics), None)
            if latest is not None:
                self._plot(view, latest, update)

    def _plot(self, view: str, status: JobStatus, update: Any) -> None:
        count = (status.folder, sum(map(len, status.metrics.values())), len(status.trials))
        if self._plotted.get(view) == count:
            return
        self._plotted[view] = count
        charts = update(self.session.scene, status)
        chart = charts[0] if isinstance(charts, tuple) else charts
        node = self._views[view]
        if node is None or self.session.scene.GetNodeByID(node.GetID() or "") is not node:
            node = trials.plot_view(self.session.scene, view)
            self._views[view] = node
            getattr(self.ui, view).setMRMLPlotViewNode(node)
        node.SetPlotChartNodeID(chart.GetID())

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
        index = max(0, int(qtbits.read(self.ui.trainingRecipeComboBox, "currentIndex")))
        names = [found.title if i else _("Last search: {title}").format(title=found.title)
                 for i, found in enumerate(self.recipes)]
        qtbits.fill(self.ui.trainingRecipeComboBox, names, min(index, max(0, len(names) - 1)))

    def selectedTrial(self) -> trials.Found | None:
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

    def search(self) -> None:
        """Export the cases and start the search."""
        p, cases = self.session.parameters, self.cases.cases()
        network = NETWORKS[max(0, int(qtbits.read(self.ui.architecturesListWidget, "currentRow")))]
        preset = "standard" if p.searchPreset is SearchPreset.Custom else p.searchPreset.value
        arguments = {
            "scenario": "in/scenario.json", "preset": preset, "minutes": p.searchMinutes, "network": network,
            "seed": p.randomSeed, "device": p.device.value,
            "label_weight": LABEL_WEIGHT if p.learnFromLabels and self._labeled() else 0.0,
        }
        template = p.templateVolume if p.pairing is Pairing.Template else None
        pairing, percent, count = p.pairing.value, p.validationPercent, sum(case.use for case in cases)

        def prepare(folder: Path) -> Any:
            path = yield from logic.exportScenarioSteps(
                cases, folder / "in", pairing, percent, template, name=f"{count} cases from Slicer")
            return JobRequest("search", {**arguments, "scenario": str(Path(path).relative_to(folder))})

        self.session.launch("search", _("Search on {n} cases").format(n=count), prepare)

    def finish(self) -> None:
        for status in self.session.statuses:
            if status.verb == "search" and status.state is JobState.Running:
                self.session.jobs.finish(status.folder)
        self.session.poll()

    def trainSelected(self) -> None:
        """Choose the selected search as the recipe and go to the training."""
        found = self.selectedTrial()
        if found is not None:
            self.ui.trainingRecipeComboBox.setCurrentIndex(self.recipes.index(found))
            qtbits.write(self.ui.trainingCollapsibleButton, "collapsed", False)
            if self.session.parameters.modelName:
                self.train()
            else:
                self.ui.modelNameLineEdit.setFocus()
                self.session.say(_("Enter a name for the model, then start the training."))

    def train(self) -> None:
        """Start the training of the chosen recipe into the models folder."""
        p, found = self.session.parameters, self.recipes[int(qtbits.read(self.ui.trainingRecipeComboBox,
                                                                         "currentIndex"))]
        output = bundles.free_folder(p.modelName)
        request = JobRequest("train", {
            "recipe": str(found.recipe), "scenario": str(found.scenario), "output": str(output),
            "minutes": p.trainingMinutes or None, "device": p.device.value,
        })
        folder = self.session.launch("train", _("Train “{name}”").format(name=p.modelName), lambda _folder: request)
        self.models[folder], p.modelName = p.modelName, ""  # the next one needs a name of its own

    def takeSearch(self, status: JobStatus) -> None:
        """A search is over: what it found can be trained."""
        self._seen = None

    def takeModel(self, status: JobStatus) -> None:
        """A training is over: the model can be used at once."""
        name = self.models.pop(status.folder, str(status.summary.get("name", "")))
        self.session.modelsChanged()
        if self.session.parameters is not None and name:
            self.session.parameters.model = name
        self.session.say(_("“{name}” is ready: it is chosen in Register.").format(name=name))

    def copySettings(self) -> str:
        found = self.selectedTrial()
        text = "" if found is None else trials.settings_text(found)
        slicer.app.clipboard().setText(text)
        return text
