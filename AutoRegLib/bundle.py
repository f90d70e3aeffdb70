"""A trained model is a self-sufficient folder: recipe, weights, card, provenance, metrics, history."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.places import models_folder
from AutoRegLib.core.recipe import Recipe, read_recipe, write_recipe
from AutoRegLib.core.records import make_folder, persist, write_json, write_text, write_whole
from AutoRegLib.networks.registry import build_network, count_parameters

FILES = ("recipe.json", "weights.safetensors", "card.md", "provenance.json", "metrics.json", "history.csv")


@dataclass(frozen=True)
class ModelBundle:
    """A bundle in memory; ``network`` is in evaluation mode on the device it was loaded to."""

    path: Path
    recipe: Recipe
    network: nn.Module
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]


def save_bundle(
    path: str | Path,
    *,
    recipe: Recipe,
    state: Mapping[str, Tensor],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
) -> Path:
    """Write the bundle folder; each file appears whole, the recipe last, so half a bundle never loads.

    Raises DiskError.
    """
    folder = make_folder(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    write_whole(folder / "weights.safetensors", lambda temporary: save_file(tensors, temporary))
    write_text(folder / "history.csv", table_text(history))
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "provenance.json", provenance)
    write_text(folder / "card.md", _card(folder.name, recipe, metrics, provenance))
    write_recipe(folder / "recipe.json", recipe)
    return folder


def load_bundle(name: str | Path, *, device: str = "cpu") -> ModelBundle:
    """The bundle in a folder, or a shipped or imported one by name. Raises InputError (missing, damaged)."""
    path = locate_bundle(name)
    missing = [file for file in FILES if not (path / file).is_file()]
    if missing:
        raise InputError(
            f"the model folder {path} is incomplete", expected=", ".join(FILES), got=f"no {', '.join(missing)}",
            remedy="copy the whole folder again or train the model again",
        )
    recipe = read_recipe(path / "recipe.json")
    network = build_network(recipe)
    try:
        state = load_file(path / "weights.safetensors", device="cpu")
        network.load_state_dict(state)
    except Exception as problem:  # safetensors raises its own type, torch a RuntimeError
        raise InputError(
            f"the weights in {path} are damaged or belong to another network",
            expected=f"the weights of '{recipe.network.name}' as recipe.json describes it",
            got=str(problem).split("\n")[0][:120], remedy="copy the whole folder again or train the model again",
        ) from None
    metrics, facts = (_read_plain(path / file) for file in ("metrics.json", "provenance.json"))
    return ModelBundle(path, recipe, network.to(device).eval(), metrics, facts)


def locate_bundle(name: str | Path) -> Path:
    """The folder of a bundle given as a folder, or by the name of a shipped or imported one. Raises InputError."""
    if Path(name).is_dir():
        return Path(name)
    known = {path.name: path for path in _bundle_folders()}
    if str(name) in known:
        return known[str(name)]
    raise InputError(
        f"no model '{name}'", expected="a bundle folder" + "".join(f", {n}" for n in known), got=name,
        remedy="train one with 'autoreg train', or see 'autoreg models list'",
    )


def list_bundles() -> list[dict[str, Any]]:
    """Name, path, network and validation Dice of every shipped or imported bundle."""
    return [describe_bundle(load_bundle(path)) for path in _bundle_folders()]


def describe_bundle(bundle: ModelBundle) -> dict[str, Any]:
    """What a user wants to know before choosing a model."""
    recipe = bundle.recipe
    return {
        "name": bundle.path.name,
        "path": str(bundle.path),
        "network": recipe.network.name,
        "spatial_dims": recipe.spatial_dims,
        "spacing_mm": list(recipe.preprocessing.spacing),
        "modality": recipe.preprocessing.modality,
        "scenario": bundle.provenance.get("scenario", ""),
        "parameters": count_parameters(bundle.network),
        "validation": dict(bundle.metrics.get("validation", {})),
        "labels_in_training": recipe.objective.label_weight > 0,
    }


def import_bundle(archive: str | Path) -> Path:
    """Unpack a zip archive into the user's models. Raises InputError (not a bundle, name taken)."""
    archive = Path(archive)
    target = models_folder() / archive.name.removesuffix(".zip")
    if target.exists():
        raise InputError(f"a model named '{target.name}' is there already", remedy="rename the archive")
    make_folder(target.parent)
    staging = target.with_name(f".{target.name}.incoming")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            for file in FILES:  # nothing but the known names is ever taken out
                packed.extract(file, staging)
        load_bundle(staging)
        persist(lambda: staging.rename(target))
    except (OSError, KeyError, zipfile.BadZipFile) as problem:
        raise InputError(
            f"{archive} is not a model archive", expected=f"a zip file with {', '.join(FILES)}", got=problem,
            remedy="use a file written by 'autoreg models export'",
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def export_bundle(name: str | Path, archive: str | Path) -> Path:
    """Pack a bundle into a zip archive. Raises InputError when the file exists, DiskError."""
    bundle, archive = load_bundle(name), Path(archive)
    if archive.exists():
        raise InputError(f"{archive} exists", remedy="choose another name; nothing is overwritten")

    def write(temporary: str) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in FILES:
                packed.write(bundle.path / file, file)

    write_whole(archive, write)
    return archive


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV text, the columns in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _bundle_folders() -> list[Path]:
    """Shipped bundles first, then imported ones; an imported one never hides a shipped one."""
    shipped = Path(__file__).parent / "models"
    folders: dict[str, Path] = {}
    for base in (shipped, models_folder()):
        if base.is_dir():
            for path in sorted(base.iterdir()):
                if (path / "recipe.json").is_file() and not path.name.startswith("."):
                    folders.setdefault(path.name, path)
    return list(folders.values())


def _read_plain(path: Path) -> dict[str, Any]:
    """A JSON object without a schema. Raises InputError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise InputError(f"{path} is damaged", got=problem, remedy="copy the whole folder again") from None
    return dict(value)


def _card(name: str, recipe: Recipe, metrics: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The model in words: what it was trained on, how it did, what it is not for."""
    validation = metrics.get("validation", {})
    genotype = recipe.genotype
    lines = [
        f"# {name}", "",
        f"A `{recipe.network.name}` network for {recipe.spatial_dims}-D registration, trained on the scenario "
        f"*{facts.get('scenario', 'unknown')}* ({facts.get('cases', {}).get('train', '?')} training cases, "
        f"{facts.get('steps', '?')} steps, {facts.get('seconds', '?')} s on {facts.get('device', '?')}).", "",
        f"- Working grid: {' x '.join(f'{s:g}' for s in recipe.preprocessing.spacing) or 'as the image'} mm; "
        f"affine alignment first: {recipe.preprocessing.affine}.",
        f"- Labels in training: {'yes' if recipe.objective.label_weight > 0 else 'no'}.",
        f"- Loss weights: {recipe.loss_weights.words()}.",
    ]
    if "start" in facts:
        lines.append(f"- Its weights started from those of the model *{facts['start'].get('model', '?')}*.")
    if genotype is not None and recipe.network.name == "autoreg":
        lines += ["", "| cell | edge 1 | edge 2 | edge 3 |", "|---|---|---|---|"]
        lines += [
            f"| {cell.replace('_', ' ')} | {' | '.join(genotype.cell(cell))} |"
            for cell in ("feature_half", "feature_quarter", "deformation_quarter", "deformation_half")
        ]
    if validation:
        known = {key.removeprefix("val_"): value for key, value in validation.items() if key.startswith("val_")}
        figures = ", ".join(f"{name} {value:.4g}" for name, value in known.items())
        lines += ["", f"On the validation split: {figures}."]
    lines += [
        "", "Not a medical device. Made for images like those it was trained on; on others check the report's "
        "folds, landmarks and overlaps before trusting the result.", "",
    ]
    return "\n".join(lines)
