"""Writes names.txt: the methods and constants of the scene that the module uses, found in the oldest Slicer it runs in.

    python Testing/slicer/make_names.py SLICER      a checkout of Slicer 5.10, with Base, Libs and Modules

Says which names are not there, in no header of Slicer and in no class of VTK, and leaves them out: the module would
fail in that version. By name, not by class or signature.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


def declared(source: Path) -> set[str]:
    """Every word of the headers, and what VTK's macros make of a name."""
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in source.rglob("*.h"))
    made = {word for name in re.findall(r"\bvtk\w*Macro\(\s*(\w+)", text)
            for word in (f"Get{name}", f"Set{name}", f"{name}On", f"{name}Off")}
    return made | set(re.findall(r"\b[A-Za-z_]\w+", text))


def main(source: Path) -> int:
    import reaching
    import vtk

    known = declared(source) | {name for kind in dir(vtk) for name in dir(getattr(vtk, kind))}
    used = reaching.scene_names()
    target = HERE / "names.txt"
    target.write_text(textwrap.fill(" ".join(sorted(used & known)), 118) + "\n", encoding="utf-8")
    print(target, *(f"not in {source.name}: {name}" for name in sorted(used - known)), sep="\n")
    return len(used - known)


if __name__ == "__main__":
    import slicer  # noqa: F401 - before the folder of that name is on the path

    sys.exit(main(Path(sys.argv[1])))
