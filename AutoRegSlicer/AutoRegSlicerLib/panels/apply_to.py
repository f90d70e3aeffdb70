"""The last section of the third tab: volumes, segmentations, models and markups that go along."""

from __future__ import annotations

from typing import Any

import vtk
from slicer.i18n import tr as _

from AutoRegSlicerLib import logic
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.choices import Direction
from AutoRegSlicerLib.panels.session import Session

TARGETS = ["vtkMRMLVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLModelNode", "vtkMRMLMarkupsNode"]


class ApplyToPanel:
    """Shows the selected nodes under the output transform for a moment, or makes warped copies."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        qtbits.write(self.ui.applyTargetsTreeView, "nodeTypes", TARGETS)
        qtbits.on(self.ui.applyTargetsTreeView, "currentItemsChanged", self.session.changed)
        qtbits.on(self.ui.previewApplyButton, "toggled", self.preview)
        qtbits.on(self.ui.hardenCopiesButton, "clicked", self.copies)

    def refresh(self) -> None:
        p = self.session.parameters
        if p is None:
            return
        on, inverse = bool(qtbits.read(self.ui.previewApplyButton, "checked")), p.direction is Direction.FixedToMoving
        reasons = [] if p.outputTransform else [_("There is no result yet: register first.")]
        reasons += [] if self.targets() else [_("Select volumes, segmentations, models or markups above.")]
        qtbits.offer(self.ui.hardenCopiesButton, reasons, _("Make warped copies; the selected nodes stay as they are."))
        one_way = [_("The preview shows moving to fixed only: make warped copies instead.")] if inverse else []
        qtbits.offer(self.ui.previewApplyButton, [] if on else reasons + one_way, _(
            "Show the selected nodes under the transform for a moment; press again to undo."))

    def targets(self) -> list[Any]:
        """The nodes that are selected in the tree."""
        ids, tree = vtk.vtkIdList(), self.ui.applyTargetsTreeView
        tree.currentItems(ids)
        hierarchy = tree.subjectHierarchyNode()
        nodes = [hierarchy.GetItemDataNode(ids.GetId(i)) for i in range(ids.GetNumberOfIds())]
        return [node for node in nodes if node is not None]

    def preview(self) -> None:
        """Selected nodes under the transform; the second press puts every one back under what it was under."""
        if qtbits.read(self.ui.previewApplyButton, "checked"):
            self.session.previews.show("apply to", self.targets(), self.session.parameters.outputTransform)
        else:
            self.session.previews.hide("apply to")
        self.session.changed()

    def copies(self) -> None:
        """Warped copies of the selected nodes, one after the other so that the window stays alive."""
        p, nodes = self.session.parameters, self.targets()
        transform, inverse = p.outputTransform, p.direction is Direction.FixedToMoving

        def work() -> Any:
            made = []
            for node in nodes:
                made += logic.applyToNodes(self.session.scene, transform, [node], None, inverse)
                yield node.GetName()
            return made

        self.session.run(work, self.done, lambda problem: self.session.explain(self.ui.evaluateMessageLabel, problem))

    def done(self, made: list[Any]) -> None:
        names = ", ".join(node.GetName() for node in made)
        qtbits.show(self.ui.evaluateMessageLabel, _("Made: {names}.").format(names=names))

    def sceneClosed(self) -> None:
        self.ui.previewApplyButton.setChecked(False)
