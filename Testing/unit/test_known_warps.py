"""Known warps of labelled images: what is carried along is what SimpleITK carries."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from AutoRegLib.imaging.files import write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from benchmarks.known_warps import arguments, cases


def test_labels_of_single_images_are_warped_with_them(tmp_path: Path) -> None:
    geometry = Geometry((36, 40, 32), (2.0, 2.0, 2.0), (5.0, -3.0, 1.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    z, y, x = np.indices(geometry.shape)
    inside = (z - 16) ** 2 + (y - 20) ** 2 + (x - 18) ** 2 < 12**2
    labels = (inside + 2 * (inside & (x > 18))).astype(np.uint8)
    image = np.where(inside, 20.0 + x + 3 * z, 0.0).astype(np.float32)
    write_volume(Volume(image, geometry, "intensity"), tmp_path / "brain.nii.gz")
    write_volume(Volume(labels, geometry, "labels"), tmp_path / "parts.nii.gz")
    given = arguments().parse_args(["--images", str(tmp_path / "brain.nii.gz"), "--labels",
                                    str(tmp_path / "parts.nii.gz")])
    plain, inverted, folded = cases(given)
    assert plain.name == "brain" and inverted.fixed_labels is None is folded.fixed_labels
    assert plain.truth is not None and plain.fixed_labels is not None and plain.moving_labels is not None
    assert np.array_equal(plain.moving_labels.array, labels)
    field = sitk.GetImageFromArray(plain.truth.vectors.astype(np.float64), isVector=True)
    grid = sitk.ReadImage(str(tmp_path / "parts.nii.gz"))
    field.CopyInformation(grid)
    theirs = sitk.GetArrayFromImage(sitk.Resample(
        grid, grid, sitk.DisplacementFieldTransform(field), sitk.sitkNearestNeighbor))
    assert np.array_equal(plain.fixed_labels.array, theirs) and (theirs != labels).mean() > 0.01


def test_the_authors_atlases_are_such_images() -> None:
    """Where their package is installed: the benchmark takes both, with their 13 and 124 structures."""
    package = find_spec("MultiPropReg")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the package MultiPropReg is not installed")
    data = Path(next(iter(package.submodule_search_locations))) / "data"
    given = arguments().parse_args([
        "--images", str(data / "atlas_vol.nii"), str(data / "1yr_t1_atlas.nii"), "--labels",
        str(data / "atlas_seg_14labels.nii"), str(data / "1yr_t1_atlas_seg.nii"), "--spacing", "6"])
    labelled = [case for case in cases(given) if case.moving_labels is not None]
    assert [case.name for case in labelled] == ["atlas_vol", "1yr_t1_atlas"]
    assert [len(np.unique(case.moving_labels.array)) - 1 for case in labelled if case.moving_labels] == [13, 124]
