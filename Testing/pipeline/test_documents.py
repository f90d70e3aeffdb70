"""Every command of the README is run, in its order, on small made-up data; the README stays short, links hold."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from pipeline.scenes import make_scenario
from pipeline.world import World

from AutoRegLib.app.cli import main
from AutoRegLib.app.options import build_parser
from AutoRegLib.core.records import from_plain
from AutoRegLib.core.scenario import Scenario, read_scenario

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: what is made smaller, so that a command takes seconds
SMALLER = ((r"--minutes [\d.]+", "--minutes 0.01"), (r"--seeds \d+", "--seeds 1"),
           (r"--rows [a-z -]+?(?= --)", "--rows manual-medium ncc"))


def commands(text: str) -> list[str]:
    """The lines of a page's blocks that call ``autoreg``."""
    blocks = (body.replace("\\\n", " ") for language, body in BLOCK.findall(text) if language in ("", "bash"))
    return [line.strip() for block in blocks for line in block.splitlines() if re.match(r"\s*autoreg ", line)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with everything that the README takes for granted."""
    monkeypatch.setenv("AUTOREG_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    world.model.rename(tmp_path / "unused")
    make_scenario(tmp_path, (16, 16, 16))
    for name, source in (("other", "fixed"), ("new_fixed", "fixed"), ("new_moving", "moving"),
                         ("segmentation", "labels")):
        (tmp_path / f"{name}.nii.gz").write_bytes(world.path(source).read_bytes())
    (tmp_path / "pairs.csv").write_text("fixed,moving\nfixed.nii.gz,moving.nii.gz\n")
    return tmp_path


def test_the_readmes_commands_run_in_their_order(folder: Path) -> None:
    threads = torch.get_num_threads()
    asked = commands(README)
    assert {command.split()[1] for command in asked} >= {"register", "apply", "search", "train", "evaluate", "study"}
    for command in asked:
        for pattern, less in SMALLER:
            command = re.sub(pattern, less, command)
        assert main([*shlex.split(command)[1:], "--threads", "1", "--quiet"]) == 0, command
    code = next(body for language, body in BLOCK.findall(README) if language == "python")
    exec(compile(code, "README.md", "exec"), {})
    assert (folder / "new_inverse" / "inverse_transform.nrrd").is_file()
    torch.set_num_threads(threads)


def test_the_readmes_scenario_is_one(tmp_path: Path) -> None:
    text = next(body for language, body in BLOCK.findall(README) if language == "json")
    data = json.loads(text)
    data.pop("schema")
    assert len(from_plain(Scenario, data, where="README.md").cases) == 3
    for name in re.findall(r"\w+\.nii\.gz", text):
        (tmp_path / name).touch()
    (tmp_path / "scenario.json").write_text(text)
    assert read_scenario(tmp_path / "scenario.json").structures == {1: "head", 2: "body"}


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_a_page_are_understood(page: str) -> None:
    """Blocks, and whole commands in the text: those that name no "..." and no placeholder alone."""
    inline = [text for text in re.findall(r"`(autoreg [a-z]+ [^`]+)`", PAGES[page].replace("\n", " "))
              if "--output" in text and "..." not in text]
    for command in [*commands(PAGES[page]), *inline]:
        build_parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    base = ROOT if page == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = base / name if name else base / page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            known = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in known, target


def test_the_readme_is_for_users() -> None:
    assert len(README.splitlines()) <= 200 and len(README.encode()) <= 12_288
    assert not re.search(r"example\.org", README.split("## Citation")[0]) and "make demo" in README
