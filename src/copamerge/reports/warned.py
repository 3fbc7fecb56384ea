"""What a reader of a page has to know first, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from copamerge.reports.document import flat, ticked


@dataclass(frozen=True)
class Warned:
    """One thing to know."""

    text: str
    """A sentence in plain words; `code` in backticks is shown as code."""
    do: str = ""
    """What to do about it, where the sentence does not say so itself."""
    command: str = ""
    """A command that does it."""


def warned_html(found: Sequence[Warned]) -> str:
    """A box for the top of a page; it says so where there is nothing to know."""
    if not found:
        return '<p class="unwarned" id="warnings">No warnings.</p>'
    items = "".join(map(_item, dict.fromkeys(found)))
    return (
        '<section class="warned" id="warnings" aria-labelledby="warnings-title">'
        f'<h2 id="warnings-title">{_counted(len(dict.fromkeys(found)))}</h2><ul>{items}</ul>'
        "</section>"
    )


def _counted(count: int) -> str:
    return "1 warning" if count == 1 else f"{count} warnings"


def _item(one: Warned) -> str:
    do = f" <b>What to do:</b> {ticked(one.do)}" if one.do else ""
    command = (
        f'<code class="command" tabindex="0">{flat(one.command)}</code>' if one.command else ""
    )
    return f"<li>{ticked(one.text)}{do}{command}</li>"
