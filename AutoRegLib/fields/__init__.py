"""Displacement and velocity fields as tensors: voxel units, axis order (z, y, x), pull-back."""

from AutoRegLib.fields.jacobian import folds, jacobian_determinant
from AutoRegLib.fields.resample import downsample, resize_displacement, resize_image
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import compose, exponentiate, invert
from AutoRegLib.fields.warp import identity_grid, sample_at, warp

__all__ = [
    "compose",
    "downsample",
    "exponentiate",
    "folds",
    "gaussian",
    "identity_grid",
    "invert",
    "jacobian_determinant",
    "resize_displacement",
    "resize_image",
    "sample_at",
    "warp",
]
