"""Two volumes in the scene are what is to be registered: they are proposed as soon as they are there."""

from __future__ import annotations

from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.scene.nodes import isMadeByAutoReg, nodesOfClass

_VOLUME = "vtkMRMLScalarVolumeNode"


class Proposal:
    """Looks whenever the scene changes. What the user has chosen stays, also the choice of none."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._for = ""  # the parameter set for which it was last done
        self._seen: set[str] = set()  # the volumes that were there then

    def refresh(self) -> None:
        """Fill what is empty, once for every two volumes."""
        p, scene = self.session.parameters, self.session.scene
        if p is None or scene.IsBatchProcessing():
            return
        volumes = [node for node in nodesOfClass(scene, _VOLUME)
                   if node.GetClassName() == _VOLUME and not isMadeByAutoReg(node)]
        found = {volume.GetID() for volume in volumes}
        if self._for != p.parameterNode.GetID():
            self._for, self._seen = p.parameterNode.GetID(), set()
        if len(found) == 2 and found != self._seen:
            free = [volume for volume in volumes if volume not in (p.fixedVolume, p.movingVolume)]
            if p.fixedVolume is None:
                p.fixedVolume = free.pop(0)
            if p.movingVolume is None:
                p.movingVolume = free.pop(0)
        self._seen = found
