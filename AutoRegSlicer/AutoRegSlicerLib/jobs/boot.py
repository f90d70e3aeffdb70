"""A script, not a module of Slicer: ``boot.py ROOT ARGUMENTS`` runs ``autoreg ARGUMENTS`` of the library in ROOT.

The library that lies beside this module is taken, whatever else that interpreter has installed. Its folder leaves
the path again, so that nothing beside it (Slicer's other modules) hides a package.
"""

import runpy
import sys

if __name__ == "__main__":
    root = sys.argv.pop(1)
    sys.path.insert(0, root)
    import AutoRegLib  # noqa: F401

    sys.path.remove(root)
    runpy.run_module("AutoRegLib", run_name="__main__")
