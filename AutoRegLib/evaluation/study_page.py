"""A report in Markdown as one HTML page that holds its pictures: a file to send."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

_STYLE = """body{background:#0f1318;color:#e8ebef;font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1200px;
padding:0 1rem}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #2a313a}
a{color:#4fc3f7}b{color:#fff}.t{overflow-x:auto}table{border-collapse:collapse;font-size:13px;white-space:nowrap}
th,td{padding:.25rem .7rem;border-bottom:1px solid #2a313a;text-align:right}th:first-child,td:first-child
{text-align:left;position:sticky;left:0;background:#0f1318}th{color:#8b95a1;font-weight:600}
img{max-width:100%;display:block;margin:1rem 0}"""


def page_of(folder: Path, text: str, *, title: str) -> str:
    """The page of a Markdown text: its headings, paragraphs, lists, tables, links and pictures (embedded).

    Of Markdown only what the reports use. ``folder``: what the names of pictures are relative to.
    """
    body = "\n".join(_blocks(text.split("\n"), folder))
    return (f"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{html.escape(title)}</title>"
            f"<meta name=\"viewport\" content=\"width=device-width\"><style>{_STYLE}</style></head><body>\n{body}\n"
            "</body></html>\n")


def _blocks(lines: Sequence[str], folder: Path) -> list[str]:
    """Block by block; a block is lines of one kind."""
    out: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        if not line.strip():
            i += 1
        elif heading := re.match(r"(#+) (.*)", line):
            out.append(f"<h{len(heading[1])}>{_inline(heading[2], folder)}</h{len(heading[1])}>")
            i += 1
        else:
            kind = "|" if line.startswith("|") else "- " if line.startswith("- ") else ""
            block = []
            while i < len(lines) and lines[i].strip() and lines[i].startswith(kind) and not (
                    lines[i].startswith("#") or (not kind and lines[i].startswith(("|", "- ")))):
                block.append(lines[i])
                i += 1
            if kind == "|":
                out.append(_table(block, folder))
            elif kind:
                out.append("<ul>" + "".join(f"<li>{_inline(item[2:], folder)}</li>" for item in block) + "</ul>")
            else:
                out.append(f"<p>{_inline(' '.join(block), folder)}</p>")
    return out


def _table(block: Sequence[str], folder: Path) -> str:
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block]
    head, body = rows[0], rows[2:]
    cells = "".join(f"<th>{_inline(cell, folder)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{_inline(cell, folder)}</td>" for cell in row) + "</tr>" for row in body)
    return f"<div class=\"t\"><table><tr>{cells}</tr>{lines}</table></div>"


def _inline(text: str, folder: Path) -> str:
    """Bold, italic, code, links, pictures; everything else is text."""
    safe = html.escape(text, quote=True)
    safe = re.sub(r"!\[([^\]]*)\]\(([^)]+)\)", lambda m: _picture(m[1], m[2], folder), safe)
    safe = re.sub(r"(?<!!)\[([^\]]*)\]\(([^)]+)\)", r'<a href="\2">\1</a>', safe)
    safe = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", safe)
    safe = re.sub(r"(?<!\*)\*([^*]+)\*(?!\*)", r"<i>\1</i>", safe)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)


def _picture(words: str, name: str, folder: Path) -> str:
    """A picture as part of the page; one that is not there is told."""
    path = folder / html.unescape(name)
    if not path.is_file():
        return f"({words}: no picture)"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"<img alt=\"{words}\" src=\"data:image/png;base64,{data}\">"
