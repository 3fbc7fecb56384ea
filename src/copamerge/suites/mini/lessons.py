"""What the base model is taught: the skills behind the tasks, in other words than the tasks use.

The sentences of these lessons never have the form of a seen task's answer, and no question has the
words of a seen task's question. What else the base sees of the tasks' forms is decided in training
(`training.mini`), as a share of its samples.
"""

from random import Random

from copamerge.suites.mini import scenes
from copamerge.suites.mini._made import Made, Maker
from copamerge.suites.mini.draw import LETTERS, SHAPES
from copamerge.suites.mini.scenes import (
    CLASS_NAMES,
    NUMBER_WORDS,
    PLURAL,
    SIDES,
    USES,
    listed,
    with_article,
)

ALL_STYLES = ("plain", "striped", "hollow", "dotted")
TERSE = "say it in short ."


def _said(rng: Random, question: str, long: str, short: str) -> tuple[str, str]:
    """A question with its answer in a sentence or, when asked so, in short."""
    return (f"{question} {TERSE}", short) if rng.random() < 0.35 else (question, long)


def at_place(rng: Random) -> Made:
    scene = scenes.scattered(rng, rng.randint(1, 4), styles=ALL_STYLES)
    cells = [(row, column) for row in range(3) for column in range(3)]
    cell = rng.choice(list(scene.things) if rng.random() < 0.85 else cells)
    question = f"look at the {scene.place(cell)} , what do you find ?"
    if cell not in scene.things:
        return Made(scene.canvas, question, ("i find nothing there .",))
    thing = scene.things[cell]
    question, answer = _said(
        rng, question, f"i find {with_article(str(thing))} there .", thing.name
    )
    return Made(scene.canvas, question, (answer,))


def color_of(rng: Random) -> Made:
    scene = scenes.scattered(rng, rng.randint(1, 4), styles=ALL_STYLES)
    thing = rng.choice(list(scene.things.values()))
    if rng.random() < 0.5:
        question, answer = _said(
            rng,
            f"tell me the color of the {thing.name} .",
            f"the {thing.name} is {thing.color} .",
            str(thing.color),
        )
    else:
        question, answer = _said(
            rng,
            f"tell me which shape is painted {thing.color} .",
            f"the {thing.name} is {thing.color} .",
            thing.name,
        )
    return Made(scene.canvas, question, (answer,))


def find(rng: Random) -> Made:
    scene = scenes.scattered(rng, rng.randint(1, 3), styles=ALL_STYLES)
    thing = rng.choice(list(scene.things.values()))
    left, top, right, bottom = thing.box.fractions()
    return Made(
        scene.canvas,
        f"point to the {thing} .",
        (f"it goes from {left} {top} to {right} {bottom} .",),
    )


def spell(rng: Random) -> Made:
    canvas, text = scenes.sign(rng)
    if rng.random() < 0.3:
        place = rng.randrange(3)
        order = ("first", "second", "third")[place]
        return Made(
            canvas,
            f"read the {order} letter of the sign .",
            (f"the {order} letter is {text[place]} .",),
        )
    return Made(canvas, "read the sign aloud .", (f"the sign says {' '.join(text)} .",))


def count(rng: Random) -> Made:
    name, number = rng.choice(SHAPES), rng.randint(0, 4)
    scene = scenes.counted(rng, name, number, rng.randint(0 if number else 1, 2))
    noun = name if number == 1 else PLURAL[name]
    question, answer = _said(
        rng, f"count the {PLURAL[name]} .", f"i count {NUMBER_WORDS[number]} {noun} .", str(number)
    )
    return Made(scene.canvas, question, (answer,))


def exists(rng: Random) -> Made:
    scene = scenes.scattered(rng, rng.randint(1, 4), styles=ALL_STYLES)
    there = rng.random() < 0.5
    present = [thing.name for thing in scene.things.values()]
    name = rng.choice(present if there else [each for each in SHAPES if each not in present])
    long = f"i can see {with_article(name)} ." if there else f"i can not see {with_article(name)} ."
    question, answer = _said(
        rng, f"can you see {with_article(name)} ?", long, "yes" if there else "no"
    )
    return Made(scene.canvas, question, (answer,))


def inventory(rng: Random) -> Made:
    scene = scenes.scattered(rng, rng.randint(1, 3), styles=ALL_STYLES)
    ordered = [with_article(str(thing)) for _, thing in sorted(scene.things.items())]
    return Made(scene.canvas, "list all things you see .", (f"i see {listed(ordered)} .",))


def where(rng: Random) -> Made:
    scene, first, second, how = scenes.pair(rng)
    one, other = scene.things[first], scene.things[second]
    return Made(
        scene.canvas,
        f"tell me where the {one.name} is .",
        (f"the {one} is {how} the {other} .",),
    )


def big_thing(rng: Random) -> Made:
    ground = rng.choice(scenes.GROUND_NAMES)
    canvas, thing = scenes.single(
        rng, style=rng.choice(ALL_STYLES), ground=ground, noise=rng.choice((6, 40))
    )
    kind = rng.randrange(5)
    if kind == 0:
        return Made(canvas, "tell me what this is .", (f"this is {with_article(str(thing))} .",))
    if kind == 1:
        return Made(canvas, "tell me about the table .", (f"the table is {ground} .",))
    if kind == 2:
        other = CLASS_NAMES[thing.name]
        return Made(
            canvas,
            "tell me how else this is called .",
            (f"it is also called {with_article(other)} .",),
        )
    if kind == 3 or thing.name not in SIDES:
        question, answer = _said(
            rng,
            "tell me what one does with this .",
            f"one uses it for {USES[thing.name]} .",
            USES[thing.name],
        )
        return Made(canvas, question, (answer,))
    question, answer = _said(
        rng, "count the sides of this .", f"it has {SIDES[thing.name]} sides .", SIDES[thing.name]
    )
    return Made(canvas, question, (answer,))


def bar_chart(rng: Random) -> Made:
    canvas, found = scenes.bars(rng)
    ordered = sorted(found, key=lambda bar: bar[1])
    word, (color, _) = rng.choice((("highest", ordered[-1]), ("lowest", ordered[0])))
    other = {"highest": "tallest", "lowest": "shortest"}[word]
    question, answer = _said(
        rng, f"find the {word} bar .", f"the {color} bar is the {other} .", color
    )
    return Made(canvas, question, (answer,))


def poles(rng: Random) -> Made:
    canvas, attract = scenes.magnets(rng)
    word = "attract" if attract else "repel"
    question, answer = _said(rng, "tell me about the magnets .", f"they {word} each other .", word)
    return Made(canvas, question, (answer,))


def current(rng: Random) -> Made:
    canvas, whole = scenes.circuit(rng)
    word = "on" if whole else "off"
    question, answer = _said(rng, "tell me about the lamp .", f"the lamp is {word} .", word)
    return Made(canvas, question, (answer,))


def screen_parts(rng: Random) -> Made:
    canvas, parts = scenes.screen(rng)
    words = scenes.screen_words(parts)
    return Made(canvas, "tell me what is on the display .", (f"the display has {words} .",))


def sums(rng: Random) -> Made:
    """With a table, or in words only."""
    if rng.random() < 0.4:
        a, b = rng.randint(0, 9), rng.randint(0, 9)
        return Made(None, f"add {a} and {b} .", (f"{a} plus {b} makes {a + b} .",))
    canvas, numbers = scenes.table(rng)
    place = rng.randrange(2)
    across = rng.random() < 0.5
    line, (a, b) = (
        (f"row {place + 1}", numbers[place])
        if across
        else (f"column {place + 1}", [row[place] for row in numbers])
    )
    if rng.random() < 0.4:
        return Made(canvas, f"read {line} .", (f"it holds {a} and {b} .",))
    question, answer = _said(rng, f"add up {line} .", f"{a} plus {b} makes {a + b} .", str(a + b))
    return Made(canvas, question, (answer,))


def choose(rng: Random) -> Made:
    """Numbered options about a bar chart, a colour or a letter."""
    kind = rng.randrange(3)
    if kind == 0:
        canvas, found = scenes.bars(rng)
        ordered = sorted(found, key=lambda bar: bar[1])
        word, (right, _) = rng.choice((("highest", ordered[-1]), ("lowest", ordered[0])))
        question, options = f"find the {word} bar .", [color for color, _ in found]
    elif kind == 1:
        scene = scenes.scattered(rng, 3)
        canvas = scene.canvas
        thing = rng.choice(list(scene.things.values()))
        question, right = f"tell me the color of the {thing.name} .", str(thing.color)
        options = [str(each.color) for each in scene.things.values()]
    else:
        canvas, closed = rng.choice((scenes.magnets, scenes.circuit))(rng)
        magnetic = "wire" not in {thing.name for thing in canvas.things}
        options = ["attract", "repel"] if magnetic else ["on", "off"]
        question = f"tell me about the {'magnets' if magnetic else 'lamp'} ."
        right = options[0] if closed else options[1]
    rng.shuffle(options)
    numbered = " ".join(f"( {n} ) {option}" for n, option in enumerate(options, 1))
    return Made(
        canvas, f"{question} choose {numbered}", (f"option {options.index(right) + 1} , {right} .",)
    )


def next_shape(rng: Random) -> Made:
    canvas, names = scenes.pattern(rng)
    return Made(
        canvas, "continue the row .", (f"{names[0]} , {names[1]} , {names[0]} , {names[1]} .",)
    )


def facts(rng: Random) -> Made:
    """Without a picture: other names, uses, sides, letters."""
    name = rng.choice(SHAPES)
    kind = rng.randrange(4)
    if kind == 0:
        return Made(
            None,
            f"how else is {with_article(name)} called ?",
            (f"it is also called {with_article(CLASS_NAMES[name])} .",),
        )
    if kind == 1:
        return Made(
            None,
            f"what does one do with {with_article(name)} ?",
            (f"one uses it for {USES[name]} .",),
        )
    if kind == 2 and name in SIDES:
        return Made(
            None, f"count the sides of {with_article(name)} .", (f"it has {SIDES[name]} sides .",)
        )
    text = " ".join(rng.choices(LETTERS, k=3))
    return Made(None, f"repeat {text} .", (f"{text} .",))


LESSONS: dict[Maker, float] = {
    at_place: 1.5,
    color_of: 1.5,
    find: 3.0,
    spell: 2.0,
    count: 2.0,
    exists: 1.0,
    inventory: 1.5,
    where: 2.0,
    big_thing: 2.5,
    bar_chart: 1.0,
    poles: 0.7,
    current: 0.7,
    screen_parts: 1.0,
    sums: 2.0,
    choose: 2.5,
    next_shape: 0.8,
    facts: 0.5,
}
"""The lessons and how often each is given."""
