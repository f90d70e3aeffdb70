"""Remembered alignments: found again by content and method, never in the way of the work."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk
from lattices import OBLIQUE, smooth_image

from AutoRegLib.imaging import align
from AutoRegLib.imaging.alignment_cache import cached_alignment
from AutoRegLib.imaging.files import write_volume


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], Path]:
    """The calls of the alignment itself, and the empty cache."""
    calls: list[int] = []

    def found(*images: object, threads: int) -> align.Alignment:
        calls.append(threads)
        return align.Alignment(sitk.AffineTransform(3), 0.0, 0.0)

    monkeypatch.setattr(align, "affine_align", found)
    monkeypatch.setenv("AUTOREG_CACHE", str(tmp_path / "cache"))
    write_volume(smooth_image(OBLIQUE), tmp_path / "a.nii.gz")
    return calls, tmp_path


def ask(folder: Path) -> sitk.Transform:
    image = smooth_image(OBLIQUE)
    return cached_alignment(image, image, (str(folder / "a.nii.gz"), str(folder / "a.nii.gz")))


def test_an_alignment_is_found_once_for_each_version_of_the_method(
    counted: tuple[list[int], Path], monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, folder = counted
    ask(folder)
    ask(folder)
    assert len(calls) == 1
    monkeypatch.setattr(align, "__file__", __file__)  # another source text is not another method
    ask(folder)
    assert len(calls) == 1
    monkeypatch.setattr(align, "METHOD_VERSION", align.METHOD_VERSION + 1)
    ask(folder)
    assert len(calls) == 2


@pytest.mark.parametrize("text", [
    "", "{", "[" * 100000, "[]", '{"schema": "autoreg-alignment/1"}',
    '{"schema": "autoreg-alignment/1", "parameters": [1, 2], "centre": [0, 0, 0]}',
    '{"schema": "autoreg-alignment/1", "parameters": [NaN, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], "centre": [0, 0, 0]}',
    '{"schema": "autoreg-alignment/1", "parameters": {"a": 1}, "centre": 4}',
])
def test_a_damaged_entry_is_made_again(counted: tuple[list[int], Path], text: str) -> None:
    calls, folder = counted
    ask(folder)
    entry = next((folder / "cache").rglob("*.json"))
    entry.write_text(text)
    assert ask(folder).GetParameters() == sitk.AffineTransform(3).GetParameters()
    assert len(calls) == 2
    ask(folder)
    assert len(calls) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(
    counted: tuple[list[int], Path], monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, folder = counted
    (folder / "file").write_text("in the way")
    monkeypatch.setenv("AUTOREG_CACHE", str(folder / "file"))
    ask(folder)
    ask(folder)
    assert len(calls) == 2


def test_an_entry_that_reads_but_is_not_what_was_written_is_made_again(counted: tuple[list[int], Path]) -> None:
    calls, folder = counted
    ask(folder)
    entry = next((folder / "cache").rglob("*.json"))
    whole = entry.read_text()
    for old, new in (("1.0", "1e300"), ("1.0", "0.0"), ("0.0", "0.5")):
        assert old in whole
        entry.write_text(whole.replace(old, new, 1))
        before = len(calls)
        assert ask(folder).GetParameters() == sitk.AffineTransform(3).GetParameters() and len(calls) == before + 1
        assert entry.read_text() == whole
