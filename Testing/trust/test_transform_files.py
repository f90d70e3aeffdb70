"""Transform files: every kind that SimpleITK writes reads back; what would end ITK's reader is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.files import read_transform, read_volume

LINEAR = [sitk.TranslationTransform(2), sitk.TranslationTransform(3), sitk.ScaleTransform(2), sitk.ScaleTransform(3),
          sitk.AffineTransform(2), sitk.AffineTransform(3), sitk.Euler2DTransform(), sitk.Similarity2DTransform(),
          sitk.Euler3DTransform(), sitk.VersorTransform(), sitk.VersorRigid3DTransform(), sitk.Similarity3DTransform(),
          sitk.ScaleVersor3DTransform(), sitk.ScaleSkewVersor3DTransform()]


def moved(transform: sitk.Transform) -> np.ndarray:
    points = np.random.default_rng(3).uniform(0, 4, (20, transform.GetDimension()))
    return np.array([transform.TransformPoint(p.tolist()) for p in points])


@pytest.mark.parametrize("suffix", ["tfm", "txt", "mat"])
@pytest.mark.parametrize("transform", LINEAR, ids=lambda t: f"{t.GetName()}{t.GetDimension()}")
def test_every_linear_kind_reads_back(transform: sitk.Transform, suffix: str, tmp_path: Path) -> None:
    values = np.array(transform.GetParameters())
    transform.SetParameters((values + 0.01 * np.arange(1, values.size + 1)).tolist())
    path = tmp_path / f"t.{suffix}"
    sitk.WriteTransform(transform, str(path))
    assert np.abs(moved(read_transform(path)) - moved(transform)).max() < 1e-9


@pytest.mark.parametrize("suffix", ["tfm", "h5", "mat"])
@pytest.mark.parametrize("dims", [2, 3])
def test_grids_and_chains_read_back(suffix: str, dims: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    field = sitk.DisplacementFieldTransform(sitk.GetImageFromArray(rng.random((5, 6, 7)[3 - dims:] + (dims,)), True))
    spline = sitk.BSplineTransformInitializer(sitk.Image([20] * dims, sitk.sitkFloat32), [2] * dims)
    spline.SetParameters(rng.random(len(spline.GetParameters())).tolist())
    chain = sitk.CompositeTransform([sitk.AffineTransform(dims), spline])
    for transform in (field, spline, *([chain] if suffix != "mat" else [])):
        path = tmp_path / f"t.{suffix}"
        sitk.WriteTransform(transform, str(path))
        assert np.abs(moved(read_transform(path)) - moved(transform)).max() < 1e-9


@pytest.mark.parametrize(("old", "new", "why"), [
    ("Parameters: 1 0 0", "Parameters: 1 0", "parameters"),
    ("Parameters: 1 0 0", "Parameters: 1e308 0 0", "not finite"),
    ("AffineTransform_double_3_3", "Euler3DTransform_double_3_3", "parameters"),
    ("AffineTransform_double_3_3", "BSplineTransform_double_3_3", "grid"),
    ("AffineTransform_double_3_3", "DisplacementFieldTransform_double_3_3", "grid"),
    ("FixedParameters: 0 0 0", "FixedParameters: 0 0 0 0 0 0 0", "fixed"),
    ("#Transform 0", "ComponentTransformFile: ../other.tfm", "a line"),
    ("Parameters: 1", "Parameters: \xff1", "numbers"),
    ("AffineTransform_double_3_3", "ComposeScaleSkewVersor3DTransform_double_3_3", "not a transform"),
    ("AffineTransform_double_3_3", "MadeUpTransform_double_3_3", "not a transform|damaged"),
])
def test_what_no_transform_has_is_refused(old: str, new: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "t.tfm"
    sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode("latin-1"))
    with pytest.raises(InputError, match=why):
        read_transform(path)


@pytest.mark.parametrize(("name", "data"), [
    ("t.h5", b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 8), ("t.xfm", b"MNI Transform File\n" + b"\xff" * 2000),
    ("t.mat", b"\xff" * 200)])
def test_formats_that_only_itk_reads_are_tried_apart(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError):
        read_transform(tmp_path / name)


def test_a_rare_image_reads_and_a_hanging_one_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = sitk.GetImageFromArray(np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    sitk.WriteImage(image, str(tmp_path / "x.gipl"))
    assert np.array_equal(read_volume(tmp_path / "x.gipl", "intensity").array, sitk.GetArrayFromImage(image))
    monkeypatch.setattr("AutoRegLib.imaging.probe._SECONDS", 0.0)
    with pytest.raises(InputError, match="does not come to an end"):
        read_volume(tmp_path / "x.gipl", "intensity")
