"""What there is to compute with, and how to get what is missing: the door to ``probing``, ``plans`` and ``installing``.

Nothing here imports torch, starts pip or touches the network before the user consented.
"""

from __future__ import annotations

from AutoRegSlicerLib.environment.installing import constraintsText, install, installSteps, pipBusy
from AutoRegSlicerLib.environment.plans import (
    InstallPlan,
    consentText,
    diskNeeded,
    installPlan,
    offlineText,
    requirements,
    tooOldForTorch,
)
from AutoRegSlicerLib.environment.probing import (
    Device,
    Environment,
    Probe,
    cleanEnvironment,
    describe,
    probe,
    slicerInterpreter,
)

__all__ = [
    "Device", "Environment", "InstallPlan", "Probe", "cleanEnvironment", "consentText", "constraintsText", "describe",
    "diskNeeded", "install", "installPlan", "installSteps", "offlineText", "pipBusy", "probe", "requirements",
    "slicerInterpreter", "tooOldForTorch",
]
