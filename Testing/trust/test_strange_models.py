"""Models of strangers: damaged, hostile or of another network; refused before memory is taken, and nothing is run."""

from __future__ import annotations

import json
import os
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from trust.strangers import SMALL, limited

from AutoRegLib.bundle import import_bundle, load_bundle, save_bundle
from AutoRegLib.core.bundle_folder import FILES, WEIGHTS, list_bundles, read_bundle
from AutoRegLib.core.errors import AutoRegError, InputError
from AutoRegLib.networks.registry import build_network


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


Header = dict[str, Any]


def rewritten(path: Path, change: Callable[[Header, bytearray], str | None]) -> None:
    """The weights with another header, given as the text that ``change`` returns, or the object that it changed."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, values = json.loads(data[8:8 + length]), bytearray(data[8 + length:])
    text = (change(header, values) or json.dumps(header)).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def first(header: Header, *, above: int = 1) -> Header:
    """A tensor of several axes."""
    return next(tensor for name, tensor in header.items() if name != "__metadata__" and len(tensor["shape"]) > above)


def overlapping(header: Header, values: bytearray) -> None:
    """A tensor begins where the one before it does, and both are long enough; what is left over is nobody's."""
    parts = sorted(header.values(), key=lambda tensor: tensor["data_offsets"])
    one, two = parts[:2]
    length = two["data_offsets"][1] - two["data_offsets"][0]
    two["data_offsets"] = [one["data_offsets"][0], one["data_offsets"][0] + length]


def reversed_offsets(header: Header, values: bytearray) -> None:
    first(header)["data_offsets"].reverse()


def with_a_gap(header: Header, values: bytearray) -> None:
    last = max(header.values(), key=lambda tensor: tensor["data_offsets"][1])
    last["data_offsets"] = [end + 64 for end in last["data_offsets"]]
    values += bytes(64)


def unknown_type(header: Header, values: bytearray) -> None:
    first(header)["dtype"] = "F33"


def negative_shape(header: Header, values: bytearray) -> None:
    shape = first(header)["shape"]
    shape[0], shape[1] = -shape[0], -shape[1]


def giant_shape(header: Header, values: bytearray) -> None:
    first(header)["shape"] = [2**62, 2**62]


def shape_of_truth(header: Header, values: bytearray) -> None:
    shape = first(header)["shape"]
    shape.append(True)


def shape_of_fractions(header: Header, values: bytearray) -> None:
    shape = first(header)["shape"]
    shape[0] = float(shape[0])


def no_object(header: Header, values: bytearray) -> None:
    header["more"] = [[0, 0], [0], "F32"]


def same_tensor_twice(header: Header, values: bytearray) -> str:
    text, name = json.dumps(header), next(iter(header))
    return text[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}"


def without_end(header: Header, values: bytearray) -> str:
    return "[" * 5000


STRUCTURES = [overlapping, reversed_offsets, with_a_gap, unknown_type, negative_shape, giant_shape, shape_of_truth,
              shape_of_fractions, no_object, same_tensor_twice, without_end]


@pytest.mark.parametrize("change", STRUCTURES)
@pytest.mark.parametrize("read", [load_bundle, read_bundle])  # by the library, by Slicer, which has no torch
def test_weights_that_are_not_where_they_say_are_refused(model: Path, change: Any, read: Any) -> None:
    read(model)
    rewritten(model / WEIGHTS, change)
    with limited(), pytest.raises(InputError, match="damaged"):
        read(model)


def test_a_header_longer_than_the_file_is_refused(model: Path) -> None:
    data = (model / WEIGHTS).read_bytes()
    for length in (len(data), 2**40, 2**63, 2**64 - 1):
        (model / WEIGHTS).write_bytes(length.to_bytes(8, "little") + data[8:])
        for read in (load_bundle, read_bundle):
            with limited(), pytest.raises(InputError, match="damaged"):
                read(model)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16, torch.int32, torch.bool])
def test_weights_of_another_type_are_refused(model: Path, kind: torch.dtype) -> None:
    """In 64 bits a weight may be finite that is not in the network's 32."""
    state = load_file(model / WEIGHTS)
    name = next(name for name, value in state.items() if value.ndim > 1)
    state[name] = state[name].to(kind)
    if kind == torch.float64:
        state[name].view(-1)[0] = 1e300
    save_file(state, model / WEIGHTS)
    with pytest.raises(InputError, match="another network"):
        load_bundle(model)


@pytest.mark.parametrize(("sizes", "why"), [
    ({"channels": 10**9}, "channels is out of range"), ({"latents": 0}, "latents"), ({"matching": -1}, "matching"),
    ({"context": 10**12}, "context"), ({"scales": 3.0}, "scales"), ({"matching_layers": True}, "matching_layers")])
def test_sizes_of_every_network_have_a_range(model: Path, sizes: dict[str, Any], why: str) -> None:
    data = json.loads((model / "recipe.json").read_text())
    data["network"] |= {"name": "multiprop", "propagation": sizes}
    (model / "recipe.json").write_text(json.dumps(data))
    for read in (load_bundle, read_bundle):
        with limited(), pytest.raises(InputError, match=why):
            read(model)


@pytest.mark.parametrize("name", [*FILES])
@pytest.mark.parametrize("way", ["pipe", "device", "loop", "folder"])
def test_a_file_of_a_model_that_is_none_is_refused(model: Path, name: str, way: str) -> None:
    (model / name).unlink()
    if way == "pipe":
        os.mkfifo(model / name)
    elif way == "folder":
        (model / name).mkdir()
    else:
        (model / name).symlink_to("/dev/zero" if way == "device" else name)
    for read in (load_bundle, read_bundle):
        with limited(), pytest.raises(InputError, match="incomplete"):
            read(model)


def test_a_card_of_a_stranger_is_shown_whatever_it_holds(model: Path, tmp_path: Path) -> None:
    (model / "card.md").write_bytes(b"# \xff\xfe card\n" + b"x" * 9_000_000)
    (tmp_path / "models").mkdir()
    model.rename(tmp_path / "models" / "m")
    found, problems = list_bundles()
    assert problems == [] and 0 < len(found[0].card) <= 4_000_000
    assert load_bundle(found[0].folder).recipe == SMALL


def test_words_of_millions_of_values_take_little_memory(model: Path) -> None:
    for text in ("[" + "[]," * 4_100_000 + "0]", '{"a": [' + "1.5," * 8_100_000 + "0]}",
                 '{"a": [' + "[[[[[[]]]]]]," * 1_200_000 + "0]}"):
        (model / "metrics.json").write_text(text)
        with limited(), pytest.raises(InputError, match="damaged"):
            load_bundle(model)
