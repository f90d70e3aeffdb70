"""The two-stream network that tells the regularity of a pair from its images, and its folder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import from_plain, make_folder, read_json, to_plain, within, write_json, write_whole
from AutoRegLib.networks.common import check_pair, standardise
from AutoRegLib.networks.operators import convolution

SCHEMA = "autoreg-regularity-predictor/1"
SETTINGS, WEIGHTS = "predictor.json", "weights.safetensors"
_SMALLEST = 8  # voxels an axis: three times halved


@dataclass(frozen=True)
class PredictorSettings:
    """The sizes of the network. ``streams``: channels of each image's blocks, all but the last of which halve the
    grid; ``fusion``: channels of the blocks on both.
    """

    spatial_dims: int = within(2, 2, 3)
    streams: tuple[int, ...] = within((8, 16, 32, 32), 1, 4096)
    fusion: tuple[int, ...] = within((32, 32, 32), 1, 4096)
    kernel: int = within(5, 1, 15)


class RegularityPredictor(nn.Module):
    """Blocks of convolution, batch norm, PReLU and max-pooling for each image, blocks on both, average, linear.

    The two images have weights of their own, since exchanging them exchanges the direction of the deformation. What the
    last layer says is scaled by the mean and the standard deviation of the regularities that were learnt from
    (``centre``, ``spread``), so that the loss is that of α itself and the rate need not know its size. The answer is
    at least a tenth of the smallest α learnt from (``floor``): a regularity is positive.

    Shape: two images (B, 1, *spatial), 8 voxels an axis or more, to (B,).
    Reference: Wang, Zhang, Deep Learning for Regularization Prediction in Diffeomorphic Image Registration (2022),
    Sec. 3.2; weights as He et al. (2015).
    """

    centre: Tensor
    spread: Tensor
    floor: Tensor

    def __init__(self, settings: PredictorSettings) -> None:
        super().__init__()
        self.settings = settings
        dims, kernel = settings.spatial_dims, settings.kernel
        pooling = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[dims]
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]

        def block(inputs: int, outputs: int, *, pooled: bool) -> list[nn.Module]:
            layers = [convolution(dims, inputs, outputs, kernel, padding=kernel // 2), norm(outputs), nn.PReLU(outputs)]
            return [*layers, pooling(2)] if pooled else layers

        def stream() -> nn.Sequential:
            sizes = (1, *settings.streams)
            return nn.Sequential(*(layer for place, (inputs, outputs) in enumerate(itertools.pairwise(sizes))
                                   for layer in block(inputs, outputs, pooled=place < len(sizes) - 2)))

        sizes = (2 * settings.streams[-1], *settings.fusion)
        self.moving_stream, self.fixed_stream = stream(), stream()
        self.fusion = nn.Sequential(*(layer for inputs, outputs in itertools.pairwise(sizes)
                                      for layer in block(inputs, outputs, pooled=False)))
        self.answer = nn.Linear(settings.fusion[-1], 1)
        for name, value in (("centre", 0.0), ("spread", 1.0), ("floor", 0.0)):
            self.register_buffer(name, torch.tensor(value))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def learn_range(self, regularities: Tensor) -> None:
        """Take centre, spread and floor from the regularities of the training pairs."""
        self.centre.fill_(float(regularities.mean()))
        self.spread.fill_(max(float(regularities.std(unbiased=False)), 1e-3 * float(regularities.mean())))
        self.floor.fill_(0.1 * float(regularities.min()))

    def scaled(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """The answer before it is brought back to α's own scale: what is trained. Raises InputError (shapes, size)."""
        check_pair(moving, fixed, self.settings.spatial_dims)
        if min(fixed.shape[2:]) < _SMALLEST:
            raise InputError("the images are too small to tell a regularity from",
                             expected=f"{_SMALLEST} voxels an axis or more", got=tuple(fixed.shape[2:]),
                             remedy="give the regularity as a number")
        features = torch.cat((self.moving_stream(standardise(moving)), self.fixed_stream(standardise(fixed))), dim=1)
        return self.answer(self.fusion(features).flatten(2).mean(-1))[:, 0]

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """The regularity of each pair. Raises InputError (shapes, size)."""
        return torch.maximum(self.centre + self.spread * self.scaled(moving, fixed), self.floor)


@dataclass(frozen=True)
class Predictor:
    """A trained predictor: the network in evaluation mode, the spacing (mm) of the grids in whose squared voxels it
    tells regularities, and what is known of it.
    """

    path: Path
    network: RegularityPredictor
    spacing: float
    facts: Mapping[str, Any]


def save_predictor(
    path: str | Path, network: RegularityPredictor, state: Mapping[str, Tensor], *, spacing: float,
    facts: Mapping[str, Any],
) -> Path:
    """Write the folder; each file appears whole, the settings last, so half a predictor never loads.

    Raises DiskError.
    """
    folder = make_folder(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    write_whole(folder / WEIGHTS, lambda temporary: save_file(tensors, temporary))
    write_json(folder / SETTINGS, {"network": to_plain(network.settings), "spacing": spacing, "facts": dict(facts)},
               schema=SCHEMA)
    return folder


def load_predictor(path: str | Path, *, device: str = "cpu") -> Predictor:
    """The predictor in a folder. Raises InputError (missing, damaged)."""
    folder = Path(path)
    plain = read_json(folder / SETTINGS, schema=SCHEMA)
    settings = from_plain(PredictorSettings, plain.get("network"), where=f"{folder / SETTINGS}: network")
    network = RegularityPredictor(settings)
    spacing = plain.get("spacing")
    try:
        if not isinstance(spacing, (int, float)) or not 0 < spacing < math.inf:
            raise ValueError(f"a spacing of {spacing}")
        network.load_state_dict(load_file(folder / WEIGHTS, device="cpu"))
        if not all(math.isfinite(float(value)) for value in (network.centre, network.spread, network.floor)):
            raise ValueError("a range that is not finite")
    except Exception as problem:  # safetensors raises its own type, torch a RuntimeError
        raise InputError(f"the predictor in {folder} is damaged", expected="the folder as it was trained",
                         got=str(problem).split("\n")[0][:120], remedy="copy the whole folder again, or train it again"
                         ) from None
    return Predictor(folder, network.to(device).eval(), float(spacing), plain.get("facts") or {})
