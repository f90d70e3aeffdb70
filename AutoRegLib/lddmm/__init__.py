"""Geodesic shooting in a band-limited Fourier space, and the prediction of its regularity."""
