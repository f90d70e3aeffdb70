"""What a pair is compared by without a model: told from the images, or by what each similarity finds back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from AutoRegLib.core.recipe import LossWeights, Network, Recipe
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.similarity import correlation, hopeless, left_over, with_similarity

SIDE = 96
GRID = Geometry((SIDE, SIDE), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))


def recipe() -> Recipe:
    return no_network(GRID, GRID).recipe


def volume(values: torch.Tensor) -> Volume:
    return Volume(values.numpy().astype(np.float32), GRID, "intensity")


def smooth(seed: int, sigma: float) -> torch.Tensor:
    noise = torch.randn((1, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))
    values = gaussian(noise, sigma)[0, 0]
    return values / values.std()


def organ() -> torch.Tensor:
    """True inside a disc."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (y - SIDE / 2) ** 2 + (x - SIDE / 2) ** 2 < (0.42 * SIDE) ** 2


def tissues(*brightness: float) -> Volume:
    """Four tissues in a disc on black, a little noise."""
    kind = torch.bucketize(smooth(1, 4.0), torch.tensor([-0.7, 0.0, 0.7]))
    return volume(torch.where(organ(), torch.tensor(brightness)[kind] + 0.02 * smooth(2, 0.5), torch.tensor(0.0)))


def test_one_contrast_is_compared_by_local_correlation() -> None:
    first = tissues(0.2, 0.4, 0.6, 0.9)
    same = replace(first, array=3 * first.array)
    assert correlation(first, same) == pytest.approx(1)
    chosen, told = with_similarity(recipe(), first, same, "auto")
    assert told["similarity"] == "lncc" and told["similarity_chosen_by"] == "images"
    assert "of one kind" in told["similarity_reason"]
    assert chosen.loss_weights.similarity_mix == 1.0


def test_borders_to_the_background_do_not_make_two_contrasts_one() -> None:
    """Tissue is brighter than air in both, so all voxels together correlate; deep inside nothing does."""
    first, other = tissues(0.3, 0.5, 0.7, 0.9), tissues(0.7, 0.5, 0.9, 0.6)
    everywhere = np.corrcoef(first.array.ravel(), other.array.ravel())[0, 1]
    assert everywhere > 0.7
    assert correlation(first, other) < 0.3


def test_another_contrast_is_decided_by_what_is_found_back() -> None:
    first, other = tissues(0.3, 0.5, 0.7, 0.9), tissues(0.7, 0.5, 0.9, 0.6)
    told = with_similarity(recipe(), first, other, "auto")[1]
    left = {name: left_over(recipe(), first, other, name) for name in ("lncc", "mind")}
    assert told["similarity"] == ("lncc" if left["lncc"] < min(0.97 * left["mind"], 1) else "mind")
    assert "known warp" in told["similarity_reason"]
    assert f"{100 * left['mind']:.0f} % by mind" in told["similarity_reason"]


def test_a_similarity_that_sees_the_pair_leaves_less_of_the_warp_than_one_that_does_not() -> None:
    first = tissues(0.2, 0.4, 0.6, 0.9)
    unrelated = volume(torch.where(organ(), smooth(9, 3.0) + 3, torch.tensor(0.0)))
    sees = left_over(recipe(), first, first, "lncc")
    assert sees < 0.7
    assert left_over(recipe(), first, unrelated, "lncc") > 1.3 * sees


def test_masks_decide_what_is_looked_at() -> None:
    """One half of the image is of the same contrast, the other inverted."""
    first = tissues(0.2, 0.4, 0.6, 0.9)
    half = np.arange(SIDE)[None, :] < SIDE // 2
    mixed = replace(first, array=np.where(half, first.array, np.float32(1) - first.array))
    inside = np.broadcast_to(half, mixed.array.shape)
    assert correlation(first, mixed, inside=inside) > 0.9 > correlation(first, mixed)


def test_a_mask_that_leaves_hardly_more_than_noise_does_not_make_one_contrast_two() -> None:
    """As of lungs: the mask holds the dark alone, whose outline guides."""
    y, x = np.ogrid[:SIDE, :SIDE]
    hole = (y - SIDE / 2) ** 2 + (x - SIDE / 2) ** 2 < 20**2
    bright = tissues(0.4, 0.5, 0.6, 0.9).array
    pair = [volume(torch.from_numpy(np.where(hole, 0.05, bright)) + 0.02 * smooth(seed, 0.5)) for seed in (3, 4)]
    assert abs(correlation(*pair, inside=hole)) < 0.3 < correlation(*pair)
    told = with_similarity(recipe(), *pair, "auto", inside=hole)[1]
    assert told["similarity"] == "lncc" and "of one kind" in told["similarity_reason"]
    other = replace(pair[1], array=tissues(0.9, 0.4, 0.6, 0.5).array)
    assert "warp_left" in with_similarity(recipe(), pair[0], other, "auto", inside=hole)[1]


def test_what_was_asked_for_or_trained_stays() -> None:
    first, other = tissues(0.2, 0.4, 0.6, 0.9), tissues(0.9, 0.3, 0.1, 0.5)
    assert with_similarity(recipe(), first, other, "lncc")[1] == {
        "similarity": "lncc", "similarity_chosen_by": "request", "similarity_reason": "asked for"}
    trained = replace(recipe(), network=Network(), loss_weights=LossWeights(similarity_mix=0.5, smoothness=1.0))
    chosen, told = with_similarity(trained, first, other, "auto")
    assert chosen is trained and told["similarity"] == "lncc+mind" and "trained" in told["similarity_reason"]


@pytest.mark.parametrize("name", ["mse", "nmi"])
def test_differences_and_mutual_information_are_taken_where_asked_for(name: str) -> None:
    first = tissues(0.2, 0.4, 0.6, 0.9)
    chosen, told = with_similarity(recipe(), first, first, name)  # type: ignore[arg-type]
    assert (chosen.objective.data_term, chosen.loss_weights.similarity_mix) == (name, 1.0)
    assert (told["similarity"], told["similarity_chosen_by"]) == (name, "request")
    trained = replace(chosen, network=Network(name="autoreg"))
    assert with_similarity(trained, first, first, "auto")[1]["similarity"] == name
    partner = first if name == "mse" else replace(first, array=np.where(organ().numpy(), 1.2 - first.array, 0.0))
    assert left_over(recipe(), first, partner, name) < 0.9, "it finds back some of a known warp"


def test_few_slices_are_looked_at_too() -> None:
    flat = tissues(0.2, 0.4, 0.6, 0.9).array
    grid = Geometry((SIDE, SIDE, 4), (1.0, 1.0, 5.0), (0.0,) * 3, tuple(np.eye(3).ravel().tolist()))
    stack = Volume(np.stack([flat] * 4), grid, "intensity")
    assert correlation(stack, replace(stack, array=2 * stack.array)) == pytest.approx(1)


def test_what_no_similarity_finds_back_is_not_refined() -> None:
    """Two unrelated textures: the registration stays at the alignment and says so; asked for by name it goes on."""
    first, other = volume(smooth(3, 2.0)), volume(smooth(4, 2.0))
    told = with_similarity(recipe(), first, other, "auto")[1]
    assert set(told["warp_left"]) == {"lncc", "mind"} and hopeless(told) == (min(told["warp_left"].values()) >= 1)
    assert hopeless({"warp_left": {"lncc": 1.4, "mind": 1.0}})
    assert not hopeless({"warp_left": {"lncc": 1.8, "mind": 0.74}})
    assert not hopeless(with_similarity(recipe(), first, other, "mind")[1])


def test_images_that_hardly_resemble_each_other_are_not_refined_unless_by_name() -> None:
    """The alignment says so; what is tried on them may still find a known warp back."""
    first, other = volume(smooth(3, 2.0)), volume(smooth(4, 2.0))
    told = with_similarity(recipe(), first, other, "auto", unlike=True)[1]
    assert hopeless(told) and "resemble" in told["similarity_reason"] and "warp_left" not in told
    assert not hopeless(with_similarity(recipe(), first, other, "lncc", unlike=True)[1])
