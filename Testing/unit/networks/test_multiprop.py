"""MultiPropReg: its sizes, its variants, what is drawn and when, and its own loss with every weight searched."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from AutoRegLib.core.recipe import LossWeights, Network, Propagation, Recipe, read_recipe, write_recipe
from AutoRegLib.core.recipe_loss import contained_weights, with_own_loss
from AutoRegLib.losses.kl import kl_divergence
from AutoRegLib.losses.objective import as_weights, registration_loss
from AutoRegLib.networks.registry import build_network, count_parameters
from AutoRegLib.search.upper_variables import searched_weights

OWN = {"half_scale", "quarter_scale", "eighth_scale", "kl", "scale_smoothness", "scale_folds"}


def recipe_of(dims: int = 2, *, squarings: int = 7, **parts: Any) -> Recipe:
    network = Network(name="multiprop", squarings=squarings, propagation=Propagation(**parts))
    return with_own_loss(Recipe(spatial_dims=dims, network=network))


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.rand(2, 1, *shape, generator=made), torch.rand(2, 1, *shape, generator=made)


def awaken(network: torch.nn.Module) -> None:
    """Give the fields' last convolutions weights that matter."""
    made = torch.Generator().manual_seed(5)
    for name, value in network.named_parameters():
        if "match" in name or "context" in name:
            value.data = torch.randn(value.shape, generator=made) * 0.1


def test_size_stays_what_the_decisions_say() -> None:
    """0.526 MiB of float32 (AutoReg, Table VIII, in the unit of its other rows)."""
    assert round(count_parameters(build_network(recipe_of(3))) * 4 / 2**20, 3) == 0.526


@pytest.mark.parametrize("shape", [(64, 64), (32, 32, 32)])
def test_fresh_features_stand_above_their_noise_at_every_scale(shape: tuple[int, ...]) -> None:
    """Standardised images have the size 1. By torch's own start the coarser features were below their noise."""
    z = torch.linspace(0, 6, shape[0]).sin().view(-1, *[1] * (len(shape) - 1))
    images = [(z * x.roll(k, -1))[None, None] for k, x in enumerate([torch.linspace(0, 9, shape[-1]).cos()] * 2)]
    for seed in range(3):
        torch.manual_seed(seed)
        network = build_network(recipe_of(len(shape), scales=4)).train()
        with torch.no_grad():
            answer = network(*(image.expand(1, 1, *shape).contiguous() for image in images))
        for mean, log_variance in answer.latents:
            size, noise = float(mean.square().mean().sqrt()), float((0.5 * log_variance).exp().mean())
            assert 0.2 < size < 3 and noise < 0.5 * size


@pytest.mark.parametrize("parts", [
    {"scales": 2}, {"scales": 4}, {"pyramid": "images"}, {"matching_layers": 1}, {"matching_layers": 6},
    {"context_layers": 0}, {"context_layers": 1}, {"context_layers": 6}, {"squarings": 0},
])
@pytest.mark.parametrize("shape", [(37, 41), (17, 18, 21)])
def test_every_variant_is_the_identity_first_and_trains(parts: dict[str, Any], shape: tuple[int, ...]) -> None:
    recipe = recipe_of(len(shape), **parts)
    network, images = build_network(recipe), pair(*shape)
    assert network(*images).displacement.abs().max() < 1e-2
    awaken(network)
    prediction = network(*images)
    assert len(prediction.scales) == len(prediction.velocities) == recipe.network.propagation.scales
    assert (prediction.velocity is None) == (recipe.network.squarings == 0)
    terms = registration_loss(
        prediction, *images, as_weights(contained_weights(recipe)), objective=recipe.objective)
    assert ("kl" in terms) == (recipe.network.propagation.pyramid == "features")
    assert set(terms) >= {n for n in searched_weights(recipe) if n != "similarity_mix"}, "searched, but not computed"
    terms["total"].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in network.parameters())


def test_features_are_drawn_in_training_alone_and_the_same_again() -> None:
    images, network = pair(16, 16), build_network(recipe_of())
    awaken(network)
    torch.manual_seed(1)
    first = network(*images).displacement
    torch.manual_seed(2)
    assert torch.equal(first, network(*images).displacement), "drawn by the seed and the images"
    other = build_network(replace(recipe_of(), seed=1))
    other.load_state_dict(network.state_dict())
    awaken(other)  # in the same layout of memory
    assert not torch.equal(first, other(*images).displacement)
    assert torch.equal(network.eval()(*images).displacement, other.eval()(*images).displacement)
    assert not torch.equal(first, network(*images).displacement)


def test_kl_divergence_is_that_of_torch() -> None:
    made = torch.Generator().manual_seed(0)
    mean, log_variance = (torch.randn(2, 3, 4, 5, generator=made, dtype=torch.float64) for _ in range(2))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, (0.5 * log_variance).exp()), normal(torch.zeros_like(mean), torch.ones_like(mean))).mean()
    assert torch.allclose(kl_divergence(mean, log_variance), expected, rtol=1e-12)
    leaves = (mean.requires_grad_(), log_variance.requires_grad_())
    assert torch.autograd.gradcheck(kl_divergence, leaves, fast_mode=True)


def test_its_own_weights_are_searched_and_no_other_network_s() -> None:
    assert set(searched_weights(recipe_of())) == OWN | {"smoothness"}
    assert set(searched_weights(recipe_of(scales=4))) == OWN | {"smoothness", "sixteenth_scale"}
    assert set(searched_weights(recipe_of(pyramid="images"))) == (OWN | {"smoothness"}) - {"kl"}
    weights = recipe_of().loss_weights
    for name in ("autoreg", "voxelmorph2"):
        searched = set(searched_weights(Recipe(network=Network(name=name), loss_weights=weights)))
        assert not searched & {"kl", "eighth_scale"}


def test_terms_over_scales_weigh_each_scale() -> None:
    network, images = build_network(recipe_of()), pair(16, 16)
    awaken(network)
    prediction = network(*images)

    def kl(**scales: float) -> float:
        weights = as_weights(LossWeights(kl=1.0, **scales))
        return float(registration_loss(prediction, *images, weights, objective=Recipe().objective)["kl"].detach())

    parts = [float(kl_divergence(*latent).detach()) for latent in prediction.latents]
    assert kl(half_scale=2.0, quarter_scale=0.0, eighth_scale=3.0) == pytest.approx(2 * parts[0] + 3 * parts[2])


def test_the_authors_weights_belong_to_the_network_that_the_decisions_describe() -> None:
    """Two scales, features without a variance, matching of one channel of cost: nothing of ours could hold them."""
    package = find_spec("MultiPropReg")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the package MultiPropReg is not installed")
    for file in sorted(Path(next(iter(package.submodule_search_locations))).glob("models/*.ckpt")):
        state = torch.load(file, map_location="cpu", weights_only=True)
        # grids of coordinates are no weights, and the parts of M and R stand in the file twice
        own = {name: value for name, value in state.items() if not name.endswith("grid") and not (
            name.startswith("enc.") and int(name.split(".")[1]) > 5)}
        assert sum(value.numel() for value in own.values()) == 526_444
        strided = [own[f"enc.{layer}.main.weight"] for layer in (0, 3)]
        assert all(value.shape[2:] == (4, 4, 4) for value in strided) and len(strided) == 2
        fixed, field = own["enc.5.main.weight"].shape[0], 3
        assert own["conv2_0.main.weight"].shape[1] == 1 + fixed
        assert own["conv1_0.main.weight"].shape[1] == 1 + own["enc.2.main.weight"].shape[0] + field + 16


def test_recipe_comes_back_from_its_file(tmp_path: Any) -> None:
    recipe = recipe_of(scales=2, pyramid="images", context_layers=6)
    write_recipe(tmp_path / "recipe.json", recipe)
    assert read_recipe(tmp_path / "recipe.json") == recipe
