"""The model of the Register tab, or what takes its place: one box, and the line that says what it needs."""

from __future__ import annotations

from slicer.i18n import tr as _

from AutoRegSlicerLib.jobs.jobs import JobStatus
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.bundles import Bundle
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.panels.summary import compatibility, geodesic
from AutoRegSlicerLib.panels.trials import Found, last_found
from AutoRegSlicerLib.scene.values import FOUND_LOSS, GEODESIC, NO_MODEL

_WITHOUT = ("", NO_MODEL, GEODESIC)  # choices that need nothing


def nothingFound() -> str:
    """Why the loss of the last search cannot be used."""
    return _("No search has found a loss here: run Auto-search, or choose another way to register.")


class ModelChoice:
    """Suitable models first, then what needs none; the first model is chosen until the user chooses.

    A choice that is not on this computer, as in a scene of another one, stays: nothing else is taken in silence.
    """

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.listed: list[Bundle] = []  # models that are offered
        self.offered: list[str] = []  # them and what needs none, by name
        self.found: Found | None = None  # the last search that found a loss
        qtbits.on(self.ui.modelComboBox, "currentIndexChanged", self.choose)
        qtbits.on(self.ui.modelInfoButton, "clicked", self.show)

    def model(self) -> Bundle | None:
        """The chosen model; None: this pair alone is optimized."""
        name = self.session.parameters.model if self.session.parameters else ""
        return next((bundle for bundle in self.listed if bundle.name == name), None)

    def loss(self) -> str | None:
        """The recipe whose loss is chosen in place of a model."""
        chosen = self.found is not None and self.session.parameters.model == FOUND_LOSS
        return str(self.found.recipe) if self.found is not None and chosen else None

    def reasons(self) -> list[str]:
        """What keeps the choice from being used."""
        name = self.session.parameters.model
        if self._missing():
            return [nothingFound() if name == FOUND_LOSS else
                    _("The model “{name}” is not on this computer: choose another one, or import it in Models.").format(
                        name=name)]
        return []

    def refresh(self) -> None:
        p = self.session.parameters
        listed = sorted(self.session.models, key=lambda bundle: bundle.recipe.spatial_dims != 3)
        without = {
            **({FOUND_LOSS: _("No model: the loss of the last search")} if self.found is not None else {}),
            GEODESIC: _("Geodesic (LDDMM): this pair alone"), NO_MODEL: _("No model: optimize this pair alone")}
        offered = [*(bundle.name for bundle in listed), *without]
        if [b.folder for b in listed] != [b.folder for b in self.listed] or offered != self.offered:
            self.listed, self.offered = listed, offered
            qtbits.fill(self.ui.modelComboBox, [*(b.name for b in listed), *without.values()])
        if listed and not p.model:
            p.model = listed[0].name
        bundle, missing = self.model(), self._missing()
        with qtbits.quiet(self.ui.modelComboBox):
            self.ui.modelComboBox.setCurrentIndex(-1 if missing else offered.index(p.model or NO_MODEL))
        qtbits.offer(self.ui.modelComboBox, [], _(
            "The trained model. A model works on images like those it was trained on; without one this pair alone is "
            "optimized, which needs no training and takes longer."))
        qtbits.offer(self.ui.modelInfoButton, [] if bundle else [_("No model is chosen.")],
                     _("Show the card of this model: data, accuracy, limits."))
        words = {
            FOUND_LOSS: _("Refines this pair by the similarity and the smoothness that your last search found. Needs "
                          "no training; a brain takes a minute or two."),
            GEODESIC: geodesic(p.fixedVolume)}
        usual = _("Needs no training; a brain takes a minute or two. A model, made in “Search and train”, takes "
                  "seconds.")
        qtbits.show(self.ui.compatibilityLabel,
                    compatibility(bundle) if bundle else "" if missing else words.get(p.model, usual))

    def choose(self) -> None:
        index = int(qtbits.read(self.ui.modelComboBox, "currentIndex"))
        if self.session.parameters is not None and 0 <= index < len(self.offered):
            self.session.parameters.model = self.offered[index]
            self.session.changed()

    def show(self) -> None:
        """The card of the model, in its own tab."""
        self.ui.modelFilterLineEdit.setText("")
        self.ui.workflowTabWidget.setCurrentWidget(self.ui.modelsTab)

    def follow(self, statuses: list[JobStatus]) -> None:
        """A search may have found a loss."""
        self.found = last_found(statuses)

    def _missing(self) -> bool:
        name = self.session.parameters.model
        return self.model() is None and name not in _WITHOUT and not (name == FOUND_LOSS and self.found is not None)
