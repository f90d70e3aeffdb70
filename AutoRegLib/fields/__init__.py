"""Displacement and velocity fields as tensors: voxel units, axis order (z, y, x), pull-back."""
