"""VoxelMorph's sizes and VM-diff: what is drawn and when, its divergence against torch's, its own loss."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from AutoRegLib.core.recipe import Network, Recipe
from AutoRegLib.core.recipe_loss import with_own_loss
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.losses.objective import as_weights, registration_loss
from AutoRegLib.networks.registry import build_network, count_parameters
from AutoRegLib.search.upper_variables import searched_weights


def recipe_of(name: str, dims: int = 2, seed: int = 0) -> Recipe:
    return with_own_loss(Recipe(spatial_dims=dims, network=Network(name=name), seed=seed))


@pytest.mark.parametrize(("name", "count"), [
    ("voxelmorph1", 259_675), ("voxelmorph2", 300_547), ("voxelmorph_diff", 266_374),
    ("voxelmorph_diff_deterministic", 265_075)])
def test_sizes_are_those_of_the_papers(name: str, count: int) -> None:
    assert count_parameters(build_network(recipe_of(name, 3))) == count


def test_velocity_is_drawn_in_training_alone_and_the_same_again() -> None:
    made = torch.Generator().manual_seed(0)
    pair = [torch.rand(2, 1, 20, 24, generator=made) for _ in range(2)]
    network = build_network(recipe_of("voxelmorph_diff"))
    torch.nn.init.constant_(network.spread.bias, -2.0)  # type: ignore[union-attr, arg-type]
    first = network(*pair)
    torch.rand(5)
    assert torch.equal(first.velocity, network(*pair).velocity)
    mean, log_variance = first.law
    other = build_network(recipe_of("voxelmorph_diff", seed=1))
    other.load_state_dict(network.state_dict())
    assert not torch.equal(first.velocity, other(*pair).velocity)
    noise = (first.velocity - mean) / (0.5 * log_variance).exp()
    assert abs(float(noise.detach().std()) - 1) < 0.1 and abs(float(noise.detach().mean())) < 0.1
    answer = network.eval()(*pair)
    assert torch.equal(answer.velocity, answer.law[0]) and torch.equal(
        answer.displacement, other.eval()(*pair).displacement)


def test_divergence_is_that_of_torch() -> None:
    """Smoothness and KL term together are ``weight * KL / components`` to a constant: differences of both agree."""
    shape, dims = (3, 4), 2
    weights = {"similarity_mix": 1.0, "smoothness": 0.7, "kl": 0.2}
    recipe = recipe_of("voxelmorph_diff")
    nodes = torch.arange(12).view(shape)
    laplacian = torch.zeros(12, 12, dtype=torch.float64)
    for a, b in [*zip(nodes[1:].flatten(), nodes[:-1].flatten(), strict=True),
                 *zip(nodes[:, 1:].flatten(), nodes[:, :-1].flatten(), strict=True)]:
        laplacian[a, a] += 1
        laplacian[b, b] += 1
        laplacian[a, b] -= 1
        laplacian[b, a] -= 1
    tiny = 1e-7  # the prior leaves a constant velocity free: its matrix has no inverse without

    def by_torch(mean: torch.Tensor, log_variance: torch.Tensor, precision: float) -> float:
        prior = MultivariateNormal(torch.zeros(12, dtype=torch.float64),
                                   precision_matrix=precision * laplacian + tiny * torch.eye(12, dtype=torch.float64))
        return sum(float(kl_divergence(MultivariateNormal(m.flatten(), torch.diag(v.exp().flatten())), prior))
                   for m, v in zip(mean[0], log_variance[0], strict=True)) / mean[0].numel()

    def ours(mean: torch.Tensor, log_variance: torch.Tensor) -> float:
        image = torch.zeros(1, 1, 6, 8, dtype=torch.float64)
        answer = Prediction(image.new_zeros(1, 2, 6, 8), mean, law=(mean, log_variance))
        terms = registration_loss(answer, image, image, {**as_weights(recipe.loss_weights), **weights},
                                  objective=recipe.objective)
        return float(terms["total"])

    made = torch.Generator().manual_seed(1)
    laws = [tuple(torch.randn(1, dims, *shape, generator=made, dtype=torch.float64) for _ in range(2))
            for _ in range(2)]
    precision = 2 * weights["smoothness"] / (dims * weights["kl"])
    flat = [(torch.zeros_like(mean), spread) for mean, spread in laws]
    theirs = by_torch(*flat[0], precision) - by_torch(*flat[1], precision)
    assert ours(*flat[0]) - ours(*flat[1]) == pytest.approx(weights["kl"] * theirs, rel=1e-5)
    # diffusion is a mean over the steps of an axis, 2 of its 3 voxels here
    sloped = laws[0][0][..., :1].expand(1, dims, *shape).contiguous()
    theirs = by_torch(sloped, laws[0][1], precision) - by_torch(*flat[0], precision)
    assert ours(sloped, laws[0][1]) - ours(*flat[0]) == pytest.approx(1.5 * weights["kl"] * theirs, rel=1e-5)


def test_its_own_weights_are_searched() -> None:
    assert set(searched_weights(recipe_of("voxelmorph_diff"))) == {"smoothness", "kl"}
    assert set(searched_weights(recipe_of("voxelmorph_diff_deterministic"))) == {"smoothness"}
    assert recipe_of("voxelmorph_diff").objective.data_term == "mse"
    assert recipe_of("voxelmorph2").objective.data_term == "lncc"
