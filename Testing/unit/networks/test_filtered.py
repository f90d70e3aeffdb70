"""The learnt filter behind a network: what it does to the field, its two forms, its scale, its start."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import FieldFilter, Network, Objective, Recipe
from AutoRegLib.core.recipe_loss import with_own_loss
from AutoRegLib.fields.prediction import integrate
from AutoRegLib.losses.field_filter import asymmetry
from AutoRegLib.losses.objective import as_weights, registration_loss
from AutoRegLib.networks.filtered import Filtered, convolved
from AutoRegLib.networks.registry import build_network


def network_of(name: str, dims: int, width: int = 13, form: str = "free") -> Filtered:
    settings = FieldFilter(width, form)  # type: ignore[arg-type]
    recipe = Recipe(spatial_dims=dims, network=Network(name=name, filter=settings))
    network = build_network(recipe).eval()
    made = torch.Generator().manual_seed(5)
    for key, value in network.named_parameters():
        if "head" in key:
            value.data = torch.randn(value.shape, generator=made) * 0.2
    assert isinstance(network, Filtered)
    return network


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.rand(2, 1, *shape, generator=made), torch.rand(2, 1, *shape, generator=made)


@pytest.mark.parametrize("shape", [(17, 21), (9, 12, 14)])
@pytest.mark.parametrize("width", [3, 7, 13])
def test_convolution_is_torch_s(shape: tuple[int, ...], width: int) -> None:
    made = torch.Generator().manual_seed(1)
    field = torch.randn(2, len(shape), *shape, generator=made, dtype=torch.float64)
    kernel = torch.randn([width] * len(shape), generator=made, dtype=torch.float64)
    padded = F.pad(field, (width // 2, width // 2) * len(shape), mode="replicate")
    plain = F.conv2d if len(shape) == 2 else F.conv3d
    expected = plain(padded, kernel[None, None].expand(len(shape), 1, *kernel.shape), groups=len(shape))
    assert (convolved(field, kernel) - expected).abs().max() < 1e-10


@pytest.mark.parametrize("form", ["free", "gram"])
@pytest.mark.parametrize("dims", [2, 3])
def test_starts_near_a_gaussian_and_keeps_its_norm(dims: int, form: str) -> None:
    network = network_of("voxelmorph1", dims, form=form)
    kernel = network.kernel().detach()
    assert kernel.shape == (13,) * dims and kernel.flatten().argmax() == 13**dims // 2
    assert abs(float(kernel.sum()) - 1) < 0.1
    with torch.no_grad():
        network.weights.mul_(5.0)
    assert torch.allclose(network.kernel(), kernel, atol=1e-6), "its scale is the network's to choose"
    if form == "gram":
        assert all(torch.equal(kernel, kernel.transpose(0, axis)) or torch.allclose(
            kernel, kernel.transpose(0, axis), atol=1e-7) for axis in range(dims))
        if dims == 2:
            assert torch.linalg.eigvalsh(kernel.double()).min() > -1e-7


def test_the_field_of_a_network_is_filtered_once() -> None:
    images = pair(20, 24)
    plain, velocity = network_of("voxelmorph1", 2), network_of("voxelmorph_diff_deterministic", 2)
    bare = plain.network(*images).displacement
    assert torch.allclose(plain(*images).displacement, convolved(bare, plain.kernel()), atol=1e-6)
    answer = velocity(*images)
    smooth = convolved(velocity.network(*images).velocity, velocity.kernel())
    padded = [2 * size for size in smooth.shape[2:]]
    expected = integrate(smooth, padded, squarings=7)[:, :, :20, :24]
    assert torch.allclose(answer.velocity, smooth) and torch.allclose(answer.displacement, expected, atol=1e-5)


@pytest.mark.parametrize("form", ["free", "gram"])
def test_loss_reaches_the_filter_and_the_penalty_makes_it_symmetric(form: str) -> None:
    settings = FieldFilter(0, form)  # type: ignore[arg-type]
    recipe = with_own_loss(Recipe(spatial_dims=2, network=Network(name="metareg", filter=settings)))
    assert recipe.network.filter.width == 13 and recipe.objective.data_term == "mse"
    network, images = build_network(recipe), pair(32, 32)
    assert network(*images).displacement.abs().max() < 1e-2
    terms = registration_loss(network(*images), *images, as_weights(recipe.loss_weights), objective=recipe.objective)
    assert "filter" in terms
    terms["total"].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in network.parameters())
    made = torch.Generator().manual_seed(2)
    network.weights.data += 0.1 * torch.randn(network.weights.shape, generator=made)  # type: ignore[union-attr, operator]
    before = float(asymmetry(network.kernel().detach()))  # type: ignore[operator]
    optimiser = torch.optim.Adam([network.weights], lr=3e-3)  # type: ignore[list-item]
    for _ in range(100):
        optimiser.zero_grad()
        asymmetry(network.kernel()).backward()  # type: ignore[operator, no-untyped-call]
        optimiser.step()
    assert float(asymmetry(network.kernel().detach())) < 0.1 * before  # type: ignore[operator]


def test_ablation_has_no_penalty() -> None:
    network, images = network_of("metareg", 2), pair(16, 16)
    objective = Objective(filter_symmetry=0.0, filter_trace=0.0)
    terms = registration_loss(network(*images), *images, as_weights(Recipe().loss_weights), objective=objective)
    assert float(terms["filter"]) == 0.0


def test_filters_without_a_middle_are_refused() -> None:
    with pytest.raises(InputError, match="middle"):
        FieldFilter(12)
