"""The MRML scene: volumes, labels, points, transforms, tables, plots, views. Nodes in, nodes out; no Qt."""
