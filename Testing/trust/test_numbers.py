"""32 bits against 64 through a whole registration; the same bits again; other numbers of threads stay close."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from AutoRegLib.bundle import load_bundle
from AutoRegLib.imaging.displacement import pull_back
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.metrics import lncc
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pipeline import register_volumes
from benchmarks.double_precision import apart, fields, in_double

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def images(dims: int) -> tuple[Volume, Volume]:
    """Rings with texture, and the same moved by up to two voxels."""
    size = (48, 40, 32)[:dims]
    geometry = Geometry(size, (1.5, 1.0, 2.0)[:dims], (0.0,) * dims, tuple(np.eye(dims).ravel()))
    index = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in geometry.shape), indexing="ij"))
    moved = index + 0.06 * np.sin(3 * index[::-1])

    def image(at: np.ndarray) -> Volume:
        radius = np.linalg.norm(at, axis=0)
        array = np.cos(9 * radius) * np.exp(-(radius**2)) + 0.2 * np.sin(13 * at[0]) * np.cos(11 * at[-1])
        return Volume((400 * array).astype(np.float32), geometry, "intensity")

    return image(index), image(moved)


@pytest.mark.parametrize("name", ["autoreg-2d", "multiprop-2d", "autoreg-correlation-3d"])
def test_a_network_in_32_bits_is_that_in_64(name: str) -> None:
    model = load_bundle(GOLDEN / name)
    found = fields(model, *images(model.recipe.spatial_dims), refine=0)
    first = found.pop("32 bits")
    far = {way: apart(first, field)[0] for way, field in found.items()}
    assert far["again"] == 0 and far["2 threads"] < 1e-4 and far["64 bits"] < 1e-3


def test_a_refinement_in_32_bits_is_as_good_as_in_64() -> None:
    """Its steps have one length wherever there is any gradient, so where the images say nothing it goes elsewhere."""
    fixed, moving = images(2)
    found = fields(no_network(fixed.geometry, moving.geometry), fixed, moving, refine=10)
    first = found.pop("32 bits")
    far = {way: apart(first, field) for way, field in found.items()}
    assert far["again"] == (0, 0) and max(far["2 threads"][1], far["64 bits"][1]) < 0.3
    alike = [lncc(fixed, pull_back(moving, field)) for field in (first, found["64 bits"])]
    assert min(alike) > lncc(fixed, moving) + 0.1 and abs(alike[0] - alike[1]) < 0.01


def test_the_reference_is_in_64_bits() -> None:
    seen: list[torch.dtype] = []
    model = load_bundle(GOLDEN / "autoreg-2d")
    model.network.register_forward_hook(
        lambda _, given, answer: seen.extend([given[0].dtype, answer.displacement.dtype]))
    with in_double(model):
        register_volumes(model, *images(2))
    register_volumes(model, *images(2))
    assert seen == [torch.float64, torch.float64, torch.float32, torch.float32]
