"""The second tab: data, one button that searches, and training what the search found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AutoRegLib.core.errors import AutoRegError
from AutoRegLib.core.recipe import Recipe, network_differences, read_recipe
from AutoRegSlicerLib import logic
from AutoRegSlicerLib.jobs.jobs import JobRequest, JobStatus
from AutoRegSlicerLib.panels import bundles, qtbits, trials
from AutoRegSlicerLib.panels.data import DataPanel
from AutoRegSlicerLib.panels.search import SearchPanel
from AutoRegSlicerLib.panels.session import Session, describe
from AutoRegSlicerLib.panels.start_models import StartModels
from AutoRegSlicerLib.panels.study import StudyPanel


class TrainPanel:
    """The sections in their order; the training and the plots are looked after here."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.data = DataPanel(session)
        self.searches = SearchPanel(session, self.data, self.choose)
        self.study = StudyPanel(session, self.data, self.searches.options)
        self.start = StartModels(self.ui.trainingStartComboBox, _("Random weights"))
        self._recipe: tuple[Path, Recipe | None] | None = None  # the chosen one, read
        self.models: dict[Path, str] = {}  # training jobs: name of the model to be
        self._views = {"searchPlotView": None, "trainingPlotView": None}
        self._plotted: dict[str, Any] = {}
        self._listed: list[str] | None = None  # of the recipes; None: not yet looked
        session.importers["train"] = self.take
        qtbits.on(self.ui.startTrainingButton, "clicked", self.train)
        qtbits.on(self.ui.trainingRecipeComboBox, "currentIndexChanged", self.session.changed)

    def parametersChanged(self) -> None:
        """Another parameter set, or another scene."""
        self.data.parametersChanged()

    def refresh(self) -> None:
        if self.session.parameters is None:
            return
        self.data.refresh()
        self.searches.refresh()
        self.study.refresh()
        self._listRecipes()
        self._offerStarts()
        reasons = list(self.session.obstacles())
        if not self.searches.recipes:
            reasons.append(_("There is nothing to train yet: run Auto-search first."))
        name = self.session.parameters.modelName
        try:
            bundles.free_folder(name)
        except AutoRegError as problem:
            why = f"{describe(problem)[1]} {problem.remedy.capitalize()}."
            reasons.append(why if name else _("Enter a name for the model."))
        qtbits.offer(self.ui.startTrainingButton, reasons, _("Train the chosen recipe on the data of its search."))
        training = any(s.verb == "train" and not s.state.over for s in self.session.statuses)
        telling = reasons and self.searches.recipes and not training
        qtbits.show(self.ui.trainingMessageLabel, reasons[0] if telling else "")
        for view, node in self._views.items():
            getattr(self.ui, view).setVisible(node is not None)

    def _listRecipes(self) -> None:
        """What can be trained, the newest first; the section unfolds when there is something, and folds again."""
        names = [_("Last search: {title}").format(title=found.title) if number == 0 else found.title
                 for number, found in enumerate(self.searches.recipes)]
        if names == self._listed:
            return
        if bool(names) != bool(self._listed):
            qtbits.write(self.ui.trainingCollapsibleButton, "collapsed", not names)
        self._listed = names
        index = max(0, int(qtbits.read(self.ui.trainingRecipeComboBox, "currentIndex")))
        qtbits.fill(self.ui.trainingRecipeComboBox, names or [_("Nothing yet: run Auto-search first")],
                    min(index, max(0, len(names) - 1)))
        qtbits.offer(self.ui.trainingRecipeComboBox, [] if names else [_("Auto-search makes the first recipe.")],
                     _("What is trained: the network and loss that a search found."))

    def _offerStarts(self) -> None:
        """Models whose weights fit the chosen recipe's network."""
        found = self.recipe()
        if found is None:
            self._recipe = None
        elif self._recipe is None or self._recipe[0] != found.recipe:
            try:
                self._recipe = (found.recipe, read_recipe(found.recipe))
            except AutoRegError:  # the table of searches says so
                self._recipe = (found.recipe, None)
        recipe = self._recipe[1] if self._recipe else None
        self.start.offer(
            [b for b in self.session.models if recipe is not None and not network_differences(recipe, b.recipe)],
            _("The weights that the training starts from. Those of a model of similar images save time."),
            _("No installed model has the network of this recipe.") if recipe else _("There is no recipe yet."))

    def follow(self, statuses: list[JobStatus]) -> None:
        """New figures: the table of searches and the plots."""
        self.searches.follow(statuses)
        for verb, view, update in (
            ("search", "searchPlotView", logic.updateSearchPlots),
            ("train", "trainingPlotView", logic.updateTrainingPlots),
        ):
            latest = next((s for s in reversed(statuses) if s.verb == verb and (s.metrics or s.trials)), None)
            if latest is not None:
                self._plot(view, latest, update)

    def _plot(self, view: str, status: JobStatus, update: Any) -> None:
        drawn = (status.folder, sum(map(len, status.metrics.values())), repr(status.trials))  # scored again: other Dice
        if self._plotted.get(view) == drawn:
            return
        self._plotted[view] = drawn
        charts = update(self.session.scene, status)
        chart = charts[0] if isinstance(charts, tuple) else charts
        node = self._views[view]
        if node is None or self.session.scene.GetNodeByID(node.GetID() or "") is not node:
            node = trials.plot_view(self.session.scene, view)
            self._views[view] = node
            getattr(self.ui, view).setMRMLPlotViewNode(node)
            getattr(self.ui, view).plotController().setVisible(False)  # it would choose the user's charts instead
        node.SetPlotChartNodeID(chart.GetID())

    # ---- training

    def choose(self, found: trials.Found) -> None:
        """Make what a search found the recipe and go to the training."""
        self._listRecipes()
        self.ui.trainingRecipeComboBox.setCurrentIndex(self.searches.recipes.index(found))
        qtbits.write(self.ui.trainingCollapsibleButton, "collapsed", False)
        if self.session.parameters.modelName:
            self.train()
        else:
            self.ui.modelNameLineEdit.setFocus()
            self.session.say(_("Enter a name for the model, then start the training."))

    def recipe(self) -> trials.Found | None:
        """The chosen recipe."""
        index = int(qtbits.read(self.ui.trainingRecipeComboBox, "currentIndex"))
        return self.searches.recipes[index] if 0 <= index < len(self.searches.recipes) else None

    def train(self) -> None:
        """Start the training of the chosen recipe into the models folder."""
        p, found = self.session.parameters, self.recipe()
        if found is None:
            return
        output = bundles.free_folder(p.modelName)
        request = JobRequest("train", {
            "recipe": str(found.recipe), "scenario": str(found.scenario), "output": str(output),
            "minutes": p.trainingMinutes or None, "device": p.device.value,
        })
        start = self.start.chosen()
        if start is not None:
            request.arguments["start"] = str(start.folder)
        folder = self.session.launch("train", _("Train “{name}”").format(name=p.modelName), lambda _folder: request)
        self.models[folder], p.modelName = p.modelName, ""  # the next one needs a name of its own

    def take(self, status: JobStatus) -> None:
        """A training is over: the model can be used at once."""
        name = self.models.pop(status.folder, str(status.summary.get("name", "")))
        self.session.modelsChanged()
        if self.session.parameters is not None and name:
            self.session.parameters.model = name
        self.session.say(_("“{name}” is ready: it is chosen in Register.").format(name=name))
