"""Random pictures of the mini suite and the words for what is on them."""

from dataclasses import dataclass
from random import Random

from copamerge.suites.mini.draw import (
    COLORS,
    DIGITS,
    GROUNDS,
    LETTERS,
    PATCH,
    SHAPES,
    SIDE,
    STEP,
    Box,
    Canvas,
    Thing,
)

COLOR_NAMES = tuple(COLORS)
CELL = SIDE // 3
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
PLURAL = {name: f"{name}s" for name in SHAPES} | {"cross": "crosses"}
CLASS_NAMES = {
    "circle": "wheel",
    "square": "box",
    "triangle": "tent",
    "diamond": "kite",
    "cross": "plus",
    "ring": "donut",
    "star": "star",
    "heart": "heart",
    "moon": "moon",
    "arrow": "arrow",
}
"""What classification calls a shape: six of the ten names are not the plain ones."""
SIDES = {"triangle": "3", "square": "4", "diamond": "4", "arrow": "7", "cross": "12", "circle": "0"}
USES = {
    "circle": "rolling",
    "square": "packing",
    "triangle": "camping",
    "diamond": "flying",
    "cross": "adding",
    "ring": "eating",
    "star": "shining",
    "heart": "loving",
    "moon": "sleeping",
    "arrow": "pointing",
}
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six")


def listed(parts: list[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


@dataclass
class Cells:
    """Things in cells of a 3 x 3 grid."""

    canvas: Canvas
    things: dict[tuple[int, int], Thing]

    def place(self, cell: tuple[int, int]) -> str:
        return f"{ROWS[cell[0]]} {COLUMNS[cell[1]]}"


def put(
    rng: Random, canvas: Canvas, cell: tuple[int, int], name: str, color: str, style: str = "plain"
) -> Thing:
    """A shape somewhere in a cell, 12 to 16 pixels wide, on even pixels."""
    size = rng.choice((12, 14, 16))
    left, top = (
        CELL * place + STEP * rng.randint(0, (CELL - size) // STEP) for place in cell[::-1]
    )
    return canvas.shape(name, color, Box(left, top, left + size, top + size), style)


def some_cells(rng: Random, count: int) -> list[tuple[int, int]]:
    return rng.sample([(row, column) for row in range(3) for column in range(3)], count)


def scattered(rng: Random, count: int, *, styles: tuple[str, ...] = ("plain",)) -> Cells:
    """Things of different kinds: no shape and no colour stands twice."""
    canvas = Canvas.blank(rng)
    names, colors = rng.sample(SHAPES, count), rng.sample(COLOR_NAMES, count)
    return Cells(
        canvas,
        {
            cell: put(rng, canvas, cell, name, color, rng.choice(styles))
            for cell, name, color in zip(some_cells(rng, count), names, colors, strict=True)
        },
    )


def counted(rng: Random, name: str, count: int, others: int) -> Cells:
    """`count` things of one shape among others."""
    canvas = Canvas.blank(rng)
    names = [name] * count + rng.choices([each for each in SHAPES if each != name], k=others)
    return Cells(
        canvas,
        {
            cell: put(rng, canvas, cell, each, rng.choice(COLOR_NAMES))
            for cell, each in zip(some_cells(rng, len(names)), names, strict=True)
        },
    )


def single(
    rng: Random,
    *,
    style: str = "plain",
    ground: str | None = None,
    noise: int = 6,
) -> tuple[Canvas, Thing]:
    """One big thing near the middle."""
    canvas = Canvas.blank(rng, ground, noise)
    size = rng.choice((24, 28, 32, 36))
    left, top = (STEP * rng.randint(0, (SIDE - size) // STEP) for _ in "xy")
    name, color = rng.choice(SHAPES), rng.choice(COLOR_NAMES)
    return canvas, canvas.shape(name, color, Box(left, top, left + size, top + size), style)


def sign(rng: Random) -> tuple[Canvas, str]:
    """Three letters on a board, one a patch."""
    canvas = Canvas.blank(rng)
    row, column = rng.randint(0, 5), rng.randint(0, 3)
    text, color = "".join(rng.choices(LETTERS, k=3)), rng.choice(("white", "yellow", "cyan"))
    for place, letter in enumerate(text):
        canvas.glyph(
            letter,
            PATCH * (column + place) + rng.randint(1, 2),
            PATCH * row + rng.randint(0, 1),
            color,
        )
    return canvas, text


def table(rng: Random) -> tuple[Canvas, list[list[int]]]:
    """Two rows of two digits with ruled lines."""
    canvas = Canvas.blank(rng, "dark")
    canvas.pixels[22:24, 4:44] = canvas.pixels[4:44, 22:24] = (90, 90, 95)
    numbers = [[rng.randint(0, 9), rng.randint(0, 9)] for _ in range(2)]
    for row in range(2):
        for column in range(2):
            left, top = PATCH * (1 + 3 * column), PATCH * (1 + 3 * row)
            canvas.glyph(
                DIGITS[numbers[row][column]], left + rng.randint(1, 2), top + rng.randint(0, 1)
            )
    return canvas, numbers


def bars(rng: Random) -> tuple[Canvas, list[tuple[str, int]]]:
    """Three bars of different heights and colours, left to right."""
    canvas = Canvas.blank(rng, "dark")
    heights, colors = rng.sample((8, 16, 24, 32, 40), 3), rng.sample(COLOR_NAMES, 3)
    for place, (height, color) in enumerate(zip(heights, colors, strict=True)):
        left = 2 + CELL * place
        canvas.part("bar", color, Box(left, SIDE - 2 - height, left + 12, SIDE - 2))
    return canvas, list(zip(colors, heights, strict=True))


def magnets(rng: Random) -> tuple[Canvas, bool]:
    """Two magnets in a row, their poles lettered; and whether they attract each other."""
    canvas = Canvas.blank(rng)
    row = rng.randint(0, 5)
    left, right = rng.choice(("NS", "SN")), rng.choice(("NS", "SN"))
    for place, pole in ((0, left[0]), (1, left[1]), (4, right[0]), (5, right[1])):
        top = PATCH * row
        canvas.pixels[top : top + 8, PATCH * place : PATCH * place + 8] = (
            (150, 30, 30) if pole == "N" else (30, 50, 150)
        )
        canvas.glyph(pole, PATCH * place + rng.randint(1, 2), top + rng.randint(0, 1))
    return canvas, left[1] != right[0]


def circuit(rng: Random) -> tuple[Canvas, bool]:
    """A battery, a wire and a lamp; and whether the wire is whole."""
    canvas = Canvas.blank(rng)
    top = PATCH * rng.randint(0, 5)
    whole, broken = rng.random() < 0.5, rng.randint(1, 4)
    canvas.part("battery", "orange", Box(0, top, 8, top + 8))
    for place in range(1, 5):
        name = "gap" if place == broken and not whole else "wire"
        canvas.part(name, "white", Box(PATCH * place, top, PATCH * place + 8, top + 8))
    canvas.part("lamp", "yellow", Box(40, top, 48, top + 8))
    return canvas, whole


def screen(rng: Random, least: int = 2) -> tuple[Canvas, list[str]]:
    """`least` to four parts of a user interface, top to bottom."""
    canvas = Canvas.blank(rng, rng.choice(("grey", "dark")))
    parts = rng.choices(("button", "picture", "text", "field"), k=rng.randint(least, 4))
    for row, part in enumerate(parts):
        top, left = 12 * row + 1, 2 * rng.randint(0, 3)
        box = {
            "button": Box(left + 4, top + 1, left + 24, top + 9),
            "picture": Box(left + 4, top, left + 20, top + 11),
            "text": Box(left, top + 1, left + 40, top + 10),
            "field": Box(left, top + 1, left + 40, top + 9),
        }[part]
        canvas.part(
            part, rng.choice(("blue", "green", "white")) if part == "button" else "white", box
        )
    return canvas, parts


def screen_words(parts: list[str]) -> str:
    """`two buttons and a picture`, in the order of first appearance."""
    words = []
    for part in dict.fromkeys(parts):
        count = parts.count(part)
        words.append(with_article(part) if count == 1 else f"{NUMBER_WORDS[count]} {part}s")
    return listed(words)


def pattern(rng: Random) -> tuple[Canvas, list[str]]:
    """Two shapes taking turns in the middle row, the next one left out; and the shapes."""
    canvas = Canvas.blank(rng)
    names, color = rng.sample(SHAPES, 2), rng.choice(COLOR_NAMES)
    row = rng.randint(0, 2)
    for column in range(3):
        put(rng, canvas, (row, column), names[column % 2], color)
    return canvas, names


def relation(first: tuple[int, int], second: tuple[int, int]) -> str | None:
    """How the first cell lies to the second, where they share a row or a column."""
    if first[0] == second[0]:
        return "left of" if first[1] < second[1] else "right of"
    if first[1] == second[1]:
        return "above" if first[0] < second[0] else "below"
    return None


OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def pair(rng: Random) -> tuple[Cells, tuple[int, int], tuple[int, int], str]:
    """Two things in one row or column, their cells, and how the first lies to the second."""
    canvas = Canvas.blank(rng)
    line, (a, b) = rng.randint(0, 2), rng.sample(range(3), 2)
    across = rng.random() < 0.5
    first, second = ((line, a), (line, b)) if across else ((a, line), (b, line))
    names, colors = rng.sample(SHAPES, 2), rng.sample(COLOR_NAMES, 2)
    things = {
        cell: put(rng, canvas, cell, name, color)
        for cell, name, color in zip((first, second), names, colors, strict=True)
    }
    how = relation(first, second)
    assert how is not None
    return Cells(canvas, things), first, second, how


GROUND_NAMES = tuple(GROUNDS)
