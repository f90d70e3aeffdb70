"""Models of strangers: damaged, hostile or of another network; refused before memory is taken, and nothing is run."""

from __future__ import annotations

import dataclasses
import json
import pickle
import resource
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from AutoRegLib.bundle import import_bundle, load_bundle, save_bundle
from AutoRegLib.core.bundle_folder import FILES, WEIGHTS
from AutoRegLib.core.errors import AutoRegError, InputError
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.networks.registry import build_network

SMALL = dataclasses.replace(Recipe(), network=dataclasses.replace(Recipe().network, features=(2, 2), decoder=(2, 2, 2)))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOREG_MODELS", str(tmp_path / "models"))
    state = build_network(SMALL).state_dict()
    return save_bundle(tmp_path / "m", recipe=SMALL, state=state, metrics={}, history=[{"step": 1}], provenance={})


def packed(folder: Path, archive: Path, **changed: Any) -> Path:
    with zipfile.ZipFile(archive, "w") as target:
        for name in FILES:
            target.writestr(changed.get("names", {}).get(name, name), (folder / name).read_bytes())
        for name, data in changed.get("more", {}).items():
            target.writestr(name, data)
    return archive


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code of a stranger ran')",)


def test_the_whole_model_loads(model: Path, tmp_path: Path) -> None:
    assert load_bundle(model).recipe == SMALL
    assert import_bundle(packed(model, tmp_path / "whole.zip")).name == "whole"


def test_a_pickle_is_not_run(model: Path) -> None:
    for data in (pickle.dumps(Runs()), b"PK\3\4" + pickle.dumps(Runs())):
        (model / WEIGHTS).write_bytes(data)
        with pytest.raises(InputError, match="damaged"):
            load_bundle(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(model: Path, value: float) -> None:
    state = load_file(model / WEIGHTS)
    next(iter(state.values())).view(-1)[0] = value
    save_file(state, model / WEIGHTS)
    with pytest.raises(InputError, match="not finite"):
        load_bundle(model)


@pytest.mark.parametrize("change", ["fewer", "other names", "other shapes", "none"])
def test_weights_of_another_network_are_refused(model: Path, change: str) -> None:
    state = load_file(model / WEIGHTS)
    first = next(name for name, value in state.items() if value.ndim > 1)
    if change == "fewer":
        del state[first]
    elif change == "other names":
        state = {f"x{name}": value for name, value in state.items()}
    elif change == "other shapes":
        state[first] = state[first].flatten()
    save_file(state if change != "none" else {"a": torch.zeros(1)}, model / WEIGHTS)
    with pytest.raises(InputError, match="another network"):
        load_bundle(model)


def test_a_recipe_of_a_huge_network_takes_no_memory(model: Path) -> None:
    data = json.loads((model / "recipe.json").read_text())
    data["network"] |= {"features": [4000, 4000], "decoder": [4000, 4000, 4000]}
    (model / "recipe.json").write_text(json.dumps(data))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AutoRegError):
        load_bundle(model)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize("name", ["../out.json", "/tmp/out.json", "a/../../out.json", "C:\\out.json", "recipe.json/x"])
def test_names_in_an_archive_write_nowhere_else(model: Path, tmp_path: Path, name: str) -> None:
    before = {path for path in tmp_path.rglob("*")}
    bad = packed(model, tmp_path / "bad.zip", names={"recipe.json": name})
    with pytest.raises(InputError, match="not a model archive"):
        import_bundle(bad)
    import_bundle(packed(model, tmp_path / "good.zip", more={name: b"x"}))  # what is not known is left in the archive
    new = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path not in before}
    assert new <= {"bad.zip", "good.zip", "models"}
    assert {path.name for path in (tmp_path / "models" / "good").iterdir()} == set(FILES)


def test_a_bomb_is_not_unpacked(model: Path, tmp_path: Path) -> None:
    (model / "card.md").write_bytes(b"0" * 70_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as target:
        for name in FILES:
            target.write(model / name, name)
    assert (tmp_path / "bomb.zip").stat().st_size < 1_000_000
    with pytest.raises(InputError, match="too large"):
        import_bundle(tmp_path / "bomb.zip")
    assert not any((tmp_path / "models").iterdir())


@pytest.mark.parametrize("file", ["recipe.json", "metrics.json", "provenance.json"])
@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 9999, '{"a": NaN}', "null", "9" * 400])
def test_damaged_words_of_a_model_are_refused(model: Path, file: str, text: str) -> None:
    (model / file).write_text(text)
    with pytest.raises(InputError):
        load_bundle(model)
