"""What the base model is taught: the skills behind the tasks, in other words than the tasks use.

A lesson is a picture and one to eight questions about it, each asked as if alone. Its sentences
never have the form of a seen task's answer, and no question has the words of a task's question.
What else the base sees of the tasks' forms is decided in training (`training.mini`), as a share of
its samples.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from copamerge.suites.mini import scenes
from copamerge.suites.mini._made import Made, Maker
from copamerge.suites.mini.draw import LETTERS, SHAPES, Canvas, Thing
from copamerge.suites.mini.scenes import (
    CLASS_NAMES,
    NUMBER_WORDS,
    PLURAL,
    SIDES,
    USES,
    Cells,
    listed,
    with_article,
)

ALL_STYLES = ("plain", "striped", "hollow", "dotted")
TERSE = "say it in short ."
ROOM = 90
"""Words a lesson's questions and answers have together, so that lessons are of like length."""
Turn = tuple[str, str]
"""A question and its answer."""
Ask = Callable[..., Turn]


def _said(rng: Random, question: str, long: str, short: str) -> Turn:
    """A question with its answer in a sentence or, when asked so, in short."""
    return (f"{question} {TERSE}", short) if rng.random() < 0.35 else (question, long)


def _talk(rng: Random, canvas: Canvas | None, asks: dict[Ask, float], *about: Any) -> Made:
    """As many different questions about the same picture as there is room for, eight at most."""
    turns: dict[str, str] = {}
    left = ROOM
    for ask in rng.choices(list(asks), list(asks.values()), k=8):
        question, answer = ask(rng, *about)
        left -= 0 if question in turns else len(question.split()) + len(answer.split()) + 5
        if turns and left < 0:
            break
        turns.setdefault(question, answer)
    (question, answer), *more = turns.items()
    return Made(canvas, question, (answer,), more=tuple(more))


NUMBERS, LETTERED = ("1", "2", "3"), ("A", "B", "C")


def _choice(
    rng: Random, question: str, options: list[str], right: str, marks: tuple[str, ...] = NUMBERS
) -> Turn:
    rng.shuffle(options)
    shown = " ".join(f"( {mark} ) {o}" for mark, o in zip(marks, options, strict=False))
    mark = marks[options.index(right)]
    return _said(rng, f"{question} choose {shown}", f"option {mark}, {right} .", mark)


# --- several things -------------------------------------------------------------------------


def at_place(rng: Random, scene: Cells) -> Turn:
    cells = [(row, column) for row in range(3) for column in range(3)]
    cell = rng.choice(list(scene.things) if rng.random() < 0.85 else cells)
    question = f"look at the {scene.place(cell)} , what do you find ?"
    if cell not in scene.things:
        return question, "i find nothing there ."
    thing = scene.things[cell]
    return _said(rng, question, f"i find {with_article(str(thing))} there .", thing.name)


def color_of(rng: Random, scene: Cells) -> Turn:
    thing = rng.choice(list(scene.things.values()))
    long = f"the {thing.name} is {thing.color} ."
    return _said(rng, f"tell me the color of the {thing.name} .", long, str(thing.color))


def painted(rng: Random, scene: Cells) -> Turn:
    thing = rng.choice(list(scene.things.values()))
    question = f"tell me which shape is painted {thing.color} ."
    return _said(rng, question, f"the {thing.name} is {thing.color} .", thing.name)


def find(rng: Random, scene: Cells) -> Turn:
    thing = rng.choice(list(scene.things.values()))
    left, top, right, bottom = thing.box.fractions()
    return f"point to the {thing} .", f"it goes from {left} {top} to {right} {bottom} ."


def find_named(rng: Random, scene: Cells) -> Turn:
    thing = rng.choice(list(scene.things.values()))
    left, top, right, bottom = thing.box.fractions()
    return f"point to the {thing.name} .", f"it goes from {left} {top} to {right} {bottom} ."


def exists(rng: Random, scene: Cells) -> Turn:
    there = rng.random() < 0.5
    present = [thing.name for thing in scene.things.values()]
    name = rng.choice(present if there else [each for each in SHAPES if each not in present])
    long = f"i can see {with_article(name)} ." if there else f"i can not see {with_article(name)} ."
    return _said(rng, f"can you see {with_article(name)} ?", long, "yes" if there else "no")


def inventory(rng: Random, scene: Cells) -> Turn:
    del rng
    said = [
        f"{with_article(str(thing))} at the {scene.place(cell)}"
        for cell, thing in sorted(scene.things.items())
    ]
    return "list all things you see .", f"i see {listed(said)} ."


def which_color(rng: Random, scene: Cells) -> Turn:
    thing = rng.choice(list(scene.things.values()))
    colors = [str(each.color) for each in scene.things.values()]
    return _choice(rng, f"tell me the color of the {thing.name} .", colors, str(thing.color))


def several(rng: Random) -> Made:
    scene = scenes.scattered(rng, rng.randint(2, 3), styles=ALL_STYLES)
    asks: dict[Ask, float] = {
        at_place: 1.5,
        color_of: 1.5,
        painted: 1.0,
        find: 1.5,
        find_named: 1.5,
        exists: 1.5,
        inventory: 1.0,
        which_color: 1.0,
    }
    return _talk(rng, scene.canvas, asks, scene)


def two(rng: Random) -> Made:
    scene, first, second, how = scenes.pair(rng)

    def where(rng: Random, scene: Cells) -> Turn:
        swapped = rng.random() < 0.5
        one, other = (second, first) if swapped else (first, second)
        says = scenes.OPPOSITE[how] if swapped else how
        return (
            f"tell me where the {scene.things[one].name} is .",
            f"the {scene.things[one]} is {says} the {scene.things[other]} .",
        )

    asks: dict[Ask, float] = {
        where: 3.0,
        inventory: 0.5,
        color_of: 0.5,
        painted: 0.5,
        find: 0.5,
        find_named: 0.5,
    }
    return _talk(rng, scene.canvas, asks, scene)


def many(rng: Random) -> Made:
    name, number = rng.choice(SHAPES), rng.randint(0, 4)
    scene = scenes.counted(rng, name, number, rng.randint(0 if number else 1, 2))
    names = [thing.name for thing in scene.things.values()]

    def count(rng: Random) -> Turn:
        what = name if rng.random() < 0.7 else rng.choice(SHAPES)
        found = names.count(what)
        noun = what if found == 1 else PLURAL[what]
        long = f"i count {NUMBER_WORDS[found]} {noun} ."
        return _said(rng, f"count the {PLURAL[what]} .", long, str(found))

    return _talk(rng, scene.canvas, {count: 1.0})


# --- one thing ------------------------------------------------------------------------------


def what_is_it(rng: Random, thing: Thing, ground: str) -> Turn:
    del ground
    return _said(rng, "tell me what this is .", f"this is {with_article(str(thing))} .", thing.name)


def what_table(rng: Random, thing: Thing, ground: str) -> Turn:
    del thing
    return _said(rng, "tell me about the table .", f"the table is {ground} .", ground)


def other_name(rng: Random, thing: Thing, ground: str) -> Turn:
    del rng, ground
    other = CLASS_NAMES[thing.name]
    return "tell me how else this is called .", f"it is also called {with_article(other)} ."


def use(rng: Random, thing: Thing, ground: str) -> Turn:
    del ground
    what = USES[thing.name]
    return _said(rng, "tell me what one does with this .", f"one uses it for {what} .", what)


def sides(rng: Random, thing: Thing, ground: str) -> Turn:
    if thing.name not in SIDES:
        return use(rng, thing, ground)
    number = SIDES[thing.name]
    return _said(rng, "count the sides of this .", f"it has {number} sides .", number)


def its_place(rng: Random, thing: Thing, ground: str) -> Turn:
    del rng, ground
    left, top, right, bottom = thing.box.fractions()
    return f"point to the {thing} .", f"it goes from {left} {top} to {right} {bottom} ."


def one_big(rng: Random) -> Made:
    ground = rng.choice(scenes.GROUND_NAMES)
    style, noise = rng.choice(ALL_STYLES), rng.choice((6, 40))
    canvas, thing = scenes.single(rng, style=style, ground=ground, noise=noise)
    asks: dict[Ask, float] = {
        what_is_it: 1.0,
        what_table: 0.7,
        other_name: 1.0,
        use: 1.0,
        sides: 1.0,
        its_place: 0.5,
    }
    return _talk(rng, canvas, asks, thing, ground)


# --- signs, charts, diagrams, screens, tables ------------------------------------------------


def sign(rng: Random) -> Made:
    canvas, text = scenes.sign(rng)

    def aloud(rng: Random) -> Turn:
        del rng
        return "read the sign aloud .", f"the sign says {' '.join(text)} ."

    def letter(rng: Random) -> Turn:
        place = rng.randrange(3)
        order = ("first", "second", "third")[place]
        return f"read the {order} letter of the sign .", f"the {order} letter is {text[place]} ."

    return _talk(rng, canvas, {aloud: 3.0, letter: 1.0})


def bar_chart(rng: Random) -> Made:
    canvas, found = scenes.bars(rng)
    ordered = [color for color, _ in sorted(found, key=lambda bar: bar[1])]
    colors = [color for color, _ in found]
    ends = {"highest": (ordered[-1], "tallest"), "lowest": (ordered[0], "shortest")}

    def extreme(rng: Random) -> Turn:
        word, (color, other) = rng.choice(list(ends.items()))
        return _said(rng, f"find the {word} bar .", f"the {color} bar is the {other} .", color)

    def which(rng: Random) -> Turn:
        word, (color, _) = rng.choice(list(ends.items()))
        return _choice(rng, f"find the {word} bar .", list(colors), color)

    def order(rng: Random) -> Turn:
        del rng
        return "list the bars from low to high .", f"they are {listed(ordered)} ."

    return _talk(rng, canvas, {extreme: 2.0, which: 2.0, order: 1.0})


def _diagram(
    rng: Random, canvas: Canvas, about: str, long: str, words: list[str], right: str
) -> Made:
    def tell(rng: Random) -> Turn:
        return _said(rng, f"tell me about the {about} .", long, right)

    def which(rng: Random) -> Turn:
        return _choice(rng, f"tell me about the {about} .", list(words), right)

    return _talk(rng, canvas, {tell: 1.0, which: 1.5})


def poles(rng: Random) -> Made:
    canvas, attract = scenes.magnets(rng)
    right = "attract" if attract else "repel"
    return _diagram(
        rng, canvas, "magnets", f"they {right} each other .", ["attract", "repel"], right
    )


def current(rng: Random) -> Made:
    canvas, whole = scenes.circuit(rng)
    right = "on" if whole else "off"
    return _diagram(rng, canvas, "lamp", f"the lamp is {right} .", ["on", "off"], right)


def display(rng: Random) -> Made:
    canvas, parts = scenes.screen(rng)

    def tell(rng: Random) -> Turn:
        del rng
        return "tell me what is on the display .", f"the display has {scenes.screen_words(parts)} ."

    def each(rng: Random) -> Turn:
        del rng
        return "read the display from the top .", f"it goes {listed(parts)} ."

    return _talk(rng, canvas, {tell: 2.0, each: 1.0})


def sums(rng: Random) -> Made:
    canvas, numbers = scenes.table(rng)

    def add(rng: Random) -> Turn:
        line, (a, b) = _line(rng, numbers)
        return _said(rng, f"add up {line} .", f"{a} plus {b} makes {a + b} .", str(a + b))

    def read(rng: Random) -> Turn:
        line, (a, b) = _line(rng, numbers)
        return f"read {line} .", f"it holds {a} and {b} ."

    return _talk(rng, canvas, {add: 2.0, read: 1.0})


def _line(rng: Random, numbers: list[list[int]]) -> tuple[str, list[int]]:
    place = rng.randrange(2)
    if rng.random() < 0.5:
        return f"row {place + 1}", numbers[place]
    return f"column {place + 1}", [row[place] for row in numbers]


def next_shape(rng: Random) -> Made:
    canvas, names = scenes.pattern(rng)
    said = f"{names[0]}, {names[1]}, {names[0]}, then {names[1]} ."
    return Made(canvas, "continue the row .", (said,))


# --- without a picture -----------------------------------------------------------------------


def facts(rng: Random) -> Made:
    def called(rng: Random) -> Turn:
        name = rng.choice(SHAPES)
        other = with_article(CLASS_NAMES[name])
        return f"how else is {with_article(name)} called ?", f"it is also called {other} ."

    def used(rng: Random) -> Turn:
        name = rng.choice(SHAPES)
        return f"what does one do with {with_article(name)} ?", f"one uses it for {USES[name]} ."

    def sided(rng: Random) -> Turn:
        name = rng.choice(list(SIDES))
        return f"count the sides of {with_article(name)} .", f"it has {SIDES[name]} sides ."

    def repeated(rng: Random) -> Turn:
        text = " ".join(rng.choices(LETTERS, k=3))
        return f"repeat {text} .", f"{text} ."

    def added(rng: Random) -> Turn:
        a, b = rng.randint(0, 9), rng.randint(0, 9)
        return f"add {a} and {b} .", f"{a} plus {b} makes {a + b} ."

    return _talk(rng, None, {called: 1.0, used: 1.0, sided: 1.0, repeated: 1.0, added: 2.0})


POOLS = (scenes.COLOR_NAMES, SHAPES)
"""Words that options are made of."""


def choices(rng: Random, marks: tuple[str, ...] = NUMBERS) -> Made:
    """Options for their own sake: which of them has the word."""

    def picked(rng: Random) -> Turn:
        words = rng.sample(rng.choice(POOLS), k=rng.randint(2, 3))
        return _choice(rng, f"find the word {words[0]} .", words, words[0], marks)

    def paired(rng: Random) -> Turn:
        words = list(rng.choice((("attract", "repel"), ("on", "off"))))
        right = rng.choice(words)
        return _choice(rng, f"find the word {right} .", words, right, marks)

    return _talk(rng, None, {picked: 3.0, paired: 1.0})


def lettered(rng: Random) -> Made:
    """The same with letters: words that no other lesson says, and that nothing could tell apart."""
    return choices(rng, LETTERED)


def lettered_diagram(rng: Random) -> Made:
    """Lettered options about a chart, magnets or a circuit."""
    kind = rng.randrange(3)
    if kind == 0:
        canvas, bars = scenes.bars(rng)
        word, end = rng.choice((("highest", max), ("lowest", min)))
        question, words = f"find the {word} bar .", [color for color, _ in bars]
        right = end(bars, key=lambda bar: bar[1])[0]
    elif kind == 1:
        canvas, attract = scenes.magnets(rng)
        question, words = "tell me about the magnets .", ["attract", "repel"]
        right = words[0] if attract else words[1]
    else:
        canvas, whole = scenes.circuit(rng)
        question, words = "tell me about the lamp .", ["on", "off"]
        right = words[0] if whole else words[1]

    def which(rng: Random) -> Turn:
        return _choice(rng, question, list(words), right, LETTERED)

    return _talk(rng, canvas, {which: 1.0})


LESSONS: dict[Maker, float] = {
    several: 8.0,
    two: 4.0,
    many: 2.5,
    one_big: 2.5,
    sign: 3.0,
    bar_chart: 2.5,
    poles: 2.0,
    current: 1.2,
    display: 1.5,
    sums: 2.0,
    next_shape: 0.8,
    facts: 0.8,
    choices: 2.5,
}
"""The lessons and how often each is given."""
LATE: dict[Maker, float] = {lettered: 4.0, lettered_diagram: 5.0}
"""Lessons of the last stage only, beside the others."""
