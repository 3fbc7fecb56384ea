"""Which tensor is which: PEFT's names taken apart."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from copamerge.io.tensorfile import Header

PREFIX = "base_model.model."
PART = re.compile(
    r"(?P<layer>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B)"
    r"(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?:\.(?P<leaf>weight|bias))?"
)


@dataclass
class Parts:
    """The stored tensors of one layer, by part."""

    A: str | None = None
    B: str | None = None
    bias: str | None = None
    embedding: bool = False


class Names(NamedTuple):
    """The tensors of a file, sorted by what their names say."""

    parts: dict[str, Parts]
    """Layer -> the stored names of its factors."""
    rest: dict[str, str]
    """Any other tensor: stored name -> name without PEFT's prefixes."""
    depth: dict[int, int]
    """How often PREFIX was repeated -> number of tensors."""
    adapters: set[str]
    """Adapter names found inside tensor names."""


def sort_names(headers: Mapping[str, Header]) -> Names:
    parts: dict[str, Parts] = defaultdict(Parts)
    rest: dict[str, str] = {}
    depth: dict[int, int] = defaultdict(int)
    adapters: set[str] = set()
    for stored in headers:
        name, count = stored, 0
        while name.startswith(PREFIX):
            name, count = name.removeprefix(PREFIX), count + 1
        depth[count] += 1
        match = PART.fullmatch(name)
        if match is None:
            rest[stored] = name
            continue
        if match["adapter"]:
            adapters.add(match["adapter"])
        found = parts[match["layer"]]
        found.embedding |= "embedding" in match["part"]
        slot = "bias" if match["leaf"] == "bias" else match["part"][-1]
        if getattr(found, slot) is not None or (slot == "bias" and match["part"] != "lora_B"):
            rest[stored] = name  # a second tensor for the same place: reported as not understood
        else:
            setattr(found, slot, stored)
    return Names(dict(parts), rest, depth, adapters)
