"""Diffeomorphic registration by geodesic shooting in a band-limited Fourier space, with its regularity estimated.

Conventions of this package. The grid is a torus of N voxels per axis; fields are in voxels of that grid, components in
axis order (z, y, x), pull-back as everywhere here. A velocity or a displacement of the band is a real tensor
``(B, d, n, n, n)`` of *coordinates*: along every axis the constant, then cosine and sine of each frequency 1 .. m.
These are the Hermitian Fourier coefficients without their redundancy (:meth:`AutoRegLib.geodesic.band.Band.spectrum`
gives the complex ones), orthonormal on the band's own lattice of n = 2 m + 1 points per axis: independent coordinates
of variance 1 make a field of variance 1 voxel squared everywhere, and ``(L v, v) = sum of L v^2``. The regularity
``alpha`` is in squared voxels; in mm it is ``alpha * spacing^2``.
"""
