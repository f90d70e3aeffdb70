"""Section "Many pairs" of the first tab: one model over a table of pairs, as one job, into a folder of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AutoRegLib.core.jobs import JobRequest, read_request
from AutoRegLib.core.pair_table import SUMMARY, PairLine, read_pair_table
from AutoRegSlicerLib import logic
from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.cases_table import casesOfScene
from AutoRegSlicerLib.panels.choices import InitialAlignment, refinement
from AutoRegSlicerLib.panels.model_choice import nothingFound
from AutoRegSlicerLib.panels.pair_cells import belongings, cells
from AutoRegSlicerLib.panels.session import Session, describe
from AutoRegSlicerLib.panels.trials import Found, last_found
from AutoRegSlicerLib.registration.pairs import NodePair, checkPairs, exportPairsSteps, loadPairSteps, nodePairs
from AutoRegSlicerLib.registration.scripting import readSummary
from AutoRegSlicerLib.registration.slice_checks import isSlice
from AutoRegSlicerLib.scene.values import FOUND_LOSS, GEODESIC, NO_MODEL
from AutoRegSlicerLib.wording import counted

PAIR, STATE, DICE, LNCC, FOLDS = range(5)


class PairsPanel:
    """The pairs, where their results go, and how each went."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.pairs: list[NodePair | PairLine] = []
        self.folder = ""  # for the results
        self.job: Path | None = None  # the batch whose states are shown
        self.results: dict[str, dict[str, Any]] = {}  # by pair: its line of the summary
        self._read: Any = None  # when the summary was written that is shown
        self._texts: Any = None
        self.notice = ""
        session.importers["batch"] = self.take
        self.model = qtbits.make_table(self.ui.pairsTableView, [
            _("Pair"), _("State"), _("Dice"), _("LNCC"), _("Folds")])
        qtbits.stretch(self.ui.pairsTableView, [PAIR], 5)
        for button, action in {
            "addPairsButton": self.addFromScene, "addPairsTableButton": self.addTable,
            "removePairsButton": self.removeSelected, "pairsFolderButton": self.chooseFolder,
            "registerPairsButton": self.start, "stopPairsButton": self.stop, "loadPairsButton": self.load,
        }.items():
            qtbits.on(getattr(self.ui, button), "clicked", action)
        qtbits.on(self.ui.pairsTableView.selectionModel(), "selectionChanged", session.changed)

    # ---- the table

    def addFromScene(self) -> None:
        """Every volume of the scene but the fixed one and what AutoReg made, onto the fixed one."""
        rows, fixed = casesOfScene(self.session.scene), self.session.parameters.fixedVolume
        target = next((row for row in rows if row.volume is fixed), logic.CaseRow(fixed.GetName(), fixed))
        known = [pair.moving.volume for pair in self.pairs if isinstance(pair, NodePair) and pair.fixed.volume is fixed]
        moving = [row for row in rows if row.volume is not fixed and not any(row.volume is other for other in known)]
        alike = [row for row in moving if isSlice(row.volume) == isSlice(fixed)]
        self._add(nodePairs(target, alike, [pair.name for pair in self.pairs]))
        if len(alike) < len(moving):
            self.session.say(_("Single slices and volumes do not register with each other: {names} left out.").format(
                names=", ".join(row.volume.GetName() for row in moving if row not in alike)))

    def addTable(self) -> None:
        path = self.session.dialogs.open_file(_("Table of pairs"), "CSV (*.csv)")
        if path:
            self.session.attemptAt(self.ui.pairsMessageLabel, lambda: self._addLines(read_pair_table(path)))

    def _addLines(self, lines: list[PairLine]) -> None:
        known = {pair.name for pair in self.pairs}
        self._add([line for line in lines if line.name not in known])

    def _add(self, pairs: Sequence[NodePair | PairLine]) -> None:
        if pairs:
            self.pairs += pairs
            self._new()
        else:
            self.session.say(_("There is nothing to add: all pairs are listed already."))

    def removeSelected(self) -> None:
        gone = qtbits.selected_rows(self.ui.pairsTableView)
        self.pairs = [pair for number, pair in enumerate(self.pairs) if number not in gone]
        self._new()

    def _new(self) -> None:
        """Other pairs: what is shown of a former batch belongs to the former table."""
        if self._running() is None:
            self.job, self.results, self.notice = None, {}, ""
        self.session.changed()

    def _dropDeleted(self) -> None:
        """Pairs whose volumes left the scene go, unless their results are there."""
        self.pairs = [pair for pair in self.pairs if isinstance(pair, PairLine) or pair.name in self.results
                      or None not in self._nodes(pair)]

    def _nodes(self, pair: NodePair | PairLine) -> list[Any]:
        """Fixed and moving volume; None for what is a file, or has left the scene."""
        rows = (pair.fixed, pair.moving) if isinstance(pair, NodePair) else ()
        found = [self.session.scene.GetNodeByID(row.volume.GetID() or "") for row in rows]
        return [node if node is row.volume else None for node, row in zip(found, rows, strict=True)] or [None, None]

    def chooseFolder(self) -> None:
        folder = self.session.dialogs.folder(_("Folder for the results"))
        if folder:
            self.folder, self.notice = folder, ""
            self.session.changed()

    # ---- looking

    def refresh(self) -> None:
        if self.session.parameters is None:
            return
        self._dropDeleted()
        self._fill()
        ui, reasons = self.ui, self.reasons()
        qtbits.offer(ui.addPairsButton, [] if self.session.parameters.fixedVolume else [
            _("Choose the fixed volume above: all others are registered to it.")], _(
            "Add every other volume of the scene, to be registered to the fixed volume chosen above."))
        selected = qtbits.selected_rows(ui.pairsTableView)
        busy = [_("The pairs are being registered.")] if self._running() else []
        qtbits.offer(ui.removePairsButton, busy or ([] if selected else [_("Select the rows to remove.")]), _(
            "Remove the selected pairs from the table. Nothing is deleted."))
        qtbits.offer(ui.pairsFolderButton, busy, _("Choose a folder for the results: one folder a pair and a table."))
        ui.pairsFolderLabel.setText(self.folder or _("No folder is chosen yet."))
        ui.pairsFolderLabel.setToolTip(self.folder)  # a long path is cut off
        qtbits.offer(ui.registerPairsButton, reasons, _(
            "Register all pairs, one after the other, by the model and the options chosen above."))
        running = self._running()
        qtbits.offer(ui.stopPairsButton, [] if running and running.state is JobState.Running else [
            _("No pairs are being registered.")], _(
            "Stop when the present pair is done. Finished pairs are kept; choose the job below to go on later."))
        done = [number for number in selected if self._state(number) == "done"]
        qtbits.offer(ui.loadPairsButton, [] if done else [_("Select pairs that are done.")], _(
            "Bring transform, warped volume and warped labels of the selected pairs into the scene."))
        qtbits.show(ui.pairsMessageLabel, self.notice or (reasons[0] if reasons and self.pairs and not running else ""))
        ui.pairsTableView.setVisible(bool(self.pairs))

    def reasons(self) -> list[str]:
        """What stands against registering the pairs, and how to mend it."""
        p = self.session.parameters
        found = list(self.session.obstacles())
        if self._running():
            found.append(_("The pairs are being registered."))
        if not self.pairs:
            found.append(_("There are no pairs: add volumes of the scene, or a table of files."))
        if p.initialAlignment is InitialAlignment.Existing:
            found.append(_("An existing transform belongs to one pair: choose another initial alignment under "
                           "Advanced."))
        bundle = self._bundle()
        found += [message.text for message in checkPairs(self.pairs, bundle and bundle.recipe.spatial_dims)]
        if p.model == FOUND_LOSS and self._found() is None:
            found.append(nothingFound())
        if not self.folder:
            found.append(_("Choose a folder for the results."))
        elif (Path(self.folder) / SUMMARY).exists():
            found.append(_("The folder holds results already, which are never overwritten: choose another one, or "
                           "resume its job below."))
        return found

    def _bundle(self) -> Any:
        name = self.session.parameters.model
        return next((bundle for bundle in self.session.models if bundle.name == name), None)

    def _found(self) -> Found | None:
        """The search whose loss is chosen in place of a model."""
        chosen = self.session.parameters.model == FOUND_LOSS
        return last_found(self.session.statuses) if chosen else None

    def _running(self) -> JobStatus | None:
        status = self.session.status(self.job)
        return status if status is not None and not status.state.over else None

    def _state(self, number: int) -> str:
        return str(self.results.get(self.pairs[number].name, {}).get("state", ""))

    def _fill(self) -> None:
        if self._running() is None:
            for row in self.results.values():  # the process was ended within this pair
                row["state"] = "cancelled" if row.get("state") == "running" else row.get("state")
        guided = self.session.parameters.landmarksGuide
        texts = [[*cells(pair, self.results.get(pair.name, {})), belongings(pair, guided=guided)]
                 for pair in self.pairs]
        if texts == self._texts:
            return
        kept = qtbits.selected_rows(self.ui.pairsTableView)
        self._texts = texts
        self.model.removeRows(0, self.model.rowCount())
        for pair, line in zip(self.pairs, texts, strict=True):
            why = str(self.results.get(pair.name, {}).get("error", ""))
            self.model.appendRow([qtbits.cell(text, tip=why or line[-1]) for text in line[:-1]])
        for number in kept:
            if number < len(self.pairs):
                qtbits.select_row(self.ui.pairsTableView, self.model.index(number, PAIR))

    def follow(self, statuses: list[JobStatus]) -> None:
        """How the pairs of the shown batch stand; its table is read again when it was written."""
        if self.session.status(self.job) is not None:
            self._readResults()

    def _readResults(self) -> None:
        try:
            written = (Path(self.folder) / SUMMARY).stat().st_mtime_ns
        except OSError:
            return
        if written != self._read:
            self._read = written
            self.results = {row["name"]: row for row in readSummary(Path(self.folder))}

    # ---- doing

    def start(self) -> None:
        """Export what is in the scene and start the job."""
        p, bundle, pairs = self.session.parameters, self._bundle(), list(self.pairs)
        found, geodesic, guided = self._found(), p.model == GEODESIC, p.landmarksGuide
        arguments = {
            "model": str(bundle.folder) if bundle else NO_MODEL, "output": self.folder, "device": p.device.value,
            "affine": "auto" if p.initialAlignment is InitialAlignment.Affine else "none",
            "refine": refinement(p.refinementSteps, model=bundle is not None, geodesic=geodesic),
            "transformation": "lddmm" if geodesic else "svf", "inverse": p.createInverse,
            "similarity": "auto" if bundle or found else p.similarity.value,
            **({} if found is None else {"loss": str(found.recipe)}),
        }

        def prepare(folder: Path) -> Any:
            table = yield from exportPairsSteps(pairs, folder / "in", guided=guided)
            return JobRequest("batch", {**arguments, "table": str(Path(table).relative_to(folder))})

        self.results, self._read, self.notice = {}, None, ""
        title = counted(len(pairs), _("Register {n} pair"), _("Register {n} pairs"))
        self.job = self.session.launch("batch", title, prepare)

    def stop(self) -> None:
        running = self._running()
        if running is not None:
            self.session.attemptAt(self.ui.pairsMessageLabel, lambda: self.session.jobs.finish(running.folder))
            self.session.poll()

    def take(self, status: JobStatus) -> None:
        """A batch is over, or one of an earlier session is opened: its table is shown, nothing is loaded unasked."""
        if status.folder != self.job:
            self.folder = str(read_request(status.folder).arguments["output"])
            self.job, self._read = status.folder, None
            self._readResults()
            self.pairs = [PairLine(name, {role: str(row.get(role, "")) for role in ("fixed", "moving")})
                          for name, row in self.results.items()]
            qtbits.write(self.ui.pairsCollapsibleButton, "collapsed", False)
        self._readResults()
        done = sum(row.get("state") == "done" for row in self.results.values())
        self.notice = _("{done} of {all} done. The results and {table} are in the folder above.").format(
            done=done, all=counted(len(self.results), _("{n} pair"), _("{n} pairs")), table=SUMMARY)

    def load(self) -> None:
        """The results of the selected pairs into the scene, step by step."""
        chosen = [self.pairs[n] for n in qtbits.selected_rows(self.ui.pairsTableView) if self._state(n) == "done"]

        def steps() -> Any:
            for pair in chosen:
                yield from loadPairSteps(
                    self.session.scene, Path(self.folder) / pair.name, pair.name, *self._nodes(pair))

        def loaded(_result: Any) -> None:
            self.notice = counted(len(chosen), _("{n} result is in the scene."), _("{n} results are in the scene."))
            self.session.changed()

        def failed(problem: Exception) -> None:
            _code, text, hint = describe(problem)
            self.notice = f"{text} {hint}".strip()
            self.session.changed()

        self.session.run(steps, loaded, failed)
