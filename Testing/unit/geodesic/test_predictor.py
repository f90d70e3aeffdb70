"""The predictor's network: its shapes, what it tells apart, its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.geodesic.predictor import PredictorSettings, RegularityPredictor, load_predictor, save_predictor

SMALL = {dims: PredictorSettings(spatial_dims=dims, streams=(2, 3, 3, 4), fusion=(4, 4, 4)) for dims in (2, 3)}


def built(dims: int = 2) -> RegularityPredictor:
    torch.manual_seed(0)
    network = RegularityPredictor(SMALL[dims])
    network.learn_range(torch.tensor([2.0, 4.0, 12.0]))
    return network.eval()


def pair(dims: int = 2, size: int = 17) -> tuple[torch.Tensor, torch.Tensor]:
    maker = torch.Generator().manual_seed(1)
    moving, fixed = torch.randn(2, 2, 1, *[size] * dims, generator=maker)
    return moving, fixed


@pytest.mark.parametrize("dims", [2, 3])
def test_one_positive_number_a_pair_at_any_size(dims: int) -> None:
    network = built(dims)
    with torch.no_grad():
        for size in (8, 17):
            found = network(*pair(dims, size))
            assert found.shape == (2,) and bool((found >= 0.2).all())
    with pytest.raises(InputError, match="too small"):
        network(*pair(dims, 7))


def test_the_streams_are_two_and_each_image_counts() -> None:
    network = built()
    moving, fixed = pair()
    with torch.no_grad():
        found = network.scaled(moving, fixed)
        assert (network.scaled(fixed, moving) - found).abs().min() > 1e-4
        assert (network.scaled(2.0 * moving + 3.0, 0.5 * fixed - 1.0) - found).abs().max() < 1e-4
        assert (network.scaled(moving, fixed.flip(2)) - found).abs().min() > 1e-4


def test_blocks_are_those_of_the_paper() -> None:
    """Four blocks an image, three of them halving the grid, three on both; by torch's own layers."""
    network = built()
    kinds = [type(layer).__name__ for layer in network.moving_stream]
    assert kinds == ["Conv2d", "BatchNorm2d", "PReLU", "MaxPool2d"] * 3 + ["Conv2d", "BatchNorm2d", "PReLU"]
    assert [type(layer).__name__ for layer in network.fusion] == ["Conv2d", "BatchNorm2d", "PReLU"] * 3
    assert all(layer.kernel_size == (5, 5) for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
    wide = RegularityPredictor(PredictorSettings()).fusion[0].weight.detach()
    assert float(wide.std() * (32 * 25 * 2) ** 0.5) == pytest.approx(2**0.5, rel=0.05)  # He: sqrt(2 / fan in)


def test_the_answer_is_on_the_scale_of_what_was_learnt() -> None:
    network = built()
    moving, fixed = pair()
    with torch.no_grad():
        network.answer.weight.zero_()
        assert network(moving, fixed).tolist() == pytest.approx([6.0, 6.0])
        network.answer.bias.fill_(-100.0)
        assert network(moving, fixed).tolist() == pytest.approx([0.2, 0.2])


def test_a_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    network = built()
    save_predictor(tmp_path, network, network.state_dict(), spacing=1.5, facts={"seed": 3})
    back = load_predictor(tmp_path)
    with torch.no_grad():
        assert torch.equal(back.network(*pair()), network(*pair()))
    assert back.spacing == 1.5 and back.facts == {"seed": 3} and not back.network.training


@pytest.mark.parametrize("damage", ["weights", "settings", "spacing"])
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: str) -> None:
    network = built()
    save_predictor(tmp_path, network, network.state_dict(), spacing=1.5, facts={})
    if damage == "weights":
        (tmp_path / "weights.safetensors").write_bytes((tmp_path / "weights.safetensors").read_bytes()[:-9])
    elif damage == "settings":
        (tmp_path / "predictor.json").unlink()
    else:
        text = (tmp_path / "predictor.json").read_text()
        (tmp_path / "predictor.json").write_text(text.replace("1.5", "-1.5"))
    with pytest.raises(InputError):
        load_predictor(tmp_path)
