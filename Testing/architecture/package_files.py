"""What the extension ships, read from the tree and from the CMake lists. Run, it writes lists and screenshots.

``python Testing/architecture/package_files.py``
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("AutoRegLib", "AutoRegSlicer")
SCRIPTS, RESOURCES = "MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"
#: what lies beside the sources and is no part of the package
NOT_SHIPPED = ("CMakeLists.txt",)


def shipped(module: str) -> tuple[list[str], list[str]]:
    """The scripts and the resources in a module's folder, relative to it."""
    base = ROOT / module
    files = sorted(
        path.relative_to(base).as_posix() for path in base.rglob("*")
        if path.is_file() and path.name not in NOT_SHIPPED
        and not any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(base).parts)
    )
    return [f for f in files if f.endswith(".py")], [f for f in files if not f.endswith((".py", ".pyc"))]


def listed(module: str, name: str) -> list[str]:
    """The entries of one ``set()`` in a module's CMakeLists.txt."""
    text = (ROOT / module / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf"set\({name}\s(.*?)\)", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no {name} in {module}/CMakeLists.txt")
    return found[1].split()


def write_lists() -> None:
    """Put what is shipped into both CMake files."""
    for module in MODULES:
        path = ROOT / module / "CMakeLists.txt"
        text = path.read_text(encoding="utf-8")
        for name, files in zip((SCRIPTS, RESOURCES), shipped(module), strict=True):
            lines = "".join(f"  {file}\n" for file in files)
            text = re.sub(rf"set\({name}\s.*?\)", f"set({name}\n{lines}  )", text, count=1, flags=re.DOTALL)
        path.write_text(text, encoding="utf-8")


def write_screenshots() -> None:
    """Name the pictures of Resources/Screenshots in CMakeLists.txt and AutoRegSlicer.s4ext, on one line."""
    base = metadata()["HOMEPAGE"] + "/raw/main/"
    pictures = sorted((ROOT / "Resources" / "Screenshots").glob("*.png"))
    urls = " ".join(base + path.relative_to(ROOT).as_posix() for path in pictures)
    for name, pattern, line in (
        ("CMakeLists.txt", r"set\(EXTENSION_SCREENSHOTURLS .*\)", f'set(EXTENSION_SCREENSHOTURLS "{urls}")'),
        ("AutoRegSlicer.s4ext", r"^screenshoturls .*$", f"screenshoturls {urls}"),
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        (ROOT / name).write_text(re.sub(pattern, line, text, flags=re.MULTILINE), encoding="utf-8")


def metadata() -> dict[str, str]:
    """The ``EXTENSION_`` values of the top CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    values = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]*)"\)', text, re.MULTILINE))
    project = re.search(r"^project\((\w+)\)", text, re.MULTILINE)
    return {**values, "PROJECT": project[1] if project else ""}


def s4ext() -> dict[str, str]:
    """Keys and values of AutoRegSlicer.s4ext."""
    lines = (ROOT / "AutoRegSlicer.s4ext").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" ", 1) for line in lines if line.strip() and not line.startswith("#"))
    return {key: value.strip() for key, value in pairs}


if __name__ == "__main__":
    write_lists()
    write_screenshots()
