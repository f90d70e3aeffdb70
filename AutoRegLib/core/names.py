"""Names that become files or folders: which ones no system may be given, and one made of any text."""

from __future__ import annotations

import re
import unicodedata

_DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{number}" for kind in ("com", "lpt") for number in range(1, 10))}
_LONGEST = 200  # bytes; most file systems have 255, and what is written beside adds to it


def is_folder_name(name: str) -> bool:
    """Whether one folder can have this name on every system, and be seen for what it is.

    Not: separators, names that hide or climb, ends that Windows drops, its devices, characters that move a cursor.
    """
    return (name != "" and name == name.strip() and name[0] != "." and name[-1] != "." and not set(name) & set("/\\")
            and name.isprintable() and name.split(".")[0].strip().lower() not in _DEVICES
            and len(name.encode("utf-8", "replace")) <= _LONGEST)


def file_stem(text: str, other: str) -> str:
    """A name of letters, digits, dots and dashes for what is called ``text``; ``other`` where nothing is left."""
    stem = re.sub(r"[^\w.-]+", "-", text).strip(".-")[:60] or other
    return stem if is_folder_name(stem) else other


def same_file(name: str) -> str:
    """What names have in common that some systems take for one file: case, Unicode form, ends, ways to write a path."""
    plain = unicodedata.normalize("NFKC", name.replace("\\", "/")).casefold().split("\0")[0].strip()
    return "/".join(part.rstrip(". ") for part in plain.split("/") if part not in ("", "."))
