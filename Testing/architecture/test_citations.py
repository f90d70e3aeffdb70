"""What docstrings and documents point to exists: sections of docs/method.md, modules, functions, files."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = sorted((ROOT / "AutoRegLib").rglob("*.py"))
SOURCES = [*LIBRARY, *sorted((ROOT / "AutoRegSlicer").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
SECTION = re.compile(r"(docs/\w+\.md),\s+sections?\s+((?:\d+(?:\.\d+)?(?:,\s+|\s+and\s+)?)+)")
ROLE = re.compile(r":(?:func|class|data|meth|mod):`~?\.?([\w.]+)`")
DOTTED = re.compile(r"`+(AutoRegLib(?:\.\w+)+)`+")


def sections(document: Path) -> set[str]:
    return set(re.findall(r"^#+ (\d+(?:\.\d+)?) ", document.read_text(encoding="utf-8"), flags=re.M))


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            annotated = getattr(found, "__annotations__", {})
            if not hasattr(found, part) and part not in annotated:
                return False
            found = getattr(found, part, None)
        return True
    return False


def test_every_cited_section_exists() -> None:
    cited = 0
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        for document, numbers in SECTION.findall(text):
            known = sections(ROOT / document)
            for number in re.findall(r"\d+(?:\.\d+)?", numbers):
                cited += 1
                assert number in known, f"{path.relative_to(ROOT)} cites section {number} of {document}"
        assert text.count("docs/method.md") == len(SECTION.findall(text)), f"{path.name}: a citation without a section"
    assert cited > 20


def test_no_document_is_cited_that_is_not_in_the_repository() -> None:
    for path in [*SOURCES, *DOCUMENTS, ROOT / "README.md"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(METHOD|DESIGN|HOUSE|SLICER_RUNTIME|ANCHORS)\b", text), path
        for name in re.findall(r"\bdocs/[\w-]+\.md", text):
            assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)} cites {name}"
        if path.suffix == ".md":
            for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
                assert (path.parent / link).exists(), f"{path.relative_to(ROOT)} links to {link}"


@pytest.mark.parametrize("path", LIBRARY, ids=[str(p.relative_to(ROOT)) for p in LIBRARY])
def test_every_cited_symbol_exists(path: Path) -> None:
    pytest.importorskip("torch")
    text = path.read_text(encoding="utf-8")
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    classes = [node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    for name in ROLE.findall(text):
        whole = [name] if name.startswith("AutoRegLib") else [f"{own}.{name}", *(f"{own}.{c}.{name}" for c in classes)]
        assert any(resolves(choice) for choice in whole), f"{own} cites {name}"
    for name in DOTTED.findall(text):
        assert resolves(name), f"{own} cites {name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=[p.name for p in DOCUMENTS])
def test_what_documents_name_exists(path: Path) -> None:
    pytest.importorskip("torch")
    text = path.read_text(encoding="utf-8")
    for name in DOTTED.findall(text):
        assert resolves(name), f"{path.name} names {name}"
    for name in re.findall(r"`((?:AutoRegLib|AutoRegSlicer|Testing|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), f"{path.name} names {name}"
