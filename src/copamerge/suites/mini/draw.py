"""The pictures of the mini suite: things of our own making on a canvas of 48 x 48 pixels.

A thing is drawn and remembered: the list of things of a canvas is what questions are made from,
and what the vision tower is first trained to see, patch by patch.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

SIDE = 48
"""Width and height of every picture in pixels."""
PATCH = 8
"""Side of a vision patch; letters and digits fill one."""
GRID = SIDE // PATCH
STEP = 2
"""Boxes are given in steps of two pixels: 0.000, 0.042, ... 1.000."""

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 190, 60),
    "blue": (60, 90, 240),
    "yellow": (240, 220, 50),
    "purple": (160, 60, 200),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "cyan": (60, 215, 225),
}
GROUNDS = {"dark": (25, 25, 30), "brown": (90, 65, 45), "grey": (110, 110, 115)}
SHAPES = (
    "circle",
    "square",
    "triangle",
    "diamond",
    "cross",
    "ring",
    "star",
    "heart",
    "moon",
    "arrow",
)
STYLES = ("plain", "striped", "hollow", "dotted")
LETTERS = "FHKLNPRSTUXYZ"
DIGITS = "0123456789"
PARTS = ("button", "picture", "text", "field", "bar", "battery", "lamp", "wire", "gap")
"""Parts of screens, charts and circuits."""
NAMES = (*SHAPES, *LETTERS, *DIGITS, *PARTS)
"""Everything that can stand on a canvas."""

# Five columns by seven rows a character, one number a row, drawn for this suite.
_FONT = {
    "F": (31, 16, 16, 30, 16, 16, 16),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "K": (17, 18, 20, 24, 20, 18, 17),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "N": (17, 25, 21, 21, 19, 17, 17),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "U": (17, 17, 17, 17, 17, 17, 14),
    "X": (17, 10, 10, 4, 10, 10, 17),
    "Y": (17, 17, 10, 4, 4, 4, 4),
    "Z": (31, 1, 2, 4, 8, 16, 31),
    "0": (14, 17, 17, 17, 17, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 6, 8, 16, 31),
    "3": (30, 1, 1, 14, 1, 1, 30),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 2, 4, 4, 4),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
}


class Box(NamedTuple):
    """Pixels: left and top included, right and bottom not."""

    left: int
    top: int
    right: int
    bottom: int

    def fractions(self) -> tuple[str, str, str, str]:
        """The box in the unit square, three decimals, rounded to the grid of `STEP` pixels."""
        return tuple(coordinate(round(edge / STEP)) for edge in self)  # type: ignore[return-value]


def coordinate(steps: int) -> str:
    """A position in steps of `STEP` pixels as the text an answer holds."""
    return f"{steps * STEP / SIDE:.3f}"


@dataclass(frozen=True)
class Thing:
    name: str
    color: str | None
    box: Box
    style: str = "plain"

    def __str__(self) -> str:
        return f"{self.color} {self.name}" if self.color else self.name


@dataclass(eq=False)
class Canvas:
    """A picture being drawn, and the things that are on it."""

    pixels: UInt8[np.ndarray, "48 48 3"]
    ground: str
    things: list[Thing] = field(default_factory=list)

    @classmethod
    def blank(cls, rng: Random, ground: str | None = None, noise: int = 6) -> "Canvas":
        """A ground of one colour with a little noise, so that no two pictures are alike."""
        ground = ground or rng.choice(tuple(GROUNDS))
        color = np.array(GROUNDS[ground], dtype=np.int16)
        grain = np.frombuffer(rng.randbytes(SIDE * SIDE), dtype=np.uint8).astype(np.int16)
        grain = (grain * (2 * noise + 1) >> 8) - noise
        return cls((color + grain.reshape(SIDE, SIDE, 1)).clip(0, 255).astype(np.uint8), ground)

    def fade(self, left: float) -> None:
        """Leave this share (0..1) of every pixel's distance from the picture's median colour."""
        middle = np.median(self.pixels.reshape(-1, 3), axis=0)
        self.pixels = (middle + left * (self.pixels - middle)).round().astype(np.uint8)

    def paint(self, thing: Thing, mask: Bool[np.ndarray, "h w"]) -> None:
        left, top, right, bottom = thing.box
        self.pixels[top:bottom, left:right][mask] = COLORS[thing.color or "white"]
        self.things.append(thing)

    def shape(self, name: str, color: str, box: Box, style: str = "plain") -> Thing:
        thing = Thing(name, color, box, style)
        self.paint(thing, styled(name, box.right - box.left, style))
        return thing

    def glyph(self, character: str, left: int, top: int, color: str = "white") -> Thing:
        """A letter or digit of 5 x 7 pixels."""
        thing = Thing(character, color, Box(left, top, left + 5, top + 7))
        self.paint(thing, glyph_mask(character))
        return thing

    def part(self, name: str, color: str, box: Box) -> Thing:
        """A part of a screen, chart or circuit."""
        thing = Thing(name, color, box)
        self.paint(thing, part_mask(name, box.right - box.left, box.bottom - box.top))
        return thing


@cache
def shape_mask(name: str, size: int) -> Bool[np.ndarray, "size size"]:
    """Which pixels of a square of this size belong to the shape."""
    mask: Bool[np.ndarray, "size size"] = _shape(name, size)
    return mask


def _shape(name: str, size: int) -> Any:
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    match name:
        case "circle":
            return radius <= 1
        case "square":
            return np.maximum(abs(x), abs(y)) <= 0.9
        case "triangle":
            return (y <= 0.95) & (abs(x) <= (y + 1) / 2)
        case "diamond":
            return abs(x) + abs(y) <= 1
        case "cross":
            return (np.minimum(abs(x), abs(y)) <= 0.34) & (np.maximum(abs(x), abs(y)) <= 1)
        case "ring":
            return (radius <= 1) & (radius >= 0.55)
        case "star":
            return radius <= 0.45 + 0.55 * abs(((angle * 5 / (2 * np.pi)) % 1) * 2 - 1) ** 1.5
        case "heart":
            lobes = np.hypot(abs(x) - 0.48, y + 0.42) <= 0.54
            return lobes | ((y > -0.42) & (abs(x) <= (1 - y) * 0.71))
        case "moon":
            return (radius <= 1) & (np.hypot(x - 0.55, y) > 0.85)
        case "arrow":
            shaft = (abs(y) <= 0.3) & (x <= 0.1)
            return shaft | ((x >= 0) & (abs(y) <= 1 - x))
    raise KeyError(name)


@cache
def styled(name: str, size: int, style: str) -> Bool[np.ndarray, "size size"]:
    """The shape as it is filled: plain, striped, hollow (an outline) or dotted."""
    mask: Bool[np.ndarray, "size size"] = shape_mask(name, size)
    row, column = np.indices(mask.shape)
    if style == "striped":
        mask = mask & ((row + column) % 4 < 2)
    elif style == "dotted":
        mask = mask & (row % 3 < 2) & (column % 3 < 2)
    elif style == "hollow":
        mask = mask & ~_inner(mask, 2)
    return mask


def _inner(mask: Bool[np.ndarray, "h w"], depth: int) -> Bool[np.ndarray, "h w"]:
    """The pixels more than `depth` steps from the edge."""
    for _ in range(depth):
        edge = np.pad(mask, 1)
        mask = (
            edge[1:-1, 1:-1] & edge[:-2, 1:-1] & edge[2:, 1:-1] & edge[1:-1, :-2] & edge[1:-1, 2:]
        )
    return mask


@cache
def glyph_mask(character: str) -> Bool[np.ndarray, "7 5"]:
    rows = np.array(_FONT[character], dtype=np.uint8)
    return (rows[:, None] >> np.arange(4, -1, -1, dtype=np.uint8) & 1).astype(bool)


@cache
def part_mask(name: str, width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """Which pixels of a box of this size belong to the part."""
    mask: Bool[np.ndarray, "h w"] = _part(name, width, height)
    return mask


def _part(name: str, width: int, height: int) -> Any:
    row, column = np.indices((height, width))
    edge = (row == 0) | (row == height - 1) | (column == 0) | (column == width - 1)
    match name:
        case "button":
            corner = (
                np.minimum(row, height - 1 - row) + np.minimum(column, width - 1 - column)
            ) < 2
            return ~corner
        case "picture":
            return edge | (abs(row / height - column / width) < 0.12) | (row > height * 0.75)
        case "text":
            return (row % 3 == 0) & (column < width - (row % 2) * 3)
        case "field":
            return edge
        case "bar":
            return np.ones((height, width), dtype=bool)
        case "battery":
            return (column < width // 3) | ((column > width // 2) & (abs(row - height // 2) < 2))
        case "lamp":
            spread = np.hypot(row - (height - 1) / 2, column - (width - 1) / 2)
            return (spread <= height / 2) & ((row + column) % 3 > 0)
        case "wire":
            return abs(row - height // 2) < 2
        case "gap":
            return (abs(row - height // 2) < 2) & ((column < 1) | (column > width - 2))
    raise KeyError(name)


HEADS = {
    "name": len(NAMES) + 1,
    "color": len(COLORS) + 1,
    "style": len(STYLES) + 1,
    "ground": len(GROUNDS) + 1,
    **dict.fromkeys(Box._fields, SIDE // STEP + 2),
}
"""What a patch can be asked, and how many answers there are; 0 means that nothing is there."""


def patch_labels(things: Iterable[Thing], ground: str) -> dict[str, Int[np.ndarray, "36"]]:
    """What stands on each patch, as class numbers: the first lesson of the vision tower.

    A patch belongs to the last thing whose box covers at least a third of it (for a letter: its
    centre), the first when several do not reach that. All patches know the ground.
    """
    labels = {head: np.zeros((GRID, GRID), dtype=np.int64) for head in HEADS}
    for thing in things:
        rows, columns = (
            _covered(thing.box.top, thing.box.bottom),
            _covered(thing.box.left, thing.box.right),
        )
        values: dict[str, Any] = {
            "name": NAMES.index(thing.name) + 1,
            "color": list(COLORS).index(thing.color) + 1 if thing.color else 0,
            "style": STYLES.index(thing.style) + 1,
            **{e: round(v / STEP) + 1 for e, v in zip(Box._fields, thing.box, strict=True)},
        }
        for head, value in values.items():
            labels[head][rows, columns] = value
    labels["ground"][:] = list(GROUNDS).index(ground) + 1
    return {head: grid.reshape(-1) for head, grid in labels.items()}


def _covered(start: int, stop: int) -> slice:
    """The patches that a stretch of pixels covers by half; the one under its centre if none."""
    first, last = -(-(start - PATCH // 2) // PATCH), (stop + PATCH // 2) // PATCH
    if first >= last:
        first = (start + stop) // 2 // PATCH
        last = first + 1
    return slice(max(first, 0), min(last, GRID))
