"""The first tab: two volumes, one model, one button."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AutoRegSlicerLib import logic
from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus
from AutoRegSlicerLib.panels import choices, qtbits
from AutoRegSlicerLib.panels.choices import InitialAlignment, refinement
from AutoRegSlicerLib.panels.frames import FrameJobs
from AutoRegSlicerLib.panels.model_choice import ModelChoice
from AutoRegSlicerLib.panels.preset_choice import PresetChoice
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.panels.summary import summarize
from AutoRegSlicerLib.registration.sequences import FrameByFrame, frameInputs, frameOutputs, frames
from AutoRegSlicerLib.scene.values import FOUND_LOSS, GEODESIC, NO_MODEL

#: outputs by the name of their results: parameter that holds the node, parameter that asks for it
OUTPUTS = {
    "transform": ("outputTransform", "createTransform"), "volume": ("outputVolume", "createVolume"),
    "segmentation": ("outputSegmentation", "createSegmentation"),
    "inverseTransform": ("outputInverseTransform", "createInverse"),
    "affineTransform": ("outputAffineTransform", "createAffine"),
    "jacobian": ("outputJacobian", "createJacobian"),
}
SWAPPED = ("Volume", "Segmentation", "Landmarks", "Mask", "Guides")


class RegisterPanel:
    """Checks after every change, starts the job, brings the result into the scene."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.own: Path | None = None  # the job this panel started
        self.frames: FrameJobs | None = None  # the sequence that is, or was last, registered
        self.requests: dict[Path, tuple[Any, Any]] = {}  # inputs and outputs of jobs of this scene
        self.action = ""
        self.summary, self.summarized = "", ()
        self.models, self.presets = ModelChoice(session), PresetChoice(session)
        session.importers["register"] = self.take
        qtbits.on(self.ui.applyButton, "clicked", self.apply)
        qtbits.on(self.ui.swapVolumesButton, "clicked", self.swap)
        qtbits.on(self.ui.registerActionButton, "clicked", self.act)
        qtbits.on(self.ui.previewOnMovingCheckBox, "toggled", self.preview)

    # ---- what is chosen

    def inputs(self) -> logic.RegistrationInputs:
        """What would be registered now."""
        p, bundle, loss = self.session.parameters, self.models.model(), self.models.loss()
        existing = p.initialAlignment is InitialAlignment.Existing
        inputs = logic.RegistrationInputs(
            p.fixedVolume, p.movingVolume, str(bundle.folder) if bundle else NO_MODEL,
            fixedSegmentation=p.fixedSegmentation, movingSegmentation=p.movingSegmentation,
            fixedLandmarks=p.fixedLandmarks, movingLandmarks=p.movingLandmarks,
            fixedMask=p.fixedMask, movingMask=p.movingMask, roi=p.roi,
            fixedGuides=p.fixedGuides, movingGuides=p.movingGuides,
            initialTransform=p.initialTransform if existing else None,
            affine="auto" if p.initialAlignment is InitialAlignment.Affine else "none",
            refine=refinement(p.refinementSteps, model=bundle is not None, geodesic=p.model == GEODESIC),
            transformation="lddmm" if p.model == GEODESIC else "svf",
            similarity="auto" if bundle or loss else p.similarity.value, loss=loss,
            inverse=p.createInverse, device=p.device.value,
        )
        if p.movingSequence is None:
            return inputs
        found = frames(p.movingSequence)
        return frameInputs(inputs, found[0][1] if found else None)

    def _choice(self) -> tuple[Any, ...]:
        """What a summary belongs to; it is not shown for anything else."""
        p = self.session.parameters
        nodes = (p.fixedVolume, p.movingVolume, p.movingSequence)
        return (*(node.GetID() if node is not None else None for node in nodes), p.model)

    def outputs(self) -> logic.RegistrationOutputs:
        """What shall come out; a node that is chosen but whose box is not set is left alone."""
        p = self.session.parameters
        nodes = {name: getattr(p, node) if getattr(p, create) else None for name, (node, create) in OUTPUTS.items()}
        outputs = logic.RegistrationOutputs(**nodes, **{create: getattr(p, create) for _, create in OUTPUTS.values()})
        return outputs if p.movingSequence is None else frameOutputs(outputs)

    # ---- looking

    def refresh(self) -> None:
        """Models, messages, and whether Apply can be pressed; cheap enough for every change."""
        if self.session.parameters is None:
            return
        self.models.refresh()
        self.presets.refresh()
        p, ui = self.session.parameters, self.ui
        for name, (_node, create) in OUTPUTS.items():
            selector = f"output{name[0].upper()}{name[1:]}Selector"
            getattr(ui, selector).setEnabled(getattr(p, create))
        learnt = self.models.model() is not None
        suffix = choices.refinementWords(p.refinementSteps or p.model == GEODESIC, model=learnt)
        qtbits.write(ui.refinementStepsSpinBox, "suffix", suffix)
        qtbits.offer(ui.similarityComboBox, *choices.similarityWords(model=learnt, found=p.model == FOUND_LOSS))
        existing = p.initialAlignment is InitialAlignment.Existing
        qtbits.offer(ui.initialTransformSelector, [] if existing else [
            _("Choose “Existing transform” above to start from a transform.")], _("The transform to start from."))
        qtbits.offer(ui.previewOnMovingCheckBox, [] if p.outputTransform else [
            _("There is no output transform yet.")], _("Put the moving volume under the output transform; it is not "
                                                       "altered. Clear this box to undo."))
        sequence = p.movingSequence is not None
        qtbits.offer(ui.movingVolumeSelector, [
            _("Every frame of the moving sequence is registered instead.")] if sequence else [],
            _("The volume that is brought onto the fixed volume."))
        for role, tip in choices.guideWords().items():
            qtbits.offer(getattr(ui, f"{role}GuidesSelector"), [
                _("Guide points belong to one moving volume: frames of a sequence are registered without them."),
            ] if sequence else [], tip)
        messages = logic.checkRegistration(self.session.scene, self.inputs(), self.outputs())
        extra = self._ownReasons()
        blocking = [message.text for message in messages if message.blocking]
        shown = [*extra, *blocking, *(message.text for message in messages if not message.blocking)]
        remedies = choices.remedyButtons()
        missing = self.session.environment is not None and not self.session.environment.ready
        self.action = "set-up" if missing else next((m.action for m in messages if m.action in remedies), "")
        ui.registerActionButton.setVisible(bool(self.action))
        if self.action:
            ui.registerActionButton.setText(remedies[self.action][0])
            ui.registerActionButton.setToolTip(remedies[self.action][1])
        if self.frames is not None:
            self.summary = self.frames.text()
        done = self.summary if self.summarized == self._choice() else ""
        qtbits.show(ui.registerMessageLabel, shown[0] if shown and (blocking or extra or not done) else done)
        self._applyButton([*extra, *blocking])

    def _applyButton(self, reasons: list[str]) -> None:
        status = self.session.status(self.own)
        if self._busy():
            self.ui.applyButton.setText(_("Cancel"))
            ending = status is not None and status.state in (JobState.Cancelling, JobState.Importing)
            qtbits.offer(self.ui.applyButton, [_("It is ending already.")] if ending else [],
                         _("Stop this registration."))
            return
        busy = self.session.busy()
        self.ui.applyButton.setText(_("Queue") if busy else _("Apply"))
        qtbits.offer(self.ui.applyButton, [*reasons, *self.session.obstacles()], _(
            "Register when the running job is done.") if busy else _("Register the moving volume onto the fixed one."))

    def _busy(self) -> bool:
        """Whether a registration of this panel is under way."""
        status = self.session.status(self.own)
        between = self.frames is not None and not self.frames.over
        return between or (status is not None and not status.state.over)

    def _ownReasons(self) -> list[str]:
        """What the scene's check cannot know: models and their dimension, the chosen transform."""
        p = self.session.parameters
        if reasons := self.models.reasons():
            return reasons
        if p.initialAlignment is InitialAlignment.Existing and p.initialTransform is None:
            return [_("Choose the initial transform under Advanced, or another initial alignment.")]
        if p.movingSequence is not None and not frames(p.movingSequence):
            return [_("The moving sequence holds no scalar volumes: choose another one, or none.")]
        return []

    # ---- buttons

    def swap(self) -> None:
        """Exchange fixed and moving, with all that belongs to them."""
        p = self.session.parameters
        for kind in SWAPPED:
            fixed, moving = getattr(p, f"fixed{kind}"), getattr(p, f"moving{kind}")
            setattr(p, f"fixed{kind}", moving)
            setattr(p, f"moving{kind}", fixed)

    def act(self) -> None:
        """The remedy that the message offers."""
        p = self.session.parameters
        if self.action == "set-up":
            self.session.setUp()
        elif self.action == "align-centers":
            p.initialTransform = logic.alignCenters(self.session.scene, p.fixedVolume, p.movingVolume)
            p.initialAlignment = InitialAlignment.Existing
            self.session.say(_("The centers are brought together by a new initial transform."))
        elif self.action == "take-off":
            p.previewOnMoving = False
            for volume in (p.fixedVolume, p.movingVolume):
                if volume is not None and volume.GetTransformNodeID() == p.outputTransform.GetID():
                    logic.previewOn(volume, None)

    def apply(self) -> None:
        """Start the registration, or stop the one that runs."""
        if self._busy():
            if self.frames is not None:
                self.frames.cancel()
            else:
                self.session.jobs.cancel(self.own)
            self.session.poll()
            return
        p, inputs, outputs = self.session.parameters, self.inputs(), self.outputs()
        self.summary, self.summarized = "", self._choice()
        self.frames = None
        if p.movingSequence is not None:
            self.frames = FrameJobs(self.session, FrameByFrame(self.session.scene, p.movingSequence, inputs, outputs))
            self.own = self.frames.folder
            return
        self.own = self.session.launch(
            "register", _("{moving} to {fixed}").format(moving=p.movingVolume.GetName(), fixed=p.fixedVolume.GetName()),
            lambda folder: logic.exportRegistrationSteps(inputs, folder, outputs))
        self.requests[self.own] = (inputs, outputs)

    def take(self, status: JobStatus) -> Any:
        """Bring a finished registration into the scene, step by step."""
        if self.frames is not None and self.frames.owns(status.folder):
            return (yield from self.frames.take(status))
        inputs, outputs = self.requests.pop(status.folder, (None, None))  # None: found by what the job noted
        result = yield from logic.importRegistrationSteps(self.session.scene, status.folder, inputs, outputs)
        self._keep(result)
        return result

    def _keep(self, result: Any) -> None:
        """The nodes become the chosen outputs, so that Evaluate shows them and a second run fills them again."""
        p = self.session.parameters
        if p is None:
            return
        for name, (node, _create) in OUTPUTS.items():
            if getattr(result, name, None) is not None:
                setattr(p, node, getattr(result, name))
        self.session.showTables((result.metricsTable, result.landmarksTable))
        self.summary, self.summarized = summarize(result.report), self._choice()
        self.preview()
        self.session.showResult()

    def preview(self) -> None:
        """The moving volume under the output transform, or not: the one change to an input, at the user's wish."""
        p = self.session.parameters
        if p is None or p.movingVolume is None or p.outputTransform is None:
            return
        if p.previewOnMoving:
            self.session.previews.show("register", [p.movingVolume], p.outputTransform)
        else:
            self.session.previews.hide("register")
        self.session.changed()

    def follow(self, statuses: list[JobStatus]) -> None:
        """A frame may be over and the next one wait for its turn; a search may have found a loss."""
        self.models.follow(statuses)
        if self.frames is not None:
            self.frames.follow()
            self.own = self.frames.folder

    def sceneClosed(self) -> None:
        self.requests.clear()
        self.frames = None
        self.own, self.summary = None, ""
