"""Displacement and velocity fields as tensors: voxel units, axis order (z, y, x), pull-back."""

from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.resample import downsample, resize_displacement, resize_image
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import compose, exponentiate
from AutoRegLib.fields.warp import identity_grid, sample_at, warp

__all__ = [
    "compose",
    "downsample",
    "exponentiate",
    "gaussian",
    "identity_grid",
    "jacobian_determinant",
    "resize_displacement",
    "resize_image",
    "sample_at",
    "warp",
]
