"""Writes reach.json: what Python reaches of the qMRML, qSlicer and CTK classes that the module uses.

    python Testing/slicer/make_reach.py SLICER CTK      two checkouts of the public sources

PythonQt finds properties, slots, signals, Q_INVOKABLE methods and decorators of a class that no wrapper was written
for, and nothing else: a public C++ setter is out of reach, even one that writes a property. Only names are taken from
the headers; ``base`` is the class the header derives from, followed up to the first class of Qt.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

#: the classes of the forms, and what the module reaches through them or through slicer.app
CLASSES = (
    "qMRMLWidget", "qMRMLNodeComboBox", "qMRMLTableView", "qMRMLPlotWidget", "qMRMLAbstractViewWidget",
    "qMRMLSubjectHierarchyTreeView", "qMRMLViewControllerBar", "qMRMLPlotViewControllerWidget",
    "ctkCollapsibleButton", "ctkCollapsibleGroupBox", "ctkSliderWidget", "ctkRangeWidget", "ctkPathLineEdit",
    "ctkDirectoryButton", "qSlicerCoreApplication", "qSlicerApplication", "qMRMLLayoutManager",
    "qSlicerLayoutManager", "qSlicerExtensionsManagerModel", "qSlicerModuleManager", "qSlicerAbstractCoreModule",
    "qSlicerAbstractModule", "qSlicerScriptedLoadableModule",
)
#: bases that are not worth an entry, since they add nothing: the next one instead
BASES = {"ctkLayoutFactory": "QObject", "qSlicerLoadableModule": "qSlicerAbstractModule"}
ACCESS = re.compile(r"^\s*(?:(public|protected|private)(\s+(?:slots|Q_SLOTS))?|(signals|Q_SIGNALS))\s*:", re.MULTILINE)


def read_class(name: str, folders: list[Path]) -> dict[str, Any]:
    """Base, properties, slots with Q_INVOKABLE methods, and signals of one class."""
    text = header(name, folders)
    start = re.search(rf"class\s+(?:\w+_EXPORT\s+)?{name}\s*(?::\s*public\s+(\w+)[^{{;]*)?\{{", text)
    if start is None:
        raise SystemExit(f"no class {name} in its header")
    body = text[start.end():text.index("\n};", start.end())]
    methods, signals = set(), set()
    parts = [*ACCESS.finditer(body)]
    for here, after in zip(parts, [*parts[1:], None], strict=True):
        block = body[here.end():after.start() if after else len(body)]
        if here[1] == "public" and here[2]:
            methods |= set(declared(block))
        elif here[3]:
            signals |= set(declared(block))
        else:
            methods |= {re.split(r"\(", line)[0].split()[-1].lstrip("*&") for line in
                        re.findall(r"Q_INVOKABLE([^;{]*\()", block)}
    methods |= decorators(name, folders)
    properties = {re.split(r"\s(?:READ|MEMBER)\b", line)[0].split()[-1] for line in
                  re.findall(r"Q_PROPERTY\(([^\n]*)", body)}
    return {"base": BASES.get(start[1] or "", start[1]), "properties": sorted(properties),
            "methods": sorted(m for m in methods if not m.startswith("~")), "signals": sorted(signals)}


def decorators(name: str, folders: list[Path]) -> set[str]:
    """Methods that a decorator class adds: static ones by their name, others by their first parameter."""
    text = "".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*Decorators.h"))
    return {*re.findall(rf"\bstatic_{name}_(\w+)\(", text), *re.findall(rf"\b(\w+)\({name}\s*\*\s*\w+[,)]", text)}


def header(name: str, folders: list[Path]) -> str:
    """The header without comments."""
    found = [path for folder in folders for path in folder.rglob(f"{name}.h")]
    if not found:
        raise SystemExit(f"no header {name}.h below {', '.join(map(str, folders))}")
    text = re.sub(r"/\*.*?\*/", "", found[0].read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"//[^\n]*", "", text)


def declared(block: str) -> list[str]:
    """Names of the functions declared in a block; bodies of inline ones are skipped."""
    while "{" in block:
        block = re.sub(r"\{[^{}]*\}", ";", block)
    statements = [re.sub(r"^\s*#.*$", "", part, flags=re.MULTILINE) for part in block.split(";")]
    heads = [part.split("(")[0].split() for part in statements if "(" in part]
    return [words[-1].lstrip("*&") for words in heads if len(words) > 1 and words[0] != "enum"]


if __name__ == "__main__":
    places = [Path(argument) for argument in sys.argv[1:]]
    table = {name: read_class(name, places) for name in CLASSES}
    target = Path(__file__).with_name("reach.json")
    lines = ",\n".join(f'"{name}": {json.dumps(entry)}' for name, entry in table.items())
    target.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    print(target)
