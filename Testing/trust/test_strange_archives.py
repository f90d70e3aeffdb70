"""Archives of strangers: refused with an error of ours, within seconds and memory, and nothing written but a model."""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trust.strangers import SMALL, limited

from AutoRegLib.bundle import import_bundle, save_bundle
from AutoRegLib.core.bundle_folder import FILES, WEIGHTS, import_archive, read_bundle
from AutoRegLib.core.errors import InputError
from AutoRegLib.networks.registry import build_network

Change = Callable[[dict[str, bytes], Path], None]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = save_bundle(tmp_path_factory.mktemp("m") / "m", recipe=SMALL, state=build_network(SMALL).state_dict(),
                         metrics={}, history=[{"step": 1}], provenance={})
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("AUTOREG_MODELS", str(folder))
    yield folder
    outside = {path.name for path in tmp_path.iterdir()} - {"models"}
    assert all(name.endswith((".zip", ".tar")) for name in outside), outside


def packed(parts: dict[str, bytes], archive: Path, more: tuple[tuple[str | zipfile.ZipInfo, bytes], ...] = (), *,
           method: int = zipfile.ZIP_STORED) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(archive, "w", method) as target:
        warnings.simplefilter("ignore")  # of a name twice
        for name, data in (*parts.items(), *more):
            target.writestr(name, data)


def without(parts: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {key: data for key, data in parts.items() if key != name}


def patched(archive: Path, central: int, value: bytes, *, name: bytes = b"recipe.json") -> None:
    """The bytes at ``central`` of an entry in the directory, and the same in its local header, replaced."""
    data = bytearray(archive.read_bytes())
    here = data.rindex(name) - 46
    assert data[here:here + 4] == b"PK\1\2"
    data[here + central:here + central + len(value)] = value
    if central < 28:  # what both tell
        there = struct.unpack_from("<I", data, here + 42)[0] + central - 2
        data[there:there + len(value)] = value
    archive.write_bytes(data)


def twice(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive, (("recipe.json", parts["recipe.json"]),))


def other_case(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive, (("Recipe.JSON", b"{}"),))


def other_form(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive, (("\uff52ecipe.json", b"{}"),))  # a full-width r, which some systems take for an r


def dotted(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive, (("./recipe.json", b"{}"),))


def trailing(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive, (("recipe.json. ", b"{}"),))  # Windows drops the dot and the blank


def backslash(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive, ((".\\recipe.json", b"{}"),))


def with_nul(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive, (("recipe.jsonX.txt", b"{}"),))
    archive.write_bytes(archive.read_bytes().replace(b"recipe.jsonX.txt", b"recipe.json\0.txt"))


def symlink(parts: dict[str, bytes], archive: Path) -> None:
    info = zipfile.ZipInfo("recipe.json")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    packed(without(parts, "recipe.json"), archive, ((info, parts["recipe.json"]),))


def device(parts: dict[str, bytes], archive: Path) -> None:
    info = zipfile.ZipInfo("recipe.json")
    info.create_system, info.external_attr = 3, (stat.S_IFCHR | 0o666) << 16
    packed(without(parts, "recipe.json"), archive, ((info, parts["recipe.json"]),))


def nested(parts: dict[str, bytes], archive: Path) -> None:
    inner = archive.with_name("inner.zip")
    packed(parts, inner)
    packed({"inner.zip": inner.read_bytes()}, archive)


def giant_by_zip64(parts: dict[str, bytes], archive: Path) -> None:
    info = zipfile.ZipInfo("recipe.json")
    info.extra = struct.pack("<HHQQ", 1, 16, 2**62, 2**62)
    packed(without(parts, "recipe.json"), archive, ((info, parts["recipe.json"]),))
    patched(archive, 20, b"\xff" * 8)


def wrong_checksum(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive)
    patched(archive, 16, b"\1\2\3\4")


def encrypted(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive)
    patched(archive, 8, b"\1\0")


def size_of_zero(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive, method=zipfile.ZIP_DEFLATED)
    patched(archive, 24, bytes(4))


def other_local_name(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b"recipe.json", b"secret.json", 1))


def one_place_for_two(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive)
    patched(archive, 42, struct.pack("<I", 0), name=b"history.csv")


def bzip2_bomb(parts: dict[str, bytes], archive: Path) -> None:
    packed(without(parts, "card.md"), archive)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_BZIP2) as target:
        target.writestr("card.md", bytes(900_000_000 // 16))


def weights_bomb(parts: dict[str, bytes], archive: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[50000000],"data_offsets":[0,200000000]}}'
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in without(parts, WEIGHTS).items():
            target.writestr(name, data)
        with target.open(WEIGHTS, "w") as stream:
            stream.write(len(header).to_bytes(8, "little") + header)
            for _ in range(200):
                stream.write(bytes(1_000_000))


def crowd(parts: dict[str, bytes], archive: Path) -> None:
    """Half a million entries that are all in the directory, and nowhere else."""
    packed(parts, archive)
    data = archive.read_bytes()
    end = data.rindex(b"PK\5\6")
    start = struct.unpack_from("<I", data, end + 16)[0]
    entry = b"PK\1\2" + bytes(24) + struct.pack("<H", 8) + bytes(16)
    many = b"".join(entry + b"%08d" % i for i in range(500_000))
    record = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0, 0, len(many) + end - start, start, 0)
    archive.write_bytes(data[:end] + many + record)


def directory_elsewhere(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive)
    data = bytearray(archive.read_bytes())
    end = data.rindex(b"PK\5\6")
    struct.pack_into("<I", data, end + 16, 2**31)
    archive.write_bytes(data)


def comment_with_an_archive(parts: dict[str, bytes], archive: Path) -> None:
    """Another directory's end within the comment: readers differ in which archive they see."""
    packed(parts, archive)
    other = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)
    with zipfile.ZipFile(archive, "a") as target:
        target.comment = b"x" * 100 + other + b"x" * 100


def comment_of_64_kilobytes(parts: dict[str, bytes], archive: Path) -> None:
    packed(parts, archive)
    with zipfile.ZipFile(archive, "a") as target:
        target.comment = b"PK" * 32_767


def fifo(parts: dict[str, bytes], archive: Path) -> None:
    os.mkfifo(archive)


def endless(parts: dict[str, bytes], archive: Path) -> None:
    os.symlink("/dev/zero", archive)


def tar_with_links(parts: dict[str, bytes], archive: Path) -> None:
    import tarfile

    with tarfile.open(archive, "w") as target:
        for name, kind in (("recipe.json", tarfile.SYMTYPE), (WEIGHTS, tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            target.addfile(info)


HOSTILE: list[Change] = [
    twice, other_case, other_form, dotted, trailing, backslash, with_nul, symlink, device, nested, giant_by_zip64,
    wrong_checksum, encrypted, size_of_zero, other_local_name, one_place_for_two, bzip2_bomb, weights_bomb, crowd,
    directory_elsewhere, comment_with_an_archive, comment_of_64_kilobytes, fifo, endless, tar_with_links]


@pytest.mark.parametrize("change", HOSTILE)
@pytest.mark.parametrize("check", [None, read_bundle])  # by the command line, by Slicer, which has no torch
def test_hostile_archives_are_refused(change: Change, check: Callable[[Path], object] | None, tmp_path: Path,
                                      models: Path, parts: dict[str, bytes]) -> None:
    archive = tmp_path / "bad.zip"
    change(parts, archive)
    with limited(), pytest.raises(InputError):
        import_bundle(archive) if check is None else import_archive(archive, check)
    assert list(models.iterdir()) == []


@pytest.mark.parametrize("name", ["con", "NUL", "com1", "aux.model", "model.", "model .", "a\nb", "a\x1b[2J", "x" * 300,
                                  "lpt9.v2", "C:model", "..", "\u202emodel"])
def test_names_that_a_folder_cannot_have_are_refused(name: str, parts: dict[str, bytes], tmp_path: Path,
                                                     models: Path) -> None:
    archive = tmp_path / "x.zip"
    packed(parts, archive)
    named = tmp_path / f"{name[:200]}.zip"
    archive.rename(named)
    if len(name) <= 200:
        with pytest.raises(InputError):
            import_bundle(named)
    assert list(models.iterdir()) == []


def test_archives_of_other_programs_are_read(parts: dict[str, bytes], tmp_path: Path) -> None:
    """Folders, other files, a short comment, deflated: as a file manager packs a folder's content."""
    archive = tmp_path / "my model (2).zip"
    packed(parts, archive, (("notes/", b""), ("notes/read me.txt", b"x"), ("__MACOSX/._recipe.json", b"x")),
           method=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(archive, "a") as target:
        target.comment = b"packed by somebody"
    assert import_bundle(archive).name == "my model (2)"
