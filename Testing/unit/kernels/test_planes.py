"""Sampling in planes against torch's own kernel and the plain formula: values, gradients, borders, several slabs."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.kernels import planes
from AutoRegLib.kernels.flow import PlaneFlow, plain_flow
from AutoRegLib.kernels.planes import PlaneSample
from AutoRegLib.kernels.sampling import plain_linear

SHAPES = [(6, 7), (5, 6, 7), (1, 6, 5), (4, 1, 5), (8, 3, 1)]


@pytest.fixture(params=["whole", "slabs"])
def _cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampled at once, and in slabs of one slice or a few, from planes that begin anywhere."""
    if request.param == "slabs":
        monkeypatch.setattr(planes, "_ROWS", 1)
        monkeypatch.setattr(planes, "_AT_ONCE", 60)


@pytest.mark.usefixtures("_cut")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_plain_formula(shape: tuple[int, ...], channels: int) -> None:
    torch.manual_seed(1)
    image = torch.randn(2, channels, *shape, dtype=torch.float64, requires_grad=True)
    where = (2 * torch.randn(2, len(shape), *shape, dtype=torch.float64)).requires_grad_()
    incoming = torch.randn(2, channels, *shape, dtype=torch.float64)
    found, expected = PlaneSample.apply(image, where), plain_linear(image, where, relative=True)
    assert (found - expected).abs().max() < 1e-13
    assert (expected - image).abs().max() > 1
    slopes = torch.autograd.grad(found, (image, where), incoming)
    for own, peer in zip(slopes, torch.autograd.grad(expected, (image, where), incoming), strict=True):
        assert (own - peer).abs().max() < 1e-12
    (alone,) = torch.autograd.grad(PlaneSample.apply(image.detach(), where), where, incoming)
    assert torch.equal(alone, slopes[1])


@pytest.mark.usefixtures("_cut")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 40, 33)])
def test_whole_voxels_are_met_exactly_and_have_the_slopes_of_the_plain_formula(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """On the last voxel too, where the slope is that of the last two: the first step of a refinement stands there."""
    torch.manual_seed(2)
    image, steps = torch.randn(1, 1, *shape, dtype=dtype), torch.randint(-2, 3, (1, len(shape), *shape))
    for where in (torch.zeros(1, len(shape), *shape, dtype=dtype), steps.to(dtype)):
        where.requires_grad_()
        found, expected = PlaneSample.apply(image, where), plain_linear(image, where, relative=True)
        assert torch.equal(found, expected)
        (own,), (peer,) = (torch.autograd.grad(value.sum(), where) for value in (found, expected))
        assert (own - peer).abs().max() < 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("shape", [(30, 40, 36), (150, 24, 20)])
def test_places_between_voxels_are_exact_to_a_ten_thousandth(shape: tuple[int, ...]) -> None:
    """In single precision, of an image whose slope is 1 everywhere: what is wrong is where it was sampled."""
    torch.manual_seed(3)
    where = 3 * torch.randn(1, 3, *shape, dtype=torch.float64)
    for axis, size in enumerate(shape):
        image = torch.arange(size, dtype=torch.float64).view([1, 1] + [size if own == axis else 1 for own in range(3)])
        image = image.expand(1, 1, *shape)
        found = PlaneSample.apply(image.float().contiguous(), where.float())
        assert (found - plain_linear(image, where.float().double(), relative=True)).abs().max() < 1e-4


@pytest.mark.usefixtures("_cut")
@pytest.mark.parametrize("shape", [(9, 11), (6, 5, 7), (1, 5, 6)])
def test_velocities_flow_as_the_plain_formula_says(shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    velocity = (2 * torch.randn(2, len(shape), *shape, dtype=torch.float64)).requires_grad_()
    weights = torch.randn(2, len(shape), *shape, dtype=torch.float64)
    found, expected = PlaneFlow.apply(velocity, 3), plain_flow(velocity, 3)
    assert (found - expected).abs().max() < 1e-12
    assert (expected - velocity).abs().max() > 0.5
    slopes = [torch.autograd.grad((value * weights).sum(), velocity, create_graph=graph)[0]
              for value, graph in ((found, True), (expected, True), (PlaneFlow.apply(velocity, 3), False))]
    assert all((slope - slopes[1]).abs().max() < 1e-10 for slope in slopes)
    second = [torch.autograd.grad(slope.square().sum(), velocity)[0] for slope in slopes[:2]]
    assert (second[0] - second[1]).abs().max() < 1e-8 * second[1].abs().max()


def test_a_larger_velocity_goes_through_planes_and_says_where_it_diverged() -> None:
    torch.manual_seed(4)
    velocity = torch.randn(1, 3, 14, 15, 16, requires_grad=True)
    assert torch.equal(exponentiate(velocity, squarings=2), PlaneFlow.apply(velocity, 2))
    assert (exponentiate(velocity, squarings=2) - plain_flow(velocity.double(), 2)).abs().max() < 1e-3
    with torch.no_grad():  # an answer is worth its last digits
        assert (exponentiate(velocity, squarings=2) - plain_flow(velocity.double(), 2)).abs().max() < 1e-4
        velocity[0, 1, 2, 2, 2] = float("nan")
    assert exponentiate(velocity)[0, 1, 2, 2, 2].isnan()
