"""Masks guide a whole registration: a foreign object is left out of it, and what it looks like does not matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.synthetic import known_model

from AutoRegLib.bridge import displacement_to_field
from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.resample import resize_displacement
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.files import read_displacement, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pipeline import register_volumes
from AutoRegLib.registration.run import RegisterOptions, register

SHAPE = (36, 40, 32)
GRID = Geometry(SHAPE[::-1], (1.5, 1.5, 1.5), (-20.0, 10.0, 30.0), tuple(np.eye(3).ravel().tolist()))
WHERE = (slice(12, 24), slice(14, 28), slice(10, 22))  # of the foreign object


def anatomy(*, object_in: str = "", value: float = 6.0, contrast: float = 1.0) -> tuple[Volume, Volume, Any]:
    """A textured moving image, what a known smooth field makes of it, and that field; an object in one of them."""
    random = torch.Generator().manual_seed(7)
    moving = 2 * gaussian(torch.rand(1, 1, *SHAPE, generator=random), 1.7)
    velocity = resize_displacement(torch.randn(1, 3, 4, 4, 4, generator=random), SHAPE)
    truth = exponentiate(gaussian(3.0 * velocity / velocity.abs().amax(), 2.0))
    images = {"fixed": contrast * warp(moving, truth)[0, 0].numpy(), "moving": moving[0, 0].numpy()}
    if object_in:
        pattern = np.random.default_rng(3).normal(value, 1.0, [s.stop - s.start for s in WHERE])
        images[object_in][WHERE] = pattern
    fixed, moved = (Volume(images[role].astype(np.float32), GRID, "intensity") for role in ("fixed", "moving"))
    return fixed, moved, displacement_to_field(truth, GRID)


def mask_of() -> np.ndarray:
    """Everything but the object, with a voxel to spare."""
    mask = np.ones(SHAPE, np.uint8)
    mask[tuple(slice(s.start - 1, s.stop + 1) for s in WHERE)] = 0
    return mask


def run(folder: Path, pair: tuple[Volume, Volume, Any], mask: str = "", *, model: Any = None,
        **options: Any) -> tuple[dict[str, Any], DisplacementField]:
    folder.mkdir(exist_ok=True)
    write_volume(pair[0], folder / "fixed.nrrd")
    write_volume(pair[1], folder / "moving.nrrd")
    given = {}
    if mask:
        write_volume(Volume(mask_of(), GRID, "labels"), folder / "mask.nrrd")
        given = {f"{mask}_mask": folder / "mask.nrrd"}
    report = register(model, folder / "fixed.nrrd", folder / "moving.nrrd", output=folder / "out",
                      options=RegisterOptions(**{"refine": 10, "affine": "none", **given, **options}))
    return report, read_displacement(folder / "out/transform.nrrd")


def error(found: DisplacementField, truth: DisplacementField, where: Any) -> float:
    """Mean length of the difference. Unit: mm."""
    return float(np.linalg.norm(found.vectors - truth.vectors, axis=-1)[where].mean())


def test_a_mask_leaves_the_field_as_smooth_as_without_it() -> None:
    """The similarity is a mean over a fifth of the voxels, so the smoothness, over all, weighs five times more."""
    fixed, moving, truth = anatomy()
    mask, inner = np.zeros(SHAPE, bool), tuple(slice(size // 2 - 9, size // 2 + 9) for size in SHAPE)
    mask[tuple(slice(s.start - 2, s.stop + 2) for s in inner)] = True
    plain, masked = (register_volumes(no_network(GRID, GRID), fixed, moving, affine="none", refine=40,
                                      similarity="lncc", fixed_mask=given).field for given in (None, mask))
    rough = [float(np.abs(np.diff(field.vectors[inner], axis=0)).mean()) for field in (plain, masked, truth)]
    assert max(rough) < 1.3 * min(rough), rough
    assert error(masked, truth, inner) < 0.5 * float(np.linalg.norm(truth.vectors[inner], axis=-1).mean())


@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize("side", [0.58, 0.79])
def test_what_a_mask_holds_is_found_as_well_as_without_it(side: float, role: str) -> None:
    """Three voxels inside a mask of a fifth and of half of the volume: what was made up beyond does not reach there."""
    fixed, moving, truth = anatomy()
    mask = np.zeros(SHAPE, bool)
    half = [round(size * side / 2) for size in SHAPE]
    mask[tuple(slice(size // 2 - n, size // 2 + n) for size, n in zip(SHAPE, half, strict=True))] = True
    deep = tuple(slice(size // 2 - n + 3, size // 2 + n - 3) for size, n in zip(SHAPE, half, strict=True))
    plain, masked = (register_volumes(no_network(GRID, GRID), fixed, moving, affine="none", refine="auto",
                                      similarity="lncc", **given).field for given in ({}, {f"{role}_mask": mask}))
    assert error(plain, truth, deep) < 0.35 * float(np.linalg.norm(truth.vectors[deep], axis=-1).mean())
    assert error(masked, truth, deep) < error(plain, truth, deep)


@pytest.mark.parametrize("similarity", ["lncc", "mind"])
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_masked_object_no_longer_misleads(tmp_path: Path, role: str, similarity: str) -> None:
    pair = anatomy(object_in=role)
    plain, masked = (run(tmp_path / f"a{mask}", pair, mask, similarity=similarity)[1] for mask in ("", role))
    near = np.zeros(SHAPE, bool)
    near[tuple(slice(s.start - 4, s.stop + 4) for s in WHERE)] = True
    for region in (near, near & (mask_of() > 0)):  # under the mask and beside it
        errors = [error(field, pair[2], region) for field in (plain, masked)]
        assert errors[1] < 0.75 * errors[0], errors


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_what_lies_outside_a_mask_does_not_matter(tmp_path: Path, role: str) -> None:
    """To the bit, affine alignment and the choice of the similarity included."""
    options = {"affine": "auto", "refine": 3}
    (first, one), (second, other) = (
        run(tmp_path / str(value), anatomy(object_in=role, value=value), role, **options) for value in (6.0, -40.0))
    assert np.array_equal(one.vectors, other.vectors)
    assert first["refine"]["similarity_reason"] == second["refine"]["similarity_reason"]


def test_a_full_mask_is_no_mask(tmp_path: Path) -> None:
    pair = anatomy()
    write_volume(Volume(np.ones(SHAPE, np.uint8), GRID, "labels"), tmp_path / "full.nrrd")
    plain = run(tmp_path / "a", pair, affine="auto", refine=3)[1]
    masked = run(tmp_path / "b", pair, affine="auto", refine=3, fixed_mask=tmp_path / "full.nrrd",
                 moving_mask=tmp_path / "full.nrrd")[1]
    assert np.array_equal(plain.vectors, masked.vectors)


def test_a_network_does_not_look_at_masks_and_the_report_says_so(tmp_path: Path) -> None:
    model = known_model(3, 0.5)
    for affine, words in (("auto", "affine alignment alone"), ("none", "guided nothing")):
        report = run(tmp_path / affine, anatomy(), "fixed", model=model, refine=0, affine=affine)[0]
        assert any(words in text and "refinement" in text for text in report["warnings"])
    refined = run(tmp_path / "refined", anatomy(), "fixed", model=model, refine=2)[0]
    assert not any("guided" in text for text in refined["warnings"])
    assert refined["refine"]["similarity"] in ("lncc", "mind", "lncc+mind")


def test_the_report_says_what_images_were_compared_by(tmp_path: Path) -> None:
    done = run(tmp_path / "alike", anatomy(contrast=1.0), refine=2)[0]["refine"]
    assert done["similarity"] == "lncc" and "of one kind" in done["similarity_reason"]
    done = run(tmp_path / "inverted", anatomy(contrast=-1.0), refine=2)[0]["refine"]  # tried: squared, it suits as well
    assert "correlate" in done["similarity_reason"] and "known warp" in done["similarity_reason"]
    done = run(tmp_path / "asked", anatomy(), refine=2, similarity="mind")[0]["refine"]
    assert (done["similarity"], done["similarity_reason"]) == ("mind", "asked for")


def test_masks_that_cannot_guide_are_refused(tmp_path: Path) -> None:
    write_volume(Volume(np.zeros(SHAPE, np.uint8), GRID, "labels"), tmp_path / "empty.nrrd")
    with pytest.raises(InputError, match=r"moving mask .* is empty"):
        run(tmp_path / "a", anatomy(), moving_mask=tmp_path / "empty.nrrd")
    other = Geometry(GRID.size, (2.0, 2.0, 2.0), GRID.origin, GRID.direction)
    write_volume(Volume(np.ones(SHAPE, np.uint8), other, "labels"), tmp_path / "other.nrrd")
    with pytest.raises(InputError, match="moving mask lie on another grid"):
        run(tmp_path / "b", anatomy(), moving_mask=tmp_path / "other.nrrd")
