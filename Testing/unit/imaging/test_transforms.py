"""A transform cut anywhere is refused, or is the same transform; never another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.files import read_transform

CENTRE, SHIFT = (10.5, 20.25, 30.125), (1.2345, 2.3456, 3.4567)
POINT = (5.0, 6.0, 7.0)


def made(kind: str) -> sitk.Transform:
    rigid = sitk.Euler3DTransform(CENTRE, 0.1, 0.2, 0.3, SHIFT)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.1, 0.1, 0.0, 0.0, 0.9, 0.2, 0.1, 0.0, 1.2))
    affine.SetTranslation(SHIFT)
    affine.SetCenter(CENTRE)
    spline = sitk.BSplineTransformInitializer(sitk.Image(20, 20, 20, sitk.sitkFloat32), [2, 2, 2])
    spline.SetParameters(np.random.default_rng(0).random(len(spline.GetParameters())).tolist())
    return {"rigid": rigid, "affine": affine, "spline": spline, "chain": sitk.CompositeTransform([affine, rigid])}[kind]


@pytest.mark.parametrize("suffix", ["tfm", "txt", "mat"])
@pytest.mark.parametrize("kind", ["rigid", "affine", "spline", "chain"])
def test_no_cut_makes_another_transform(kind: str, suffix: str, tmp_path: Path) -> None:
    if (kind, suffix) == ("chain", "mat"):
        pytest.skip("ITK writes no chains in this format")
    path = tmp_path / f"t.{suffix}"
    sitk.WriteTransform(made(kind), str(path))
    data, expected = path.read_bytes(), read_transform(path).TransformPoint(POINT)
    assert np.allclose(expected, made(kind).TransformPoint(POINT), atol=1e-9)
    cuts = range(1, len(data)) if len(data) < 1000 else [*range(1, 300, 7), *range(len(data) - 150, len(data))]
    for length in cuts:
        if kind == "chain" and data[length:].startswith(b"#Transform ") and length > 100:
            continue  # how many transforms a chain has stands nowhere in it
        path.write_bytes(data[:length])
        try:
            found = read_transform(path)
        except InputError as problem:
            assert problem.remedy
        else:
            assert found.TransformPoint(POINT) == expected, f"{length} of {len(data)} bytes"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["t.nrrd", "t.mha", "t.h5", "t.tfm", "c.h5"])
def test_numbers_that_are_not_finite_are_refused(name: str, value: float, tmp_path: Path) -> None:
    vectors = np.zeros((5, 6, 7, 3))
    vectors[1, 2, 3, 0] = value
    image = sitk.GetImageFromArray(vectors, isVector=True)
    path = str(tmp_path / name)
    if name in ("t.nrrd", "t.mha"):
        sitk.WriteImage(image, path)
    else:
        field = sitk.DisplacementFieldTransform(image)
        sitk.WriteTransform(field if name[0] == "t" else sitk.CompositeTransform([made("affine"), field]), path)
    with pytest.raises(InputError, match=r"not finite|not a transform"):
        read_transform(path)
