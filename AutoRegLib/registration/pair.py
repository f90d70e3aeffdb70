"""One pair as the user gives it: files and options in, checked volumes out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.options import Affine, Deliver, Regularity, Similarity, Transformation
from AutoRegLib.core.recipe import recipe_file
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.files import file_sha256, read_points, read_transform, read_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.points import partners
from AutoRegLib.imaging.single_slice import SlicePair, slice_pair
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.guides import Landmarks, check_inside, check_linear


@dataclass(frozen=True)
class RegisterOptions:
    """What may accompany the two images, and what is wanted of the registration."""

    moving_labels: str | Path | None = None
    fixed_labels: str | Path | None = None
    fixed_landmarks: str | Path | None = None
    moving_landmarks: str | Path | None = None
    fixed_mask: str | Path | None = None
    moving_mask: str | Path | None = None
    guide_landmarks: tuple[str | Path, ...] | None = None  # fixed and moving
    initial_transform: str | Path | None = None  # fixed to moving points, as every transform here
    affine: Affine = "auto"
    refine: int | Literal["auto", "full"] = 0  # most iterations at the finest level
    similarity: Similarity = "auto"  # without a network only
    loss: str | Path | None = None  # a recipe whose loss is taken; without a network only
    smoothness: float = 0.0  # of the refinement, mm
    preserve_volume: float = 0.0  # weight in the refinement
    deliver: Deliver = "auto"  # or "whole": what was found, even where it harms
    transformation: Transformation = "svf"  # without a network only
    alpha: Regularity = "auto"  # of lddmm; mm squared
    predictor: str | Path | None = None  # of alpha "auto"
    inverse: bool = False
    transform_format: tuple[str, ...] = ("nrrd",)
    compress: bool = True  # displacement fields in .nrrd
    memory: float | None = None  # GB of main memory at most
    share: bool = False  # the report names files only, landmarks by number
    seed: int = 0


@dataclass(frozen=True, eq=False)
class PairInputs:
    """Two images and whatever is known about them; labels and mask lie on their image's grid."""

    fixed: Volume
    moving: Volume
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    mask: np.ndarray | None = None  # of the fixed image; measures are also taken inside it
    moving_mask: np.ndarray | None = None
    landmarks: Landmarks | None = None
    guides: Landmarks | None = None  # these guide, the others measure
    initial: Any = None  # a SimpleITK transform
    files: dict[str, str] = field(default_factory=dict)  # role -> path
    slices: SlicePair | None = None  # the volumes of one slice that these 2-D images were; results are lifted back

    def written_field(self, field: DisplacementField, *, inverse: bool = False) -> DisplacementField:
        """A field found for these images as one of the files they came from."""
        return field if self.slices is None else self.slices.field(field, inverse=inverse)

    def written_velocity(self, field: DisplacementField) -> DisplacementField:
        """A velocity on a working grid of the fixed image as one of the file that it came from."""
        return field if self.slices is None else self.slices.fixed.turned(field)

    def file_geometry(self, role: str) -> Geometry:
        """The lattice of the file that an image came from: the fixed or the moving one."""
        found = self if self.slices is None else self.slices
        return (found.fixed if role == "fixed" else found.moving).geometry

    def written_linear(self, transform: Any) -> Any:
        """A linear map between these images as one between the files they came from."""
        return transform if self.slices is None else self.slices.affine(transform)

    def written_volume(self, volume: Volume) -> Volume:
        """What lies on the fixed image's grid as a volume on that of its file."""
        return volume if self.slices is None else self.slices.fixed.lifted(volume)

    def hashes(self) -> dict[str, dict[str, str]]:
        """Path and SHA-256 of every file that was read."""
        return {role: {"path": path, "sha256": file_sha256(path)} for role, path in self.files.items()}


def read_pair(fixed: str | Path, moving: str | Path, options: RegisterOptions) -> PairInputs:
    """Read everything the options name. Raises InputError (unreadable, other dimensions, other grids)."""
    named = {
        "fixed": fixed, "moving": moving, "fixed_labels": options.fixed_labels,
        "moving_labels": options.moving_labels, "fixed_mask": options.fixed_mask,
        "moving_mask": options.moving_mask,
        "fixed_landmarks": options.fixed_landmarks, "moving_landmarks": options.moving_landmarks,
        "initial_transform": options.initial_transform,
        "loss": None if options.loss is None else recipe_file(options.loss),
        **dict(zip(("fixed_guides", "moving_guides"), options.guide_landmarks or (), strict=False)),
    }
    files = {role: str(path) for role, path in named.items() if path is not None}
    images = {role: read_volume(files[role], "intensity", flat=False) for role in ("fixed", "moving")}
    flat = any(image.geometry.dims == 2 for image in images.values())
    if flat:  # beside a picture a volume of one slice is a picture too
        images = {role: read_volume(files[role], "intensity") for role in images}
    dims = {role: image.geometry.dims for role, image in images.items()}
    if dims["fixed"] != dims["moving"]:
        raise InputError("the two images have different dimensions", expected="both 2-D or both 3-D",
                         got=f"fixed {dims['fixed']}-D, moving {dims['moving']}-D",
                         remedy="extract the matching slice, or give two volumes")
    labels = {
        role: read_labels(files[role], images[image], role=role.replace("_", " "), image_role=f"{image} image",
                          flat=flat)
        for role, image in (("fixed_labels", "fixed"), ("moving_labels", "moving"), ("fixed_mask", "fixed"),
                                 ("moving_mask", "moving"))
        if role in files
    }
    masks = {role: labels[role].array > 0 for role in ("fixed_mask", "moving_mask") if role in labels}
    for role, mask in masks.items():
        if not mask.any():
            raise InputError(f"the {role.replace('_', ' ')} {files[role]} is empty", expected="voxels above 0",
                             remedy="leave the mask out, or draw it")
    initial = None
    if "initial_transform" in files:
        initial = read_transform(files["initial_transform"])
        if initial.GetDimension() != dims["fixed"]:
            raise InputError("the initial transform has another dimension than the images",
                             expected=f"{dims['fixed']}-D", got=f"{initial.GetDimension()}-D",
                             remedy="choose the transform that belongs to these images")
    guides = read_landmarks(files.get("fixed_guides"), files.get("moving_guides"), dims=dims["fixed"])
    if guides is not None:
        check_inside(guides, *(images[role].geometry for role in ("fixed", "moving")))
        check_linear(initial)
    landmarks = read_landmarks(files.get("fixed_landmarks"), files.get("moving_landmarks"), dims=dims["fixed"])
    return _in_plane(PairInputs(
        images["fixed"], images["moving"], labels.get("fixed_labels"), labels.get("moving_labels"),
        masks.get("fixed_mask"), masks.get("moving_mask"), landmarks, guides, initial, files))


def _in_plane(pair: PairInputs) -> PairInputs:
    """Volumes of a single slice and what belongs to them as 2-D images, other pairs as they are. Raises InputError."""
    slices = slice_pair(pair.fixed.geometry, pair.moving.geometry)
    if slices is None:
        return pair
    fixed, moving = slices.fixed, slices.moving

    def flat(points: Landmarks | None) -> Landmarks | None:
        return None if points is None else replace(
            points, fixed=fixed.points(points.fixed), moving=moving.points(points.moving))

    return replace(
        pair, fixed=fixed.volume(pair.fixed), moving=moving.volume(pair.moving),
        fixed_labels=None if pair.fixed_labels is None else fixed.volume(pair.fixed_labels),
        moving_labels=None if pair.moving_labels is None else moving.volume(pair.moving_labels),
        mask=fixed.mask(pair.mask), moving_mask=moving.mask(pair.moving_mask),
        landmarks=flat(pair.landmarks), guides=flat(pair.guides),
        initial=None if pair.initial is None else slices.transform(pair.initial), slices=slices)


def read_labels(path: str | Path, image: Volume, *, role: str, image_role: str, flat: bool = True) -> Volume:
    """A label map that lies on its image's grid. Raises InputError naming both grids when it does not."""
    labels = read_volume(path, "labels", flat=flat)
    if labels.geometry.dims != image.geometry.dims or not labels.geometry.close_to(image.geometry, tolerance=1e-3):
        raise InputError(f"the {role} lie on another grid than the {image_role}",
                         expected=f"the grid of the {image_role}",
                         got=f"{path}: {labels.geometry.difference(image.geometry)} ({role} against {image_role})",
                         remedy="resample the labels onto their image with nearest-neighbour interpolation")
    return Volume(labels.array, image.geometry, "labels")


def read_landmarks(fixed: str | Path | None, moving: str | Path | None, *, dims: int) -> Landmarks | None:
    """Corresponding landmarks, matched by name where the names agree, else by order.

    Raises: InputError when only one file is given, or the points do not correspond.
    """
    if fixed is None and moving is None:
        return None
    if fixed is None or moving is None:
        raise InputError("landmarks on one image only", expected="fixed and moving landmarks",
                         got=fixed or moving, remedy="give both files, or none")
    (fixed_names, fixed_points), (moving_names, moving_points) = read_points(fixed), read_points(moving)
    fixed_points, moving_points = (_points(p, dims, path) for p, path in
                                   ((fixed_points, fixed), (moving_points, moving)))
    return Landmarks(fixed_names, fixed_points, moving_points[partners(fixed_names, moving_names)])


def _points(points: np.ndarray, dims: int, path: str | Path) -> np.ndarray:
    """Landmarks in the images' dimension; a 2-D image accepts points whose third coordinate is there."""
    if points.shape[1] < dims:
        raise InputError(f"{path} holds {points.shape[1]}-D points", expected=f"{dims}-D points like the images",
                         remedy="add the column z")
    return points[:, :dims]
