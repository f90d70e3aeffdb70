"""What registration minimises: similarity, smoothness, folding, overlap."""

from AutoRegLib.losses.dice import one_hot, soft_dice
from AutoRegLib.losses.diffusion import diffusion
from AutoRegLib.losses.folding import fold_penalty
from AutoRegLib.losses.lncc import lncc, lncc_loss
from AutoRegLib.losses.mind import mind_loss, mind_ssc

__all__ = [
    "diffusion",
    "fold_penalty",
    "lncc",
    "lncc_loss",
    "mind_loss",
    "mind_ssc",
    "one_hot",
    "soft_dice",
]
