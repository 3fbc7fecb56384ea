"""A self-contained HTML page: no network, no library, every foreign text escaped."""

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from copamerge._version import __version__
from copamerge.reports.look import Drawn
from copamerge.reports.tables import MISSING


def document(title: str, body: Sequence[str], assets: Sequence[str] = ("page",)) -> str:
    """The whole file: `body` is HTML, `title` a stranger's text; `assets` style and run it."""
    page = _DOCUMENT.format(
        policy=_POLICY,
        generator=escape(GENERATOR),
        title=flat(title),
        style="".join(asset(f"{name}.css") for name in assets),
        script="".join(asset(f"{name}.js") for name in assets),
        body="\n".join(body),
    )
    return visible(page)


def sortable(
    heads: Sequence[str],
    rows: Sequence[str],
    caption: str,
    kind: str = "",
    hovers: Sequence[str] = (),
) -> str:
    """A table that a click on a heading sorts; `rows` are HTML, `kind` is a class.

    `hovers` say what each heading means.
    """
    # Headings stand over words as these do: to the left.
    words = [i for i, cell in enumerate(_CELL.findall(rows[0] if rows else "")) if "word" in cell]
    head = "".join(
        f'<th scope="col"{WORD if i in words else ""}{title(hovers[i]) if hovers else ""}>'
        f'<button type="button">{flat(each)}</button></th>'
        for i, each in enumerate(heads)
    )
    return (
        f'<div class="wide" tabindex="0"><table class="{f"sortable {kind}".rstrip()}">'
        f"<caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def title(text: str) -> str:
    """What is shown when something is pointed at."""
    return f' title="{flat(text)}"' if text else ""


WORD = ' class="word"'
_CELL = re.compile(r"<t[hd]\b([^>]*)>")


def plain_cell(text: str) -> str:
    """A number in a table as it is printed; it sorts as it reads."""
    key = "" if text == MISSING else f' data-sort="{escape(text)}"'
    return f"<td{key}>{escape(text)}</td>"


def number_cell(value: float | None, shown: str, why: str = "") -> str:
    """A number in a table, `shown` in words; None stands last when sorted, and says `why`."""
    if value is None:
        return f'<td title="{flat(why)}">{MISSING}</td>' if why else f"<td>{MISSING}</td>"
    return f'<td data-sort="{value!r}">{escape(shown)}</td>'


def word_cell(text: str, *, long: bool = False) -> str:
    """A stranger's words in a table; `long` ones go over several lines."""
    return f'<td class="word{" long" if long else ""}">{flat(text)}</td>'


def name_cell(text: str) -> str:
    """What a row of a table is about."""
    return f'<th scope="row">{flat(text)}</th>'


def fold(summary: str, inner: str, *, is_open: bool = False) -> str:
    """HTML that is shown when asked for; it is printed in any case."""
    start = "<details open>" if is_open else "<details>"
    return f"{start}<summary>{flat(summary)}</summary>{inner}</details>"


def figure(drawn: Drawn, *, linked: bool) -> str:
    """A drawing with its caption; `linked` to its files in `figures/`."""
    name = escape(drawn.name)
    files = f' <a href="figures/{name}.svg">SVG</a> <a href="figures/{name}.png">PNG</a>'
    return (
        f'<figure id="fig-{name}"><div class="paper-white">{inline_svg(drawn)}</div>'
        f"<figcaption><strong>{escape(drawn.title)}.</strong> {escape(drawn.caption)}"
        f"{files if linked else ''}</figcaption></figure>"
    )


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


def visible(text: str) -> str:
    """Text whose characters that turn, hide or cannot be written are shown by their codes."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ud800-\udfff]"
)
"""Control characters, what changes the direction of writing, halves of characters."""


def asset(name: str) -> str:
    """A file that ships beside this one; empty where there is none."""
    path = files("copamerge.reports") / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


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
