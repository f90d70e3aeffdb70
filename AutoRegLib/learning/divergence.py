"""Falling back when training goes wrong: to the last good weights, at half the rate.

A network that pushes the moving image out of view has nothing left to learn from: its loss stays high and finite. The
measure of "wrong" is therefore not infinity but the loss of an untrained network, which leaves the image in place.
Pairs lie differently far apart, in some sets tenfold: that the running loss is above that of the first batch is a
suspicion, and only the untrained network's own loss on the next batches makes it certain.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from torch import nn, optim

EVERY = 25  # steps between two good states
MOST = 5  # falls before training gives up
_MEMORY = 0.9  # of the running loss: some ten steps
_CERTAIN = 3  # batches on which the untrained network is asked


class Guard:
    """Watches the loss of every step and keeps the last good state of network and optimiser."""

    def __init__(self) -> None:
        self.untrained: float | None = None
        self.asked = 1  # batches of which the untrained loss is the mean
        self.level = 0.0
        self.falls = 0
        self.good: dict[str, Any] | None = None
        self.doubts: list[tuple[float, float]] = []  # (loss, untrained loss) of the batches under suspicion

    @property
    def rate(self) -> float:
        """The factor on the learning rate."""
        return 0.5**self.falls

    def watch(
        self, loss: float, network: nn.Module, optimiser: optim.Optimizer, *, step: int,
        untrained: Callable[[], float],
    ) -> bool:
        """Take note of a step; True when the state was put back because the loss is worse than untrained.

        ``untrained``: the loss of an untrained network on the batch of this step; asked for under suspicion alone.
        """
        if self.untrained is None:
            self.untrained = self.level = loss
        if not math.isfinite(loss):
            return self._fall(network, optimiser)
        self.level = _MEMORY * self.level + (1.0 - _MEMORY) * loss
        if self.good is None or self.level <= 1.05 * self.untrained:
            self.doubts = []
        elif self._worse(loss, untrained()):
            return self._fall(network, optimiser)
        # at first no running loss may be as low as the first batch's: then this batch alone decides
        if step % EVERY == 0 and (
                self.level <= self.untrained or (self.good is None and loss <= 1.05 * untrained())):
            self.good = copy.deepcopy({
                "network": network.state_dict(), "optimiser": optimiser.state_dict(), "level": self.level,
            })
        return False

    def _worse(self, loss: float, untrained: float) -> bool:
        """Whether enough batches say that an untrained network does better. What it has on them sets
        from where on training is suspected, so that it is not asked all the time where the first batch was easy.
        """
        self.doubts.append((loss, untrained))
        if len(self.doubts) < _CERTAIN:
            return False
        ours, theirs = map(sum, zip(*self.doubts, strict=True))
        for _, known in self.doubts:
            self.asked += 1
            self.untrained = (self.untrained or 0.0) + (known - (self.untrained or 0.0)) / self.asked
        self.doubts = []
        return ours > 1.05 * theirs

    def _fall(self, network: nn.Module, optimiser: optim.Optimizer) -> bool:
        if self.good is None:
            self.falls = MOST + 1  # nothing to go back to
            return False
        network.load_state_dict(self.good["network"])
        optimiser.load_state_dict(copy.deepcopy(self.good["optimiser"]))
        self.level, self.doubts = self.good["level"], []
        self.falls += 1
        return True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"untrained": self.untrained, "level": self.level, "falls": self.falls, "good": self.good,
                "doubts": self.doubts, "asked": self.asked}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.untrained, self.level, self.falls, self.good = (
            state[name] for name in ("untrained", "level", "falls", "good")
        )
        self.doubts, self.asked = [*state.get("doubts", [])], state.get("asked", 1)
