"""Falling back when training goes wrong: to the last good weights, at half the rate.

A network that pushes the moving image out of view has nothing left to learn from: its loss stays high and finite. The
measure of "wrong" is therefore not infinity but the loss of an untrained network, which leaves the image in place.
"""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import nn, optim

EVERY = 25  # steps between two good states
MOST = 5  # falls before training gives up
_MEMORY = 0.9  # of the running loss: some ten steps


class Guard:
    """Watches the loss of every step and keeps the last good state of network and optimiser."""

    def __init__(self) -> None:
        self.untrained: float | None = None
        self.level = 0.0
        self.falls = 0
        self.good: dict[str, Any] | None = None

    @property
    def rate(self) -> float:
        """The factor on the learning rate."""
        return 0.5**self.falls

    def watch(self, loss: float, network: nn.Module, optimiser: optim.Optimizer, *, step: int) -> bool:
        """Take note of a step; True when the state was put back because the loss is worse than untrained."""
        if self.untrained is None:
            self.untrained = self.level = loss
        if not math.isfinite(loss):
            return self._fall(network, optimiser)
        self.level = _MEMORY * self.level + (1.0 - _MEMORY) * loss
        # a batch or two may be hard; ten in a row worse than doing nothing are not chance
        if self.good is not None and self.level > 1.05 * self.untrained:
            return self._fall(network, optimiser)
        if step % EVERY == 0 and self.level <= self.untrained:
            self.good = copy.deepcopy({
                "network": network.state_dict(), "optimiser": optimiser.state_dict(), "level": self.level,
            })
        return False

    def _fall(self, network: nn.Module, optimiser: optim.Optimizer) -> bool:
        if self.good is None:
            self.falls = MOST + 1  # nothing to go back to
            return False
        network.load_state_dict(self.good["network"])
        optimiser.load_state_dict(copy.deepcopy(self.good["optimiser"]))
        self.level = self.good["level"]
        self.falls += 1
        return True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"untrained": self.untrained, "level": self.level, "falls": self.falls, "good": self.good}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.untrained, self.level, self.falls, self.good = (
            state[name] for name in ("untrained", "level", "falls", "good")
        )
