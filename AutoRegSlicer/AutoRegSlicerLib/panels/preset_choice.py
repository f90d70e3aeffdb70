"""The presets of the Register tab: one box that shows which one the present settings are, and two buttons."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.choices import InitialAlignment, Similarity
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.registration import presets
from AutoRegSlicerLib.scene.values import GEODESIC, NO_MODEL


class PresetChoice:
    """Nothing is remembered but the user's own presets: which one is shown follows from the settings."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.own: dict[str, presets.Preset] | None = None  # read when first shown
        self.listed: list[str] = []
        qtbits.on(self.ui.presetComboBox, "activated", self.choose)
        qtbits.on(self.ui.savePresetButton, "clicked", self.save)
        qtbits.on(self.ui.deletePresetButton, "clicked", self.delete)

    def refresh(self) -> None:
        if self.own is None:
            self._read()
        known = self._known()
        now = self._settings()
        current = next((name for name, preset in known.items() if preset.items() <= now.items()), "")
        listed = [*known, *([] if current else [_("Settings of your own")])]
        if listed != self.listed:
            self.listed = listed
            qtbits.fill(self.ui.presetComboBox, listed)
        before = self.ui.presetComboBox.blockSignals(True)
        self.ui.presetComboBox.setCurrentIndex(listed.index(current) if current else len(listed) - 1)
        self.ui.presetComboBox.blockSignals(before)
        mine = current in (self.own or {})
        qtbits.offer(self.ui.deletePresetButton, [] if mine else [_("Only presets of your own can be deleted.")],
                     _("Delete this preset of yours."))

    def _known(self) -> dict[str, presets.Preset]:
        return {**(self.own or {}), **presets.builtIn()} if self.session.parameters else {}

    def _settings(self) -> presets.Preset:
        """The present settings as a preset."""
        p = self.session.parameters
        return {"model": p.model or NO_MODEL, "initialAlignment": p.initialAlignment.value,
                "similarity": p.similarity.value, "refinementSteps": p.refinementSteps}

    def _read(self) -> None:
        self.own = {}

        def read() -> None:
            self.own = presets.read()

        self.session.attempt(read)

    def choose(self) -> None:
        """Make the settings those of the chosen preset; what of it is not possible here is said."""
        index = int(qtbits.read(self.ui.presetComboBox, "currentIndex"))
        preset = self._known().get(self.listed[index], {}) if 0 <= index < len(self.listed) else {}
        p, refused = self.session.parameters, []
        for key, value in preset.items():
            here = {NO_MODEL, GEODESIC, *(bundle.name for bundle in self.session.models)}
            if key == "model" and value not in here:
                refused.append(_("there is no model “{name}” here").format(name=value))
                continue
            try:
                kind: Any = {"initialAlignment": InitialAlignment, "similarity": Similarity}.get(key, lambda v: v)
                setattr(p, key, kind(value))
            except (TypeError, ValueError):
                refused.append(f"{key} = {value!r}")
        if refused:
            self.session.say(_("Not everything of the preset could be set: {what}.").format(what="; ".join(refused)))
        self.session.changed()

    def save(self) -> None:
        """Keep the present settings under a name."""
        name = self.session.dialogs.text(_("Save preset"), _("Name of the preset:"), "").strip()
        if not name or (name in (self.own or {}) and not self.session.dialogs.confirm(
                _("Replace your preset “{name}”?").format(name=name))):
            return
        if self.session.attempt(lambda: presets.save(name, self._settings())):
            self.session.say(_("Saved as “{name}”.").format(name=name))
        self._changed()

    def delete(self) -> None:
        """Forget the preset that is shown, one of the user's own."""
        name = self.listed[int(qtbits.read(self.ui.presetComboBox, "currentIndex"))]
        if self.session.dialogs.confirm(_("Delete your preset “{name}”?").format(name=name)):
            self.session.attempt(lambda: presets.delete(name))
            self._changed()

    def _changed(self) -> None:
        self._read()
        self.session.changed()
