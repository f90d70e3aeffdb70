"""Pairs on disk: what is sampled is what was asked for, estimates and training go on from there."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import Monitor, Wish
from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.sampling import sample_velocities
from AutoRegLib.geodesic.shooting import shoot
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.learning.regularity_pairs import fit_pairs, read_known_pairs, sample_pairs, split_of


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


class Stopping(Monitor):
    """Cancels after so many pairs."""

    def __init__(self, after: int) -> None:
        self.left = after

    def event(self, type: str, **payload: object) -> None:
        self.left -= type == "progress"

    def wish(self) -> Wish:
        return "cancel" if self.left <= 0 else ""


def test_a_fixed_image_is_the_moving_one_shot_from_the_prior(tmp_path: Path) -> None:
    """By nibabel and the parts of the package, from the seeds that the numbers of the pairs give."""
    sample_pairs(tmp_path, alphas=(2.0, 8.0), count=2, size=(24, 20), seed=3)
    rows = rows_of(tmp_path / "pairs.csv")
    assert [float(row["alpha"]) for row in rows] == [2.0, 8.0, 2.0, 8.0]
    moving, fixed = (torch.tensor(np.asarray(nibabel.load(tmp_path / rows[1][role]).dataobj)).squeeze().mT[None, None]
                     for role in ("moving", "fixed"))
    metric = Metric.of(Band((24, 20)), 8.0)
    wanted = warp(moving, shoot(sample_velocities(metric, [3_000_001]), metric).on_grid())
    assert moving.shape == (1, 1, 24, 20) and (fixed - wanted).abs().max() < 1e-6
    assert (fixed - moving).abs().max() > 0.01


def test_alpha_is_in_mm_on_the_grid_of_an_image(tmp_path: Path) -> None:
    sample_pairs(tmp_path / "fine", alphas=(3.0,), count=1, size=(32, 32))
    image = read_volume(tmp_path / "fine" / "pair00000_moving.nii.gz", "intensity")
    found = sample_pairs(tmp_path / "coarse", alphas=(3.0,), count=2, image=image, spacing=2.0, seed=1)
    row = rows_of(Path(found["table"]))[0]
    moving, fixed = (read_volume(tmp_path / "coarse" / row[role], "intensity") for role in ("moving", "fixed"))
    assert fixed.geometry.spacing == (2.0, 2.0) and fixed.array.shape == (16, 16)
    metric = Metric.of(Band((16, 16)), 3.0 / 4.0)
    shift = shoot(sample_velocities(metric, [1_000_000]), metric).on_grid()
    wanted = warp(torch.tensor(moving.array)[None, None], shift)
    assert np.abs(np.asarray(wanted[0, 0]) - fixed.array).max() < 1e-6


def test_an_interrupted_sampling_goes_on(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    sample_pairs(whole, alphas=(2.0,), count=3, size=(16, 16))
    with pytest.raises(CancelledError):
        sample_pairs(part, alphas=(2.0,), count=3, size=(16, 16), monitor=Stopping(1))
    assert not (part / "pairs.csv").exists()
    with pytest.raises(InputError, match="other pairs"):
        sample_pairs(part, alphas=(2.5,), count=3, size=(16, 16), resume=True)
    sample_pairs(part, alphas=(2.0,), count=3, size=(16, 16), resume=True)
    assert (whole / "pairs.csv").read_text() == (part / "pairs.csv").read_text()
    for row in rows_of(whole / "pairs.csv"):
        first, second = (read_volume(folder / row["fixed"], "intensity").array for folder in (whole, part))
        assert np.array_equal(first, second)


def test_what_is_replaced_is_made_anew(tmp_path: Path) -> None:
    sample_pairs(tmp_path, alphas=(2.0,), count=1, size=(16, 16), seed=0)
    before = read_volume(tmp_path / "pair00000_fixed.nii.gz", "intensity").array
    sample_pairs(tmp_path, alphas=(2.0,), count=1, size=(16, 16), seed=1)
    assert not np.array_equal(before, read_volume(tmp_path / "pair00000_fixed.nii.gz", "intensity").array)


def test_a_table_is_not_replaced_by_its_estimates(tmp_path: Path) -> None:
    sample_pairs(tmp_path, alphas=(2.0,), count=1, size=(16, 16))
    before = (tmp_path / "pairs.csv").read_bytes()
    with pytest.raises(InputError, match="overwrite"):
        fit_pairs(tmp_path / "pairs.csv", tmp_path, spacing=1.0)
    assert (tmp_path / "pairs.csv").read_bytes() == before


def test_splits_are_70_15_15() -> None:
    names = [split_of(number, 100) for number in range(100)]
    assert [names.count(name) for name in ("train", "val", "test")] == [70, 15, 15]


def test_estimates_become_a_table_to_learn_from(tmp_path: Path) -> None:
    sample_pairs(tmp_path / "pairs", alphas=(1.0, 9.0), count=1, size=(32, 32), seed=2)
    table = tmp_path / "pairs" / "pairs.csv"
    with pytest.raises(CancelledError):
        fit_pairs(table, tmp_path / "fit", spacing=1.0, affine=False, monitor=Stopping(1))
    kept = (tmp_path / "fit" / "pairs" / "pair00000.json").read_bytes()
    found = fit_pairs(table, tmp_path / "fit", spacing=1.0, affine=False, resume=True)
    assert (tmp_path / "fit" / "pairs" / "pair00000.json").read_bytes() == kept
    rows = rows_of(Path(found["table"]))
    assert [float(row["true"]) for row in rows] == [1.0, 9.0]
    assert 0 < float(rows[0]["alpha"]) < float(rows[1]["alpha"])
    known = read_known_pairs(Path(found["table"]), spacing=0.5, affine=False, splits=(rows[0]["split"],))
    pairs = known[rows[0]["split"]]
    assert pairs.fixed.shape == (2, 1, 64, 64)  # one of each regularity in one split
    assert pairs.regularities.tolist() == pytest.approx([4 * float(row["alpha"]) for row in rows])


def test_images_of_different_sizes_are_filled_up(tmp_path: Path) -> None:
    sample_pairs(tmp_path / "a", alphas=(2.0,), count=1, size=(16, 20))
    sample_pairs(tmp_path / "b", alphas=(2.0,), count=1, size=(18, 17))
    lines = "".join(f"{name},{name}/pair00000_fixed.nii.gz,{name}/pair00000_moving.nii.gz,2,train\n" for name in "ab")
    table = tmp_path / "table.csv"
    table.write_text("name,fixed,moving,alpha,split\n" + lines)
    pairs = read_known_pairs(table, spacing=1.0, affine=False, splits=("train",))["train"]
    assert pairs.fixed.shape == (2, 1, 18, 20)
    assert torch.equal(pairs.fixed[0, :, 16:], pairs.fixed[0, :, 15:16].expand(-1, 2, -1))


@pytest.mark.parametrize(("line", "words"), [("a,f.nii.gz,m.nii.gz,,train", "no regularity"),
                                             ("a,f.nii.gz,m.nii.gz,-1,train", "no regularity"),
                                             ("a,f.nii.gz,m.nii.gz,2,val", "no pairs of the split")])
def test_a_table_that_cannot_teach_is_refused(tmp_path: Path, line: str, words: str) -> None:
    made = tmp_path / "made"
    sample_pairs(made, alphas=(2.0,), count=1, size=(16, 16))
    for role in "fm":
        (made / f"pair00000_{'fixed' if role == 'f' else 'moving'}.nii.gz").rename(tmp_path / f"{role}.nii.gz")
    (tmp_path / "t.csv").write_text(f"name,fixed,moving,alpha,split\n{line}\n")
    with pytest.raises(InputError, match=words):
        read_known_pairs(tmp_path / "t.csv", spacing=1.0, affine=False)


@pytest.mark.parametrize("wrong", [{"alphas": ()}, {"alphas": (0.0,)}, {"size": (4, 100)}, {"count": 0}])
def test_what_cannot_be_sampled_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        sample_pairs(tmp_path, **{"alphas": (1.0,), "count": 1, "size": (16, 16), **wrong})  # type: ignore[arg-type]
