"""Model folders without torch: a damaged one hides no other, an archive takes no more than a model is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from AutoRegLib.app.cli import main
from AutoRegLib.bundle import load_bundle, save_bundle
from AutoRegLib.core import bundle_folder
from AutoRegLib.core.bundle_folder import (
    FILES,
    WEIGHTS,
    count_weights,
    delete,
    export_archive,
    import_archive,
    list_bundles,
    rename,
)
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Network, Preprocessing, Recipe
from AutoRegLib.networks.registry import NETWORKS, build_network, count_parameters


def write_model(folder: Path, network: str = "autoreg", dims: int = 3) -> Path:
    recipe = Recipe(spatial_dims=dims, network=Network(name=network, features=(4, 4), decoder=(4, 4, 4)),
                    preprocessing=Preprocessing(spacing=(1.0,) * dims, modality="MR"))
    return save_bundle(folder, recipe=recipe, state=build_network(recipe).state_dict(), history=[],
                       metrics={"validation": {"val_dice": 0.7}}, provenance={"scenario": "phantoms"})


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOREG_MODELS", str(tmp_path / "models"))
    write_model(tmp_path / "models" / "good")
    return tmp_path / "models"


def spoil(name: str, text: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(text)


def cut(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-10])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "recipe": spoil("recipe.json", b"{"),
    "deep recipe": spoil("recipe.json", b"[" * 100_000),
    "another schema": spoil("recipe.json", b'{"schema": "autoreg-recipe/99"}'),
    "metrics": spoil("metrics.json", b"[1"),
    "provenance": spoil("provenance.json", b"7"),
    "no card": lambda folder: (folder / "card.md").unlink(),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "empty weights": spoil(WEIGHTS, b""),
    "other weights": spoil(WEIGHTS, b"\xff" * 400),
    "cut weights": cut,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_model_hides_no_other(
    damage: Callable[[Path], object], models: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    damage(write_model(models / "bad"))
    found, problems = list_bundles()
    assert [bundle.name for bundle in found] == ["good"]
    assert len(problems) == 1 and problems[0].startswith("bad: ") and len(problems[0]) < 300
    assert main(["models", "list", "--json"]) == 0
    said = capsys.readouterr()
    assert [model["name"] for model in json.loads(said.out)["models"]] == ["good"]
    assert json.loads(said.out)["problems"] == problems and "warning: bad: " in said.err
    assert main(["models", "list"]) == 0
    assert "good" in capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["models"] == ["good"] and facts["problems"] == problems
    with pytest.raises(InputError):
        load_bundle("bad")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dims", [2, 3])
def test_the_header_counts_the_parameters(name: str, dims: int, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", name, dims)
    assert count_weights(folder / WEIGHTS) == count_parameters(load_bundle(folder).network)


def test_listing_loads_neither_torch_nor_weights(models: Path) -> None:
    code = "import sys; from AutoRegLib.core.bundle_folder import list_bundles; print(list_bundles()[0][0].facts()); " \
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'modality': 'MR'" in done.stdout and "'val_dice': 0.7" in done.stdout


def test_a_model_travels(models: Path, tmp_path: Path) -> None:
    archive = export_archive(models / "good", tmp_path / "other.zip")
    bundle = import_archive(archive)
    assert bundle.name == "other" and {p.name for p in bundle.folder.iterdir()} == set(FILES)
    with pytest.raises(InputError, match="exists"):
        export_archive(models / "good", archive)
    with pytest.raises(InputError, match="there already"):
        import_archive(archive)
    assert rename(bundle, "third").folder.is_dir() and not bundle.folder.exists()
    delete("third")
    assert [p.name for p in models.iterdir()] == ["good"]


def zipped(folder: Path, archive: Path, **other: bytes) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in FILES:
            packed.writestr(name, other.get(name.split(".")[0], (folder / name).read_bytes()))
        packed.writestr("../escaped.txt", "no")
    return archive


def without_a_file(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(folder / "recipe.json", "recipe.json")


def encrypted(folder: Path, archive: Path) -> None:
    data = bytearray(zipped(folder, archive).read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(mark)
        while start >= 0:
            data[start + place] |= 1
            start = data.find(mark, start + 1)
    archive.write_bytes(data)


HOSTILE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "large history": (lambda f, a: zipped(f, a, history=bytes(65_000_000)), "history.csv in .* is too large"),
    "encrypted": (encrypted, "not a model archive"),
    "no zip": (lambda f, a: a.write_bytes(b"PK" + bytes(500)), "not a model archive"),
    "file missing": (without_a_file, "not a model archive"),
    "damaged weights": (lambda f, a: zipped(f, a, weights=b"nothing"), "weights .*damaged"),
    "damaged recipe": (lambda f, a: zipped(f, a, recipe=b"{"), "not valid JSON"),
}


@pytest.mark.parametrize(("make", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archives_leave_nothing(
    make: Callable[[Path, Path], object], said: str, models: Path, tmp_path: Path,
) -> None:
    archive = tmp_path / "hostile.zip"
    make(models / "good", archive)
    with pytest.raises(InputError, match=said):
        import_archive(archive)
    assert main(["models", "import", str(archive)]) == 2
    assert [p.name for p in models.iterdir()] == ["good"] and not (tmp_path / "escaped.txt").exists()


@pytest.mark.parametrize("name", [".zip", "..zip", " .zip", "...zip"])
def test_an_archive_without_a_name_is_refused(name: str, models: Path, tmp_path: Path) -> None:
    export_archive(models / "good", tmp_path / "fine.zip")
    shutil.copy(tmp_path / "fine.zip", tmp_path / name)
    with pytest.raises(InputError, match="the model's name"):
        import_archive(tmp_path / name)


def test_a_shipped_model_stays(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = bundle_folder.read_bundle(models / "good", shipped=True)
    monkeypatch.setattr(bundle_folder, "bundle_folders", lambda: {"good": (models / "good", True)})
    for act in (lambda: delete("good"), lambda: rename(shipped, "mine")):
        with pytest.raises(InputError, match="came with AutoReg"):
            act()
    assert (models / "good").is_dir()
