"""The logic class that Slicer makes for the module: for scripts, and for the module's parameter sets."""

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from AutoRegSlicerLib import logic
from AutoRegSlicerLib.parameters import AutoRegSlicerParameterNode


class AutoRegSlicerLogic(ScriptedLoadableModuleLogic):
    """For scripts: ``AutoRegSlicerLogic().registerVolumes(...)``; the same functions as ``AutoRegSlicerLib.logic``."""

    registerVolumes = staticmethod(logic.registerVolumes)
    registerCases = staticmethod(logic.registerCases)
    applyToNodes = staticmethod(logic.applyToNodes)
    computeMetrics = staticmethod(logic.computeMetrics)
    exportScenario = staticmethod(logic.exportScenario)

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.isSingletonParameterNode = False  # a scene may hold several parameter sets

    def getParameterNode(self) -> AutoRegSlicerParameterNode:
        """The parameters, typed."""
        return AutoRegSlicerParameterNode(super().getParameterNode())
