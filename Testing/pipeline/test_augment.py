"""Drawn deformations: different for every number, the same again, without folds; a fusion by its rule."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from pipeline.scenes import make_scenario
from pipeline.test_study import RECIPE
from scipy.ndimage import gaussian_filter

from AutoRegLib.app.cli import main
from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.core.recipe_loss import with_own_loss
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.evaluation.augment import augment, choose_atlas, network_field, random_field, root_mean_square
from AutoRegLib.evaluation.spectra import BINS, inside_share, power_spectrum
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.learning.train import train
from AutoRegLib.registration.fuse import BASE, ENERGY, fuse, fuse_images


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    place = tmp_path_factory.mktemp("augment")
    scenario = read_scenario(make_scenario(place / "data"))
    recipe = with_own_loss(replace(RECIPE, network=replace(RECIPE.network, name="multiprop")))
    bundle = train(recipe, scenario, output=place / "model")
    with torch.no_grad():  # two steps teach it little: let its heads move something
        for module in bundle.network.modules():
            if isinstance(module, torch.nn.Conv2d) and module.out_channels == 2:
                module.weight.normal_(0.0, 0.05, generator=torch.Generator().manual_seed(1))
    return bundle


def read(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).get_fdata()).T


def test_pairs_are_the_atlas_under_drawn_fields(model: ModelBundle, tmp_path: Path) -> None:
    scenario = read_scenario(model.path.parent / "data" / "scenario.json")
    found = augment(model, scenario, output=tmp_path / "a", count=6, seed=3)
    assert found["folds"] == 0 and found["jacobian_min"] > 0 and found["atlas"] == "s0"
    images = [read(tmp_path / "a" / "pairs" / f"{n:04d}.nii.gz") for n in range(6)]
    labels = [read(tmp_path / "a" / "pairs" / f"{n:04d}_labels.nii.gz") for n in range(6)]
    assert len({image.tobytes() for image in images}) == 6
    assert all(set(np.unique(label)) <= {0, 1, 2} and (label == 2).any() for label in labels)
    # an image and its labels moved alike: its inner structure stays the brightest
    assert all(image[label == 2].mean() > image[label == 1].mean() > image[label == 0].mean()
               for image, label in zip(images, labels, strict=True))
    again = augment(model, scenario, output=tmp_path / "b", count=2, seed=3)
    assert np.array_equal(read(tmp_path / "b" / "pairs" / "0001.nii.gz"), images[1]) and again["folds"] == 0
    with (tmp_path / "a" / "figures" / "spectrum.csv").open(newline="") as stream:
        assert {row["fields"] for row in csv.DictReader(stream)} == {"training", "samples"}
    assert (tmp_path / "a" / "figures" / "spectrum.png").stat().st_size > 5000
    control = augment(model, scenario, output=tmp_path / "c", count=3, fields="random")
    assert control["root_mean_square"] == pytest.approx(control["training_root_mean_square"], rel=0.05)


def test_features_are_drawn_only_when_asked(model: ModelBundle) -> None:
    moving, fixed = torch.rand(2, 1, 1, 24, 28, generator=torch.Generator().manual_seed(0))
    seed, still = model.network.seed, network_field(model, moving, fixed)
    drawn = [network_field(model, moving, fixed, draw=n) for n in (1, 2, 1)]
    assert torch.equal(network_field(model, moving, fixed), still)
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], still)
    assert model.network.seed == seed and not model.network.training


def test_random_fields_have_the_size_asked_for_and_do_not_fold() -> None:
    for shape in ((40, 44), (20, 24, 22)):
        for seed in range(4):
            field = random_field(shape, size=1.2, seed=seed)
            assert float(jacobian_determinant(field).min()) > 0
            assert root_mean_square(field) == pytest.approx(1.2, rel=0.05)


def test_the_spectrum_of_a_wave_lies_in_its_band() -> None:
    """Parseval and the place of one frequency, by hand."""
    x = torch.arange(96.0)
    wave = torch.zeros(1, 2, 96, 96)
    wave[0, 1] = torch.sin(2 * torch.pi * 0.25 * x)  # a quarter cycle a voxel: the border of bands 5 and 6 of 12
    spectrum = power_spectrum(wave)
    assert spectrum[[5, 6]].sum() > 0.99 * spectrum.sum() and len(spectrum) == BINS
    assert power_spectrum(2 * wave).sum() == pytest.approx(4 * spectrum.sum())
    assert power_spectrum(torch.ones(1, 2, 32, 32)).max() == 0


def test_the_share_inside_by_hand() -> None:
    training = np.array([[1.0, 10.0], [2.0, 30.0]])
    assert inside_share(np.array([[1.5, 20.0], [3.0, 20.0], [1.0, 5.0], [0.5, 31.0]]), training) == 4 / 8
    # a band that nobody reaches is not counted as agreement
    wide, above = (np.pad(a, ((0, 0), (0, 3))) for a in (training, np.array([[3.0, 20.0]])))
    assert inside_share(above, wide) == 1 / 2


def test_an_atlas_that_may_not_be_one_is_refused(model: ModelBundle, tmp_path: Path) -> None:
    scenario = read_scenario(model.path.parent / "data" / "scenario.json")
    assert choose_atlas(scenario, None) == "s0" and choose_atlas(scenario, "s2") == "s2"
    with pytest.raises(InputError, match="of the split 'test'"):
        choose_atlas(scenario, "s6")
    with pytest.raises(InputError, match="no labelled case"):
        choose_atlas(replace(scenario, cases=tuple(replace(c, labels=None) for c in scenario.cases)), None)
    plain = train(RECIPE, scenario, output=tmp_path / "plain")
    with pytest.raises(InputError, match="draws no features"):
        augment(plain, scenario, output=tmp_path / "out", count=1)


def test_the_fusion_against_scipy() -> None:
    """The same rule with scipy's Gaussians, away from the border; equal images give themselves."""
    chance = np.random.default_rng(0)
    first, second = (gaussian_filter(chance.normal(size=(60, 64)), 1.0) for _ in range(2))

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float32))[None, None]

    def blur(array: np.ndarray, sigma: float) -> np.ndarray:
        return gaussian_filter(array, sigma, mode="nearest", truncate=2.0)

    scaled = [(a - np.percentile(a, 1)) / (np.percentile(a, 99) - np.percentile(a, 1)) for a in (first, second)]
    bases = [blur(a, BASE) for a in scaled]
    details = [a - b for a, b in zip(scaled, bases, strict=True)]
    energies = [blur(d**2, ENERGY) + 1e-8 for d in details]
    expected = sum(bases) / 2 + (energies[0] * details[0] + energies[1] * details[1]) / sum(energies)
    assert np.abs(fuse_images(tensor(first), tensor(second))[0, 0].numpy() - expected).max() < 1e-4
    assert np.abs(fuse_images(tensor(first), tensor(first))[0, 0].numpy() - scaled[0]).max() < 1e-5


def test_the_verbs(model: ModelBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = model.path.parent / "data", tmp_path / "out"
    assert main(["augment", "--model", str(model.path), "--scenario", str(data / "scenario.json"), "--output", str(out),
                 "--count", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 2
    images = [str(data / f"s{n}.nii.gz") for n in (0, 1)]
    assert main(["fuse", *images, "--output", str(tmp_path / "f"), "--json"]) == 0
    fused, before = (read(tmp_path / "f" / f"{name}.nii.gz") for name in ("fused", "fused_before"))
    assert np.array_equal(fused, before) and (tmp_path / "f" / "fused.png").stat().st_size > 5000


def test_a_fusion_that_fails_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_scenario(tmp_path / "data")
    first, second, third = (str(tmp_path / "data" / f"s{n}.nii.gz") for n in range(3))
    out = tmp_path / "f"
    fuse(first, second, output=out)
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"fused.nii.gz", "fused_before.nii.gz", "fused.png", "fusion.json"} == set(kept)
    with monkeypatch.context() as broken:
        broken.setattr("AutoRegLib.registration.fuse.write_json", lambda *_: (_ for _ in ()).throw(DiskError("full")))
        with pytest.raises(DiskError, match="full"):
            fuse(first, third, output=out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == kept
    fuse(first, third, output=out)
    assert (out / "fused.nii.gz").read_bytes() != kept["fused.nii.gz"]
