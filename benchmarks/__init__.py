"""Speed and accuracy against peers: ``python -m benchmarks.run``. Never imported by the package."""
