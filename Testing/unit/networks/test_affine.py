"""The affine map in front of a network: the identity first, the map it says, at every scale, and what it learns."""

from __future__ import annotations

import pytest
import SimpleITK as sitk
import torch

from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.recipe import Network, Objective, Recipe
from AutoRegLib.fields.warp import warp
from AutoRegLib.losses.mse import mse_loss
from AutoRegLib.losses.objective import as_weights, registration_loss
from AutoRegLib.networks.affine import AffineFirst, affine_moves
from AutoRegLib.networks.registry import build_network


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.rand(2, 1, *shape, generator=made), torch.rand(2, 1, *shape, generator=made)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(19, 22), (13, 16, 14)])
def test_identity_at_the_start_in_front_of_any_network(name: str, shape: tuple[int, ...]) -> None:
    network = build_network(Recipe(spatial_dims=len(shape), network=Network(name=name, affine_first=True))).eval()
    assert isinstance(network, AffineFirst)
    assert sum(type(m).__name__ in ("Conv2d", "Single") for m in network.convolutions) == 9
    answer = network(*pair(*shape))
    assert answer.displacement.shape == (2, len(shape), *shape) and answer.displacement.abs().max() < 2e-2


@pytest.mark.parametrize("shape", [(24, 30), (12, 16, 18)])
def test_the_map_is_simpleitk_s(shape: tuple[int, ...]) -> None:
    dims = len(shape)
    made = torch.Generator().manual_seed(2)
    map = 0.2 * torch.randn(1, dims, dims + 1, generator=made, dtype=torch.float64)
    field = affine_moves(map, torch.zeros(1, dims, *shape, dtype=torch.float64), shape)
    half = torch.tensor(shape, dtype=torch.float64) / 2
    # in voxels, components (x, y, z): scaled from half fields of view, about the centre
    matrix = torch.eye(dims, dtype=torch.float64) + half[:, None] * map[0, :, :-1] / half[None]
    transform = sitk.AffineTransform(dims)
    transform.SetMatrix(matrix.flip(0, 1).flatten().tolist())
    transform.SetTranslation((half * map[0, :, -1]).flip(0).tolist())
    transform.SetCenter(((half * 2 - 1) / 2).flip(0).tolist())
    theirs = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, shape[::-1])
    expected = torch.from_numpy(sitk.GetArrayFromImage(theirs)).movedim(-1, 0).flip(0)
    assert (field[0] - expected).abs().max() < 1e-10


def test_every_scale_says_the_same_map() -> None:
    recipe = Recipe(spatial_dims=2, network=Network(affine_first=True))
    network = build_network(recipe).eval()
    with torch.no_grad():
        network.numbers.bias.copy_(torch.tensor([0.1, -0.05, 0.2, 0.0, 0.02, -0.1]))  # type: ignore[union-attr, operator]
    answer = network(*pair(32, 40))
    for scale, field in enumerate(answer.scales, start=1):
        pooled = torch.nn.functional.avg_pool2d(answer.displacement, 2**scale) / 2**scale
        assert field.shape == pooled.shape and (field - pooled).abs().max() < 1e-2
    assert answer.velocity is None and answer.displacement.abs().max() > 2
    weights = {**as_weights(recipe.loss_weights), "half_scale": 0.0, "quarter_scale": 0.0}
    terms = registration_loss(answer, *pair(32, 40), weights, objective=Objective())
    assert float(terms["smoothness"].detach()) < 1e-5, "an affine part is not smoothed"


def test_it_learns_a_shift() -> None:
    axes = torch.meshgrid(torch.arange(32.0), torch.arange(36.0), indexing="ij")
    shifts = torch.tensor([[3.0, -2.0], [-3.0, 3.0], [2.0, 3.0], [-2.0, -3.0]])
    fixed = torch.stack([(-((axes[0] - 16) ** 2 + (axes[1] - 18) ** 2) / 30).exp()] * 4)[:, None]
    moving = warp(fixed, -shifts[:, :, None, None].expand(-1, -1, 32, 36))
    torch.manual_seed(0)
    network = AffineFirst(torch.nn.Identity(), 2)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(60):
        optimiser.zero_grad()
        field = affine_moves(network.affine(moving, fixed), torch.zeros(1, 2, 32, 36), (32, 36))
        loss = mse_loss(fixed, warp(moving, field))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    found = field.detach()[:, :, 10:22, 12:24].mean((2, 3))
    assert (found - shifts).abs().max() < 1.0
