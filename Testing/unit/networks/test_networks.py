"""The networks: identity at the start, any size, supernet equals derived network, the papers' sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import CELLS, OPERATOR_TABLE, OPERATORS, Genotype
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.recipe import Network, Recipe
from AutoRegLib.networks.autoreg import AutoRegNet, searched_cells
from AutoRegLib.networks.operators import CONSTRUCTORS
from AutoRegLib.networks.registry import BUILDERS, build_network, count_parameters

SMALL = Network(features=(4, 6), decoder=(8, 6, 4))
MIXED = Genotype(
    ("conv5", "sep3", "conv1"), ("dil3", "conv3", "sep5"), ("dil7", "conv1", "sep3"), ("dil5", "sep5", "conv3")
)


def test_every_network_has_facts_and_a_builder() -> None:
    assert set(NETWORKS) == set(BUILDERS)


def pair(shape: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return torch.rand(2, 1, *shape, generator=made), torch.rand(2, 1, *shape, generator=made)


def awaken(network: torch.nn.Module) -> None:
    """Give the near-zero velocity heads weights that matter."""
    made = torch.Generator().manual_seed(5)
    for name, value in network.named_parameters():
        if "head" in name:
            value.data = torch.randn(value.shape, generator=made) * 0.2


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("shape", [(19, 22), (13, 18, 21)])
def test_untrained_network_is_the_identity_on_any_size(name: str, shape: tuple[int, ...]) -> None:
    network = build_network(Recipe(spatial_dims=len(shape), network=Network(name=name))).eval()
    moving, fixed = pair(shape)
    prediction = network(moving, fixed)
    assert prediction.displacement.shape == (2, len(shape), *shape)
    assert prediction.displacement.abs().max() < 1e-2
    for part in (p for p in (prediction.velocity, *prediction.scales) if p is not None):
        assert part.shape[1] == len(shape)


@pytest.mark.parametrize("name", CONSTRUCTORS)
@pytest.mark.parametrize("shape", [(20, 24), (12, 16, 20)])
def test_an_untrained_network_sees_only_what_differs(name: str, shape: tuple[int, ...]) -> None:
    moving, fixed = pair(shape)
    torch.manual_seed(0)

    def largest(moving: torch.Tensor, shared: bool) -> float:
        config = replace(SMALL, shared_features=shared)
        network = AutoRegNet(len(shape), config=config, genotype=Genotype.uniform(name))
        awaken(network)
        for head in (network.head_quarter, network.head_half):
            torch.nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        return float(network(moving, fixed).displacement.detach().abs().max())

    assert largest(moving, shared=True) > 0.02
    assert largest(fixed, shared=True) < 2e-4  # rounding: features of equal images cancel
    assert largest(fixed, shared=False) > 0.02, "features of two kinds have no difference"


@pytest.mark.parametrize("shape", [(20, 24), (12, 16, 20)])
def test_supernet_with_one_hot_mixture_equals_the_derived_network(shape: tuple[int, ...]) -> None:
    dims = len(shape)
    supernet = AutoRegNet(dims, config=SMALL, genotype=Genotype(), searched=CELLS)
    awaken(supernet)
    derived = AutoRegNet(dims, config=SMALL, genotype=MIXED)
    state = supernet.state_dict()
    derived.load_state_dict({name: state[name] for name in derived.state_dict()})
    mixture = {
        cell: torch.nn.functional.one_hot(
            torch.tensor([OPERATORS.index(o) for o in MIXED.cell(cell)]), len(OPERATORS)
        ).float()
        for cell in CELLS
    }
    moving, fixed = pair(shape)
    found = supernet(moving, fixed, mixture).displacement
    expected = derived(moving, fixed).displacement
    assert expected.abs().max() > 0.1
    assert (found - expected).abs().max() < 1e-5
    uniform = {cell: torch.full((3, len(OPERATORS)), 1 / len(OPERATORS)) for cell in CELLS}
    assert (supernet(moving, fixed, uniform).displacement - expected).abs().max() > 1e-3


def test_every_candidate_of_a_searched_edge_gets_a_gradient() -> None:
    supernet = AutoRegNet(3, config=SMALL, genotype=Genotype(), searched=CELLS)
    awaken(supernet)
    alpha = {cell: torch.zeros(3, len(OPERATORS), requires_grad=True) for cell in CELLS}
    moving, fixed = pair((12, 12, 12))
    mixture = {c: a.softmax(1) for c, a in alpha.items()}
    supernet(moving, fixed, mixture).displacement.square().sum().backward()
    assert all(a.grad is not None and (a.grad.abs() > 0).all() for a in alpha.values())


def test_searched_edge_without_mixture_is_refused() -> None:
    supernet = AutoRegNet(2, config=SMALL, genotype=Genotype(), searched=searched_cells("feature"))
    with pytest.raises(InputError, match="mixture"):
        supernet(*pair((16, 16)))


@pytest.mark.parametrize("update", ["add", "compose", "replace"])
@pytest.mark.parametrize("stride_on", ["first", "last"])
@pytest.mark.parametrize("shared", [True, False])
def test_every_option_changes_the_result_and_trains(update: str, stride_on: str, shared: bool) -> None:
    config = replace(SMALL, update=update, stride_on=stride_on, shared_features=shared)
    network = AutoRegNet(2, config=config, genotype=MIXED)
    awaken(network)
    prediction = network(*pair((20, 20)))
    prediction.displacement.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())
    assert (prediction.velocity is None) == (update == "compose")


def test_different_shapes_are_refused_with_both_named() -> None:
    network = build_network(Recipe())
    with pytest.raises(InputError, match=r"\(1, 1, 8, 8, 8\).*\(1, 1, 8, 8, 12\)"):
        network(torch.rand(1, 1, 8, 8, 8), torch.rand(1, 1, 8, 8, 12))


def test_sizes_are_those_of_the_papers() -> None:
    """VM-2: 1.146 MiB of float32; Manual-Small < Medium < Large (AutoReg, Tables III and VIII)."""
    mebibytes = count_parameters(build_network(Recipe(network=Network(name="voxelmorph2")))) * 4 / 2**20
    assert abs(mebibytes - 1.146) < 1e-3
    sizes = [
        count_parameters(build_network(Recipe(genotype=Genotype.uniform(name)))) for name in ("conv1", "conv3", "dil7")
    ]
    assert sizes == sorted(sizes) and sizes[0] < 30_000 < sizes[1] < 1_000_000 < sizes[2]


def test_same_seed_same_weights_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = build_network(Recipe(seed=7)), build_network(Recipe(seed=7))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    other = build_network(Recipe(seed=8))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="unknown network"):
        build_network(Recipe(network=Network(name="voxelmorf")))
    with pytest.raises(InputError, match="unknown operator"):
        build_network(Recipe(genotype=Genotype.uniform("conv9")))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", sorted(CONSTRUCTORS))
def test_an_operator_without_gradients_gives_what_it_gives_with_them(name: str, dims: int) -> None:
    """And leaves its input as it was, though it works in place; a 1-wide convolution is torch's."""
    torch.manual_seed(8)
    operator = CONSTRUCTORS[name](dims, 3, 4, 1).double()
    image = torch.randn(2, 3, *[6] * dims, dtype=torch.float64)
    before = image.clone()
    recorded = operator(image)
    with torch.no_grad():
        assert torch.equal(operator(image), recorded)
    assert torch.equal(image, before)
    convolve = torch.nn.functional.conv2d if dims == 2 else torch.nn.functional.conv3d
    if name == "conv1":
        expected = torch.nn.functional.leaky_relu(convolve(image, operator[0].weight, operator[0].bias), 0.2)
        assert (recorded - expected).abs().max() < 1e-12


def test_every_operator_sees_as_far_as_its_table_says() -> None:
    """Voxels of the input that change the middle voxel of the output: the reach, without any table."""
    assert set(CONSTRUCTORS) == set(OPERATOR_TABLE)
    assert OPERATORS == ("conv1", "conv3", "conv5", "sep3", "sep5", "dil3", "dil5", "dil7")
    for name, build in CONSTRUCTORS.items():
        torch.manual_seed(0)
        image = torch.randn(1, 2, 21, 21, requires_grad=True)
        build(2, 2, 3, 1)(image)[0, :, 10, 10].sum().backward()
        touched = image.grad[0].abs().sum(0).nonzero()  # type: ignore[index]
        assert int((touched - 10).abs().max()) == OPERATOR_TABLE[name].reach, name
        assert Genotype.uniform(name).reach(*CELLS) == 12 * OPERATOR_TABLE[name].reach
    with pytest.raises(InputError, match="unknown operator"):
        Genotype.uniform("conv9").reach("feature_half")
