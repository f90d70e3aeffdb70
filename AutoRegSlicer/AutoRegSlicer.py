"""The AutoReg module of 3D Slicer: learned registration whose network and loss are searched for your own data.

This file only wires: forms and panels (``AutoRegSlicerLib/panels``), the scene (``logic``), the jobs (``jobs``). Slicer
finds the logic and the test by their names here.
"""

import logging
import sys
import time
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import AutoRegLib  # noqa: F401 - found, or looked for beside the module
except ImportError:  # run from the source tree: the library stands beside the module's folder
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from AutoRegSlicerLib import about, logic, settings
from AutoRegSlicerLib.jobs import earlier
from AutoRegSlicerLib.jobs.jobs import Jobs
from AutoRegSlicerLib.module_logic import AutoRegSlicerLogic
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.apply_to import ApplyToPanel
from AutoRegSlicerLib.panels.environment import EnvironmentPanel, chosenInterpreter
from AutoRegSlicerLib.panels.evaluate import EvaluatePanel
from AutoRegSlicerLib.panels.footer import JobFooter
from AutoRegSlicerLib.panels.models import ModelsPanel
from AutoRegSlicerLib.panels.pairs import PairsPanel
from AutoRegSlicerLib.panels.proposal import Proposal
from AutoRegSlicerLib.panels.register import RegisterPanel
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.panels.slices import SlicesPanel
from AutoRegSlicerLib.panels.train import TrainPanel
from AutoRegSlicerLib.parameters import AutoRegSlicerParameterNode
from AutoRegSlicerLib.selftest import AutoRegSlicerTest

__all__ = ["AutoRegSlicer", "AutoRegSlicerLogic", "AutoRegSlicerTest", "AutoRegSlicerWidget"]

POLL_MILLISECONDS, LONGEST_MILLISECONDS = 500, 30_000
PAUSES = 9  # times what a look at the jobs took, before the next one
#: place and form; the places but the last are tabs, in their order
FORMS = (
    ("registerTab", "RegisterPanel"), ("registerTab", "PairsPanel"), ("trainTab", "TrainPanel"),
    ("evaluateTab", "EvaluatePanel"), ("modelsTab", "ModelsPanel"), ("jobFrame", "JobFooter"),
)


class AutoRegSlicer(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("AutoReg (learned registration)")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.parent.dependencies = []
        self.parent.contributors = ["AutoReg developers"]
        self.parent.helpText, self.parent.acknowledgementText = about.helpText(), about.acknowledgementText()
        if hasattr(slicer.app, "connect"):
            slicer.app.connect("startupCompleted()", startedUp)


def startedUp() -> None:
    """Slicer is there: offer the sample data, say what became of jobs that ran on, go on with a set-up."""
    registerSampleData()
    if slicer.util.mainWindow() is None:
        return
    if line := earlier.line(logic.defaultWorkspace()):
        logging.info(line)
        slicer.util.showStatusMessage(line, 15000)
    if settings.read(settings.AGREED):  # a set-up that needed the restart goes on where the module is open
        slicer.util.selectModule("AutoRegSlicer")


def registerSampleData() -> None:
    """Two brain scans of one person, before and after an operation, from Slicer's own sample data."""
    import SampleData

    base = slicer.util.TESTING_DATA_URL
    digests = ("998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95",
               "1a64f3f422eb3d1c9b093d1a18da354b13bcf307907c66317e2463ee530b7a97")
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="AutoReg", sampleName="AutoRegBrainPair",
        thumbnailFileName=str(Path(__file__).parent / "Resources" / "Icons" / "AutoRegSlicer.png"),
        uris=[f"{base}SHA256/{digest}" for digest in digests], fileNames=["RegLib_C01_1.nrrd", "RegLib_C01_2.nrrd"],
        checksums=[f"SHA256:{digest}" for digest in digests], nodeNames=["MRBrainTumor1", "MRBrainTumor2"],
    )


class AutoRegSlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Loads the forms, owns the timer, and keeps panels, parameter node and jobs together."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: AutoRegSlicerLogic | None = None
        self.session: Session | None = None
        self._parameterNode: Any = None
        self._parameterNodeGuiTag: Any = None
        self._chosenSet = ""  # ID of the parameter set that was shown last
        self._attached = self._reloading = False

    def setup(self) -> None:
        """Build the panels. Reads small files only: nothing is imported, downloaded or started here."""
        ScriptedLoadableModuleWidget.setup(self)
        top = slicer.util.loadUI(self.resourcePath("UI/AutoRegSlicer.ui"))
        self.layout.addWidget(top)
        self.layout.addStretch(1)
        forms = [top]
        frame = slicer.util.childWidgetVariables(top)
        for place, name in FORMS:
            form = slicer.util.loadUI(self.resourcePath(f"UI/{name}.ui"))
            getattr(frame, place).layout().addWidget(form)
            forms.append(form)
        self.ui = slicer.util.childWidgetVariables(top)
        self.ui.parameterNodeSelector.addAttribute("vtkMRMLScriptedModuleNode", "ModuleName", self.moduleName)
        self.ui.parameterNodeSelector.setNodeTypeLabel(_("AutoReg settings"), "vtkMRMLScriptedModuleNode")
        for form in forms:
            form.setMRMLScene(slicer.mrmlScene)
        self._forms = forms  # PythonQt keeps no reference of its own

        self.logic = AutoRegSlicerLogic()
        self.session = Session(self.ui, slicer.mrmlScene, Jobs(logic.defaultWorkspace(), chosenInterpreter()),
                               qtbits.Dialogs(top))
        self.environmentPanel = EnvironmentPanel(self.session)
        self.registerPanel, self.pairsPanel = RegisterPanel(self.session), PairsPanel(self.session)
        self.trainPanel = TrainPanel(self.session)
        self.slicesPanel, self.evaluatePanel = SlicesPanel(self.session), EvaluatePanel(self.session)
        self.modelsPanel = ModelsPanel(self.session)
        self.applyToPanel, self.footer = ApplyToPanel(self.session), JobFooter(self.session)
        self.proposal = Proposal(self.session)
        self.session.panels = [self.proposal, self.environmentPanel, self.registerPanel, self.pairsPanel,
                               self.trainPanel,
                               self.slicesPanel, self.evaluatePanel, self.applyToPanel, self.modelsPanel, self.footer]

        qtbits.on(self.ui.parameterNodeSelector, "currentNodeChanged", self.parameterNodeChosen)

        qtbits.on(self.ui.workflowTabWidget, "currentChanged", self.fitTabs)
        self.fitTabs()

        self._timer, self._pause = qt.QTimer(), POLL_MILLISECONDS
        self._timer.setInterval(POLL_MILLISECONDS)
        qtbits.on(self._timer, "timeout", self.lookAtJobs)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartSaveEvent, lambda *_: self.session.leave("saving"))
        self.addObserver(scene, scene.EndSaveEvent, lambda *_: self.session.comeBack("saving"))
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
            self.addObserver(scene, event, self.onNodesChanged)

    def cleanup(self) -> None:
        """The module is going away, since Slicer ends or reloads it: jobs go on, unless the user wants them stopped.

        Nothing can be asked here: when Slicer ends, its windows are closed already.
        """
        self._timer.stop()
        self.environmentPanel.stop()
        self.session.leave("module")
        self.setParameterNode(None)
        self.removeObservers()
        self.session.panels = []  # what still waits to be shown must not reach for widgets that are gone
        for form in self._forms if self._reloading else ():  # these live on, hidden
            form.setMRMLScene(None)
        if settings.read(settings.STOP_JOBS) and not self._reloading:
            self.session.jobs.stop()

    def onReload(self) -> None:
        """For developers: the files of both libraries are read again with this one."""
        self._reloading = True
        for name in [n for n in sys.modules if n.split(".")[0] in ("AutoRegSlicerLib", "AutoRegLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """The user opens the module: find earlier jobs, look for a GPU, show the parameters."""
        self.initializeParameterNode()
        if not self._attached:
            self._attached = True
            self.session.jobs.attachExisting()
            self.session.modelsChanged()
            self.environmentPanel.check()
            self._timer.start()
        self.session.comeBack("module")
        self.session.poll()

    def lookAtJobs(self) -> None:
        """The timer's turn; where disks answer slowly it comes so seldom that the window is free most of the time."""
        began = time.monotonic()
        self.session.poll()
        pause = max(POLL_MILLISECONDS, min(round(PAUSES * 1000 * (time.monotonic() - began)), LONGEST_MILLISECONDS))
        if pause != self._pause:
            self._pause = pause
            self._timer.setInterval(pause)

    def exit(self) -> None:
        """Another module is shown: the scene and the views are as the user had them; jobs are still looked after."""
        self.session.leave("module")
        self.unbind()

    def fitTabs(self) -> None:
        """The tabs are as high as the one that is shown, so that the job below stays in sight."""
        current = qtbits.read(self.ui.workflowTabWidget, "currentIndex")
        *tabs, frame = dict.fromkeys(place for place, _name in FORMS)
        for (place, _name), form in zip(FORMS, self._forms[1:], strict=True):
            form.setVisible(place in (frame, tabs[current]))

    # ---- scene and parameters

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        self.session.leave("closing")
        self.setParameterNode(None)
        self.session.sceneClosed()
        for panel in (self.registerPanel, self.slicesPanel, self.evaluatePanel, self.applyToPanel):
            panel.sceneClosed()

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        self.session.comeBack("closing")
        if self._attached and not slicer.mrmlScene.IsImporting():
            self.initializeParameterNode()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        self.session.leave("loading")
        logic.restoreResults(slicer.mrmlScene)
        self.session.comeBack("loading")
        if self._attached:
            self.initializeParameterNode()

    def onNodesChanged(self, caller: Any, event: Any) -> None:
        if not slicer.mrmlScene.IsBatchProcessing():
            self.session.changed()

    def initializeParameterNode(self) -> None:
        """Take the parameter set that was chosen last, else the scene's first, made where there is none."""
        chosen = slicer.mrmlScene.GetNodeByID(self._chosenSet)
        own = chosen is not None and chosen.GetAttribute("ModuleName") == self.moduleName
        self.setParameterNode(AutoRegSlicerParameterNode(chosen) if own else self.logic.getParameterNode())
        self.proposal.refresh()

    def parameterNodeChosen(self) -> None:
        node = self.ui.parameterNodeSelector.currentNode()
        if self._parameterNode is not None and node is not None and node is not self._parameterNode.parameterNode:
            self.setParameterNode(AutoRegSlicerParameterNode(node))

    def setParameterNode(self, parameters: Any) -> None:
        """Bind the panels to a parameter set, or to none."""
        self.unbind()
        self._parameterNode = self.session.parameters = parameters
        if parameters is not None:
            self._parameterNodeGuiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self._chosenSet = parameters.parameterNode.GetID()
            self.ui.parameterNodeSelector.setCurrentNode(parameters.parameterNode)
            self.slicesPanel.parametersChanged()
            self.trainPanel.parametersChanged()
            self.session.changed()

    def unbind(self) -> None:
        """Panels and parameters go separate ways; a result that arrives later still knows where it belongs."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self._parameterNode = None

    def onParametersModified(self, caller: Any = None, event: Any = None) -> None:
        self.session.changed()
