"""How a card is known as copamerge's own: its last line holds the hash of all before it."""

import hashlib
import re

LINE = re.compile(r"(?s)(.*)\n<!-- copamerge wrote the text above; sha256: ([0-9a-f]{64}) -->\n?")


def marked(text: str) -> str:
    """The card with its mark."""
    text = text.rstrip("\n")
    return f"{text}\n\n<!-- copamerge wrote the text above; sha256: {_hash(text)} -->\n"


def is_own(content: str) -> bool:
    """Whether copamerge wrote this card and nobody changed it since (line endings apart)."""
    match = LINE.fullmatch(content.replace("\r\n", "\n"))
    return match is not None and _hash(match[1]) == match[2]


def _hash(text: str) -> str:
    return hashlib.sha256(text.rstrip("\n").encode()).hexdigest()
