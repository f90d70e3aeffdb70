"""Data, the one bilevel algorithm, search, training, checkpoints."""
