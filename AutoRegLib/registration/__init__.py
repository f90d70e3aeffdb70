"""One pair: alignment, network, refinement, one composed field, and the report on it."""
