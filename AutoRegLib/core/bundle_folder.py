"""The model folders on this computer, read without torch: list, describe, import, export, rename, delete.

Both halves use it: ``autoreg models`` and the Slicer module see the same folders and archives. Weights are looked at by
their header alone, which says how many values there are and how long the file must be.
"""

from __future__ import annotations

import math
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import AutoRegLib
from AutoRegLib.core.errors import AutoRegError, InputError
from AutoRegLib.core.names import is_folder_name, same_file
from AutoRegLib.core.places import models_folder
from AutoRegLib.core.recipe import Recipe, read_recipe
from AutoRegLib.core.recipe_loss import loss_words
from AutoRegLib.core.records import make_folder, persist, write_whole
from AutoRegLib.core.strict_json import MOST_BYTES as MOST_JSON
from AutoRegLib.core.strict_json import parse_object, read_object

WEIGHTS = "weights.safetensors"
FILES = ("recipe.json", WEIGHTS, "card.md", "provenance.json", "metrics.json", "history.csv")
#: bytes of one file in an archive; a model has some megabytes, its words and figures some kilobytes
MOST_BYTES = dict.fromkeys(FILES, 4_000_000) | {"history.csv": 64_000_000, WEIGHTS: 4_000_000_000}
_LONGEST_HEADER = MOST_JSON
_MOST_ENTRIES, _MOST_COMMENT = 1000, 1000  # of an archive; bytes of its comment
_CLOSEST = 50  # no file of a model that is longer than a megabyte packs so many times shorter
_DIRECTORY = struct.Struct("<4s4H2IH")  # the record at the end of an archive
_TYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}  # bytes


@dataclass(frozen=True)
class Bundle:
    """What a model folder says of itself. ``shipped`` ones cannot be renamed or deleted. Unit: bytes, seconds."""

    name: str
    folder: Path
    recipe: Recipe
    parameters: int
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    shipped: bool = False
    modified: float = 0.0
    bytes: int = 0

    @property
    def network(self) -> str:
        return self.recipe.network.name

    @property
    def modality(self) -> str:
        return self.recipe.preprocessing.modality

    @property
    def anatomy(self) -> str:
        """What it was trained on: the structures it knows, else the scenario's name."""
        return ", ".join(self.recipe.structures.values()) or str(self.provenance.get("scenario", ""))

    @property
    def spacing(self) -> tuple[float, ...]:
        """Working grid, mm."""
        return self.recipe.preprocessing.spacing

    def validation(self, name: str) -> float | None:
        """A figure of the validation split: dice, folds, loss; None when it was not measured."""
        value = _part(self.metrics, "validation").get(f"val_{name}")
        return float(value) if isinstance(value, (int, float)) else None

    @property
    def loss(self) -> str:
        """The found loss in words."""
        return loss_words(self.recipe)

    @property
    def card(self) -> str:
        """The model card, Markdown; of a stranger's endless one the beginning."""
        with (self.folder / "card.md").open(encoding="utf-8", errors="replace") as stream:
            return stream.read(MOST_BYTES["card.md"])

    def facts(self) -> dict[str, Any]:
        """What a user wants to know before choosing a model, as plain JSON values."""
        recipe = self.recipe
        return {
            "name": self.name, "path": str(self.folder), "network": self.network, "spatial_dims": recipe.spatial_dims,
            "spacing_mm": list(self.spacing), "modality": self.modality,
            "scenario": self.provenance.get("scenario", ""), "parameters": self.parameters,
            "validation": _part(self.metrics, "validation"),
            "labels_in_training": recipe.objective.label_weight > 0,
        }


def _part(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """The object of that name in what a stranger's model says; empty where there is none."""
    part = facts.get(name)
    return dict(part) if isinstance(part, dict) else {}


def bundle_folders() -> dict[str, tuple[Path, bool]]:
    """Name to folder, and whether it is shipped; shipped ones come first, and no other hides them.

    A folder whose recipe is not there yet, which is written last, is a training that runs.
    """
    folders: dict[str, tuple[Path, bool]] = {}
    for base, shipped in ((Path(AutoRegLib.__file__).parent / "models", True), (models_folder(), False)):
        for folder in sorted(base.iterdir()) if base.is_dir() else []:
            if (folder / "recipe.json").is_file() and not folder.name.startswith("."):
                folders.setdefault(folder.name, (folder, shipped))
    return folders


def list_bundles() -> tuple[list[Bundle], list[str]]:
    """The models, shipped ones first, then the newest; and a line for each folder that cannot be read."""
    found, problems = [], []
    for folder, shipped in bundle_folders().values():
        try:
            found.append(read_bundle(folder, shipped=shipped))
        except AutoRegError as problem:
            problems.append(f"{folder.name}: {problem.what}")
    return sorted(found, key=lambda bundle: (not bundle.shipped, -bundle.modified)), problems


def locate_bundle(name: str | Path) -> Path:
    """The folder of a bundle given as a folder, or by the name of a shipped or imported one. Raises InputError."""
    if Path(name).is_dir():
        return Path(name)
    known = bundle_folders()
    if str(name) in known:
        return known[str(name)][0]
    raise InputError(f"no model '{name}'", expected="a bundle folder" + "".join(f", {n}" for n in known), got=name,
                     remedy="train one with 'autoreg train', or see 'autoreg models list'")


def read_bundle(folder: str | Path, *, shipped: bool = False) -> Bundle:
    """One model folder. Raises InputError when a file is missing or damaged."""
    folder = Path(folder)
    stats = check_complete(folder)
    recipe = read_recipe(folder / "recipe.json")
    metrics, provenance = read_facts(folder / "metrics.json"), read_facts(folder / "provenance.json")
    return Bundle(folder.name, folder, recipe, count_weights(folder / WEIGHTS), metrics, provenance, shipped,
                  max(s.st_mtime for s in stats), sum(s.st_size for s in stats))


def check_complete(folder: Path) -> list[os.stat_result]:
    """What the system tells of each of a model's files. Raises InputError when one is missing."""
    found, missing = [], []
    for name in FILES:
        try:
            found.append((folder / name).stat())
        except (OSError, ValueError):
            missing.append(name)
        else:
            missing += [] if stat.S_ISREG(found[-1].st_mode) else [name]
    if missing:
        raise InputError(f"the model folder {folder} is incomplete", expected=", ".join(FILES),
                         got=f"no {', '.join(missing)}",
                         remedy="copy the whole folder again or train the model again")
    return found


def count_weights(path: Path) -> int:
    """How many values the weights have, from the header. Raises InputError when the file is cut short or damaged."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = parse_object(stream.read(length), where=str(path)) if length <= _LONGEST_HEADER else {}
        header.pop("__metadata__", None)
        count = end = 0
        for start, stop, shape, size in sorted(_placed(tensor) for tensor in header.values()):
            if start != end or stop - start != math.prod(shape) * size:
                raise ValueError("tensors that overlap, or of another length than their shape")
            count, end = count + math.prod(shape), stop
        if header and path.stat().st_size == 8 + length + end:
            return count
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        pass
    raise InputError(f"the weights in {path.parent} are damaged", expected="a whole safetensors file",
                     remedy="copy the whole folder again or train the model again")


def _placed(tensor: dict[str, Any]) -> tuple[int, int, tuple[int, ...], int]:
    """First and last byte of a tensor, its shape, and the bytes of a value. Raises ValueError, KeyError, TypeError."""
    (start, stop), shape = tensor["data_offsets"], tensor["shape"]
    if any(type(number) is not int or number < 0 for number in (start, stop, *shape)):
        raise ValueError("no whole number from 0 on")
    return start, stop, tuple(shape), _TYPES[tensor["dtype"]]


def read_facts(path: Path) -> dict[str, Any]:
    """A JSON object without a schema. Raises InputError."""
    try:
        return read_object(path)
    except InputError as problem:
        raise InputError(f"{path} is damaged", got=problem.got, remedy="copy the whole folder again") from None


def import_archive(archive: str | Path, check: Callable[[Path], Any] = read_bundle) -> Bundle:
    """Unpack a zip archive into the user's models; only the known files are taken, none larger than allowed.

    ``check``: of the unpacked folder, before it gets its name. Raises InputError (no model, name taken), DiskError.
    """
    archive = Path(archive)
    target = free_folder(archive.name.removesuffix(".zip"))
    make_folder(target.parent)
    staging = target.with_name(f".{target.name}.incoming")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _check_directory(archive)
        with zipfile.ZipFile(archive) as packed:
            for name, most in MOST_BYTES.items():
                info = _entry(packed, name)
                if info.file_size > min(most, max(2**20, _CLOSEST * info.compress_size)):  # never more is unpacked
                    raise InputError(f"{name} in {archive.name} is too large", got=info.file_size,
                                     expected=f"at most {most} bytes, and {_CLOSEST} times what it is packed in")
                packed.extract(info, staging)
        check(staging)
        persist(lambda: staging.rename(target))
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile) as problem:
        raise InputError(f"{archive.name} is not a model archive", expected=f"a zip file with {', '.join(FILES)}",
                         got=str(problem)[:200], remedy="use a file written by Export or 'autoreg models export'",
                         ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return read_bundle(target)


def _check_directory(archive: Path) -> None:
    """Refuse what is no file, and an archive of many entries or a long comment, unread. Raises ValueError."""
    if not archive.is_file():
        raise ValueError("no file of this name")
    with archive.open("rb") as stream:
        stream.seek(max(0, archive.stat().st_size - _DIRECTORY.size - _MOST_COMMENT))
        tail = stream.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or place + _DIRECTORY.size > len(tail):
        raise ValueError("no end of an archive, or a long comment behind it")
    *_, entries, length, _, comment = _DIRECTORY.unpack_from(tail, place)
    if entries > _MOST_ENTRIES or length > 1000 * _MOST_ENTRIES:
        raise ValueError(f"{entries} files in {length} bytes of directory")
    if place + _DIRECTORY.size + comment != len(tail) or tail.count(b"PK\5\6") > 1:
        raise ValueError("a comment that hides another archive")


def _entry(packed: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The one entry of a name, an ordinary file. Raises KeyError, ValueError."""
    info = packed.getinfo(name)
    alike = [other.orig_filename for other in packed.infolist() if same_file(other.orig_filename) == same_file(name)]
    if alike != [name]:
        raise ValueError(f"several files that some systems take for {name}, or one of another name")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ValueError(f"{name} is a link, a device or a folder")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in an unusual way")  # Python unpacks those without a limit of memory
    return info


def export_archive(folder: Path, archive: str | Path) -> Path:
    """Pack a model into a new zip archive. Raises InputError when the file exists, DiskError."""
    archive = Path(archive)
    if archive.exists():
        raise InputError(f"{archive} exists", expected="a new file",
                         remedy="choose another name; nothing is overwritten")

    def write(temporary: str) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in FILES:
                packed.write(folder / name, name)

    write_whole(archive, write)
    return archive


def rename(bundle: Bundle, name: str) -> Bundle:
    """Give a model another name. Raises InputError (name taken or impossible, shipped model)."""
    target = free_folder(name)
    if bundle.shipped:
        raise InputError(f"{bundle.name} came with AutoReg", remedy="export it and import it under another name")
    bundle.folder.rename(target)
    return read_bundle(target)


def delete(name: str) -> Path:
    """Delete the folder of an imported or trained model, a damaged one too. Raises InputError for a shipped one."""
    known = bundle_folders()
    if name not in known:
        raise InputError(f"no model '{name}'", expected=", ".join(known) or "no model is installed", got=name,
                         remedy="see 'autoreg models list'")
    folder, shipped = known[name]
    if shipped:
        raise InputError(f"{name} came with AutoReg", remedy="only imported and trained models can be deleted")
    shutil.rmtree(folder)
    return folder


def free_folder(name: str) -> Path:
    """The folder of a new model of this name. Raises InputError when it is taken or cannot be a folder's name."""
    if not is_folder_name(name) or set(name) & set(':*?"<>|'):
        raise InputError("the model's name", expected='letters, digits, spaces, none of / \\ : * ? " < > |', got=name,
                         remedy="choose another name")
    target = models_folder() / name
    if target.exists():
        raise InputError(f"a model named '{name}' is there already", remedy="choose another name")
    return target
