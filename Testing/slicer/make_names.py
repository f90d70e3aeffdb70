"""Writes newer_names.txt: what slicer-core has and the oldest Slicer that the module runs in is not known to have.

    python Testing/slicer/make_names.py SLICER      a checkout of Slicer 5.10, with Base, Libs and Modules

They are in no header of that version and in no class of VTK. By name, not by class or signature; libraries that are
not part of Slicer's own sources (vtkAddon) count as not known.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path


def declared(source: Path) -> set[str]:
    """Every word of the headers, and what VTK's macros make of a name."""
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in source.rglob("*.h"))
    made = {word for name in re.findall(r"\bvtk\w*Macro\(\s*(\w+)", text)
            for word in (f"Get{name}", f"Set{name}", f"{name}On", f"{name}Off")}
    return made | set(re.findall(r"\b[A-Za-z_]\w+", text))


def main(source: Path) -> None:
    import slicer
    import vtk

    known = declared(source) | {name for kind in dir(vtk) for name in dir(getattr(vtk, kind))}
    here = {name for kind in dir(slicer) if kind.startswith("vtk") for name in dir(getattr(slicer, kind))}
    newer = sorted(name for name in here - known if name[:1].isupper() and len(name) > 1)
    target = Path(__file__).with_name("newer_names.txt")
    target.write_text(textwrap.fill(" ".join(newer), 118) + "\n", encoding="utf-8")
    print(f"{target}: {len(newer)} names")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
