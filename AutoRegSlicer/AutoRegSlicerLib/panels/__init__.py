"""The panels of the module: each wires one form to the logic; none holds image data or does the work itself."""
