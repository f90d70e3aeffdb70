"""The door to the scene: everything the panels, the self test and scripts call. No Qt; nodes in, nodes out.

Coordinates are mm: RAS in the scene, LPS in files. No function changes an input node or where it is saved.
Functions named ``...Steps`` are generators that do the same one node at a time, for callers that must not block.
"""

from AutoRegSlicerLib.registration.apply import alignCenters, applyToNodes, previewOn
from AutoRegSlicerLib.registration.cases import (
    casesWith,
    checkCases,
    countPairs,
    exportScenario,
    exportScenarioSteps,
    readCaseTable,
    searchLabelsSteps,
)
from AutoRegSlicerLib.registration.checks import checkRegistration, require
from AutoRegSlicerLib.registration.exports import exportRegistration, exportRegistrationSteps
from AutoRegSlicerLib.registration.metrics import computeMetrics, computeMetricsSteps
from AutoRegSlicerLib.registration.results import importRegistration, importRegistrationSteps, restoreResults
from AutoRegSlicerLib.registration.scripting import registerCases, registerSequence, registerVolumes
from AutoRegSlicerLib.scene.plots import updateSearchPlots, updateTrainingPlots
from AutoRegSlicerLib.scene.segmentations import isSearched
from AutoRegSlicerLib.scene.tables import exportTable
from AutoRegSlicerLib.scene.values import (
    CaseRow,
    Message,
    RegistrationInputs,
    RegistrationOutputs,
    RegistrationResult,
)
from AutoRegSlicerLib.settings import defaultWorkspace

__all__ = [
    "CaseRow", "Message", "RegistrationInputs", "RegistrationOutputs", "RegistrationResult", "alignCenters",
    "applyToNodes", "casesWith", "checkCases", "checkRegistration", "computeMetrics", "computeMetricsSteps",
    "countPairs", "defaultWorkspace", "exportRegistration", "exportRegistrationSteps", "exportScenario",
    "exportScenarioSteps", "exportTable", "importRegistration", "importRegistrationSteps", "isSearched",
    "previewOn", "readCaseTable", "registerCases", "registerSequence", "registerVolumes", "require", "restoreResults",
    "searchLabelsSteps", "updateSearchPlots", "updateTrainingPlots",
]
