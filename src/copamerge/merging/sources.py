"""What the model card of a source says that a merge of it has to pass on."""

import re
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from copamerge.core.adapter import Adapter
from copamerge.yamltext import YamlError, loaded

CARD = "README.md"
READ = 1 << 18
"""Characters of a card that are read: its metadata come first."""
LISTED = 200
"""Entries that are taken of a list; a card with more is not a card."""
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,59}")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}|multilingual|code")
DATASET = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
LINK = re.compile(r"https?://[\w.-]+(/[\w./%+~=&?#-]*)?|LICENSE[\w.]{0,12}")
TITLE = re.compile(r"[\w .,+()-]{1,80}")


class SourceCard(BaseModel):
    """What a source's own README.md says in its metadata; what it does not say, or not in the
    Hub's form, is null or empty."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    license: str | None = None
    """The Hub's identifier of its licence."""
    license_name: str | None = None
    """The licence's own name, where the identifier is `other`."""
    license_link: str | None = None
    """Where that licence can be read."""
    language: tuple[str, ...] = ()
    """Codes of the languages it names."""
    datasets: tuple[str, ...] = ()
    """Hub ids of the data it names."""


def source_card(adapter: Adapter) -> SourceCard:
    """What lies in README.md beside the adapter's weights; empty where nothing can be read."""
    return card_from(_metadata(adapter.files[0].parent / CARD))


def card_from(found: dict[Any, Any]) -> SourceCard:
    """The well-formed part of a card's metadata."""
    # A licence is one word; a list of several is no agreement on one.
    licence = _one(found.get("license"), LICENCE, lower=True)
    other = licence == "other"
    return SourceCard(
        license=None if licence == "unknown" else licence,
        license_name=_one(found.get("license_name"), TITLE) if other else None,
        license_link=_one(found.get("license_link"), LINK) if other else None,
        language=_many(found.get("language"), LANGUAGE),
        datasets=_many(found.get("datasets"), DATASET),
    )


def _metadata(card: Path) -> dict[Any, Any]:
    try:
        with card.open(encoding="utf-8-sig") as file:
            text = "".join(islice(iter(lambda: file.read(1 << 16), ""), READ >> 16))
        match = re.match(r"\s*---[ \t]*\n(.*?)\n---[ \t]*(\n|\Z)", text, re.DOTALL)
        found = loaded(match[1]) if match else None
    except (OSError, UnicodeDecodeError, YamlError):
        return {}
    return found if isinstance(found, dict) else {}


def _one(value: Any, form: re.Pattern[str], *, lower: bool = False) -> str | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        return None
    value = value.strip().lower() if lower else value.strip()
    return value if form.fullmatch(value) else None


def _many(value: Any, form: re.Pattern[str]) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    # YAML 1.1 reads the code of Norwegian as false.
    texts = ["no" if each is False else each for each in values[:LISTED]]
    good = [x.strip() for x in texts if isinstance(x, str) and form.fullmatch(x.strip())]
    return tuple(dict.fromkeys(good))
