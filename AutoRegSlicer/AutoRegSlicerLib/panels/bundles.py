"""The model folders on this computer, read without torch: list, import, export, rename, delete. No Qt.

The same folders and archives as ``autoreg models``.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import AutoRegLib
from AutoRegLib.core.errors import AutoRegError, InputError
from AutoRegLib.core.places import models_folder
from AutoRegLib.core.recipe import Recipe, read_recipe
from AutoRegLib.core.records import make_folder, persist

FILES = ("recipe.json", "weights.safetensors", "card.md", "provenance.json", "metrics.json", "history.csv")
MOST_BYTES = 4_000_000_000  # of one file in an archive; a model has some megabytes


@dataclass(frozen=True)
class Bundle:
    """A model as the panels show it. ``shipped`` ones cannot be renamed or deleted."""

    name: str
    folder: Path
    recipe: Recipe
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
        value = self.metrics.get("validation", {}).get(f"val_{name}")
        return None if value is None else float(value)

    @property
    def loss(self) -> str:
        """The found loss in words: the shares of its parts."""
        weights = self.recipe.loss_weights
        return f"LNCC {weights.similarity_mix:.2f}, smoothness {weights.smoothness:.2g}"

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return (self.folder / "card.md").read_text(encoding="utf-8")


def list_bundles() -> tuple[list[Bundle], list[str]]:
    """Complete models, shipped ones first, then the newest; and a line for each folder that cannot be read."""
    found: dict[str, Bundle] = {}
    problems: list[str] = []
    for base, shipped in ((Path(AutoRegLib.__file__).parent / "models", True), (models_folder(), False)):
        for folder in sorted(base.iterdir()) if base.is_dir() else []:
            if folder.name.startswith(".") or not all((folder / name).is_file() for name in FILES):
                continue  # a training that runs leaves such a folder
            try:
                found.setdefault(folder.name, read_bundle(folder, shipped=shipped))
            except AutoRegError as problem:
                problems.append(f"{folder.name}: {problem.what}")
    return sorted(found.values(), key=lambda b: (not b.shipped, -b.modified)), problems


def read_bundle(folder: str | Path, *, shipped: bool = False) -> Bundle:
    """One model folder. Raises InputError when a file is missing or damaged."""
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"the model folder {folder.name} is incomplete", expected=", ".join(FILES),
                         got="no " + ", ".join(missing), remedy="copy the whole folder again")
    recipe = read_recipe(folder / "recipe.json")
    metrics, provenance = _plain(folder / "metrics.json"), _plain(folder / "provenance.json")
    stats = [(folder / name).stat() for name in FILES]
    return Bundle(folder.name, folder, recipe, metrics, provenance, shipped, max(s.st_mtime for s in stats),
                  sum(s.st_size for s in stats))


def import_archive(archive: str | Path) -> Bundle:
    """Unpack a zip archive; only the six known files are taken. Raises InputError."""
    archive = Path(archive)
    target = free_folder(archive.name.removesuffix(".zip"))
    make_folder(target.parent)
    staging = target.with_name(f".{target.name}.incoming")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            for name in FILES:
                if packed.getinfo(name).file_size > MOST_BYTES:
                    raise InputError(f"{name} in {archive.name} is too large", expected=f"at most {MOST_BYTES} bytes")
                packed.extract(name, staging)
        read_bundle(staging)
        persist(lambda: staging.rename(target))
    except (OSError, KeyError, zipfile.BadZipFile):
        raise InputError(
            f"{archive.name} is not a model archive", expected=f"a zip file with {', '.join(FILES)}",
            remedy="use a file written by Export",
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return read_bundle(target)


def export_archive(bundle: Bundle, archive: str | Path) -> Path:
    """Pack a model into a new zip archive. Raises InputError when the file exists or cannot be written."""
    archive = Path(archive)
    archive = archive if archive.suffix == ".zip" else archive.with_name(archive.name + ".zip")
    try:
        with zipfile.ZipFile(archive, "x", zipfile.ZIP_DEFLATED) as packed:
            for name in FILES:
                packed.write(bundle.folder / name, name)
    except FileExistsError:
        raise InputError(f"{archive.name} exists", expected="a new file", remedy="choose another name") from None
    except OSError as problem:
        archive.unlink(missing_ok=True)
        raise InputError(f"cannot write {archive}", got=problem.strerror, remedy="choose another folder") from None
    return archive


def rename(bundle: Bundle, name: str) -> Bundle:
    """Give a model another name. Raises InputError (name taken or impossible, shipped model)."""
    target = free_folder(name)
    if bundle.shipped:
        raise InputError(f"{bundle.name} came with AutoReg", remedy="export it and import it under another name")
    persist(lambda: bundle.folder.rename(target))
    return read_bundle(target)


def delete(bundle: Bundle) -> None:
    """Delete a model's folder. Raises InputError for a shipped one."""
    if bundle.shipped:
        raise InputError(f"{bundle.name} came with AutoReg", remedy="only imported and trained models can be deleted")
    shutil.rmtree(bundle.folder)


def free_folder(name: str) -> Path:
    """The folder of a new model of this name. Raises InputError when it is taken or cannot be a folder's name."""
    if not name or name != name.strip() or name.startswith(".") or set(name) & set('/\\:*?"<>|'):
        raise InputError("the model's name", expected='letters, digits, spaces, none of / \\ : * ? " < > |', got=name,
                         remedy="choose another name")
    target = models_folder() / name
    if target.exists():
        raise InputError(f"a model named '{name}' is there already", remedy="choose another name")
    return target


def _plain(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path.parent.name}/{path.name} is damaged", remedy="copy the whole folder again") from None
