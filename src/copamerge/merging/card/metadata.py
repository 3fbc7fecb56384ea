"""The YAML at the top of a card, in the Hub's words, and what the sources' licences come to."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from copamerge.merging.card.escape import code, shown, text
from copamerge.merging.card.loading import Written
from copamerge.merging.sources import SourceCard, card_from

TAG = re.compile(r"[\w.:+@/-]{1,96}")


class Named(NamedTuple):
    """A source by the name that the card gives it."""

    name: str
    card: SourceCard | None
    """None where nobody looked."""


def named(adapter: str, card: SourceCard | None) -> Named:
    """A source as its record has it, which need not be as `source_card` wrote it."""
    return Named(shown(adapter), None if card is None else card_from(card.model_dump(mode="json")))


def metadata(
    written: Written,
    sources: Sequence[Named],
    tags: Iterable[str],
    *,
    adapters: Sequence[str] = (),
    index: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What the Hub reads. `adapters` are the sources that have Hub ids."""
    cards = [source.card for source in sources if source.card is not None]
    found: dict[str, Any] = {}
    every = ["lora", "peft", *(tag for tag in tags if TAG.fullmatch(tag))]
    if written.base:
        found |= {"base_model": written.base, "base_model_relation": "adapter"}
        every.append(f"base_model:adapter:{written.base}")
    found["library_name"] = "peft"
    if written.pipeline:
        found["pipeline_tag"] = written.pipeline
    found |= licence(sources)
    for key, lists in (
        ("language", [card.language for card in cards]),
        ("datasets", [card.datasets for card in cards]),
    ):
        if union := list(dict.fromkeys(each for one in lists for each in one)):
            found[key] = union
    found["tags"] = list(dict.fromkeys(every))
    if adapters:
        # Not under `base_model`, which servers take for the model to load.
        found["source_adapters"] = list(adapters)
    if index:
        found["model-index"] = list(index)
    return found


def licence(sources: Sequence[Named]) -> dict[str, str]:
    """The sources' licence if all name the same one; empty otherwise.

    `other` is the name of none: where several say so, they have to name the same one beside it.
    """
    cards = {source.card for source in sources}
    said = {None if card is None else (card.license, card.license_name) for card in cards}
    if len(said) != 1 or None in said:
        return {}
    one = next(iter(cards))
    assert one is not None
    nameless = (one.license, one.license_name) == ("other", None)
    if one.license is None or (nameless and sources[1:]):
        return {}
    links = {card.license_link for card in cards if card is not None}
    link = links.pop() if len(links) == 1 else None
    found = {"license": one.license, "license_name": one.license_name, "license_link": link}
    return {key: value for key, value in found.items() if value is not None}


def licence_line(sources: Sequence[Named]) -> str:
    """A sentence or two on what is known of licences."""
    also = "The base model's own licence applies as well."
    if any(source.card is None for source in sources):
        return (
            "Licences, languages and data of the sources were not written down when this was "
            f"merged, so none are given here. {also}"
        )
    if one := licence(sources):
        called = code(one.get("license_name") or one["license"])
        who = "All sources are" if sources[1:] else "The source is"
        return f"{who} under {called}. {also}"
    if not any(source.card and source.card.license for source in sources):
        who = "No source names" if sources[1:] else "The source does not name"
        return f"{who} a licence, so none is given here. {also}"
    each = "; ".join(f"{code(x.name)}: {text(_called(x.card))}" for x in sources)
    return f"The sources do not all name the same licence, so none is given here ({each}). {also}"


def _called(card: SourceCard | None) -> str:
    if card is None or card.license is None:
        return "none named"
    if card.license == "other":
        return card.license_name or "other, without a name"
    return card.license
