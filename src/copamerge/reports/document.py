"""A self-contained HTML page: no network, no library, every foreign text escaped."""

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from copamerge._version import __version__
from copamerge.reports.look import Drawn
from copamerge.reports.tables import MISSING


def document(title: str, body: Sequence[str]) -> str:
    """The whole file: `body` is HTML, `title` a stranger's text."""
    return _DOCUMENT.format(
        policy=_POLICY,
        generator=escape(GENERATOR),
        title=flat(title),
        style=asset("page.css"),
        script=asset("page.js"),
        body="\n".join(body),
    )


def sortable(heads: Sequence[str], rows: Sequence[str], caption: str, kind: str = "") -> str:
    """A table that a click on a heading sorts; `rows` are HTML, `kind` is a class."""
    head = "".join(
        f'<th scope="col"><button type="button">{flat(each)}</button></th>' for each in heads
    )
    return (
        f'<div class="wide" tabindex="0"><table class="{kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def plain_cell(text: str) -> str:
    """A number in a table as it is printed; it sorts as it reads."""
    key = "" if text == MISSING else f' data-sort="{escape(text)}"'
    return f"<td{key}>{escape(text)}</td>"


def inline_svg(drawn: Drawn) -> str:
    """The figure without prolog and comments, its ids its own in the page, with its title."""
    svg = drawn.svg[drawn.svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    prefix = f"{re.sub(r'[^A-Za-z0-9-]', '-', drawn.name)}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(drawn.title)}"', 1)


def bullets(texts: Sequence[str]) -> str:
    """Notes as a list; nothing where there are none."""
    if not texts:
        return ""
    return '<ul class="notes">' + "".join(f"<li>{ticked(text)}</li>" for text in texts) + "</ul>"


def ticked(text: str) -> str:
    """Escaped, with `code` in backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def flat(text: str) -> str:
    """Escaped, on one line."""
    return escape(" ".join(text.split()))


def asset(name: str) -> str:
    """A file that ships beside this one."""
    return (files("copamerge.reports") / name).read_text(encoding="utf-8")


GENERATOR = f"copamerge {__version__}"
"""Who wrote the page; only pages that say so are ever replaced."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The page asks nobody for anything, and nothing that gets into it can."""

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="{generator}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""
