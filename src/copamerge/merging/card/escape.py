"""A stranger's text in a model card, shown as it is: no Markdown, HTML, YAML or direction of it."""

import re
import sys
from typing import Any

import yaml

SPECIAL = frozenset("\\`*_{}[]<>|#&~!$@")
"""What Markdown, its tables, formulas and mentions give a meaning to."""


def printable(text: str) -> str:
    """One line without control characters, marks of direction and lone surrogates."""
    flat = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)


def text(foreign: str) -> str:
    """For running text, list items and cells of tables."""
    flat = "".join(f"\\{c}" if c in SPECIAL else c for c in printable(foreign))
    # What would be a link by its look, and what at the start of an item would be a list or a line.
    flat = flat.replace("://", ":\\/\\/").replace("www.", "www\\.")
    flat = re.sub(r"^([-+=])(?=\1|\s|$)", r"\\\1", flat)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", flat)


def code(foreign: str, *, longest: int = 200) -> str:
    """As code in running text or a cell, between as many backticks as it takes."""
    flat = printable(foreign)
    if len(flat) > longest:
        flat = flat[:longest] + "..."
    # Even in code a bar ends a table's cell, and a backslash before it would be shown elsewhere.
    flat = flat.replace("|", "\u00a6")
    if not flat:
        return "`(empty)`"
    ticks = "`" * (_run(flat) + 1)
    edge = " " if flat[0] == "`" or flat[-1] == "`" else ""
    return f"{ticks}{edge}{flat}{edge}{ticks}"


def fenced(content: str, language: str = "") -> list[str]:
    """A block of code that nothing in it can end."""
    fence = "`" * max(3, _run(content) + 1)
    return [f"{fence}{language}", *content.rstrip("\n").split("\n"), fence]


def _run(content: str) -> int:
    """Length of the longest run of backticks."""
    return max(map(len, re.findall(r"`+", content)), default=0)


def as_yaml(content: Any) -> str:
    """YAML that reads back as it was, in letters that show what they are."""
    # Lines are not folded: a folded text could begin a line with what ends the block.
    plain = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=sys.maxsize)
    if all(c.isprintable() or c == "\n" for c in plain):
        return plain
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=False, width=sys.maxsize)


def shown(label: str) -> str:
    """A local path by its last two parts: whose disk it lay on is nobody's business."""
    parts = [part for part in re.split(r"[/\\]", label) if part]
    rooted = label.startswith(("/", "~", ".")) or "\\" in label or label[1:2] == ":"
    # With more parts than an id of the Hub has, it is a path, too.
    rooted = rooted or (len(parts) > 2 and not set("@:") & set(label))
    return "/".join(parts[-2:]) if rooted and parts else label
