"""The four unseen tasks: no adapter is trained on them, every merge is asked them."""

from random import Random

from copamerge.suites.mini import scenes
from copamerge.suites.mini._made import Made, task
from copamerge.suites.mini.scenes import CLASS_NAMES, NUMBER_WORDS, SIDES, USES, with_article
from copamerge.suites.mini.seen import CLASSIFY, SHORT

NOISE = 40
"""Grain of the ground under shifted classes."""
FADED = 0.5
"""How much of a shifted thing's colour is left beside the ground's; the base saw all of it."""


def knowledge(rng: Random) -> Made:
    """What a thing is good for, or how many sides it has: the picture names it, a fact answers."""
    canvas, thing = scenes.single(rng)
    if thing.name in SIDES and rng.random() < 0.5:
        return Made(canvas, f"how many sides has this thing ? {SHORT}", (SIDES[thing.name],))
    return Made(canvas, f"what is this thing good for ? {SHORT}", (USES[thing.name],))


def shifted_classes(rng: Random) -> Made:
    """The classes of `classes`, drawn in other styles, faded, on a noisy ground."""
    style = rng.choice(("striped", "hollow", "dotted"))
    canvas, thing = scenes.single(rng, style=style, noise=NOISE)
    canvas.fade(FADED)
    return Made(canvas, CLASSIFY, (CLASS_NAMES[thing.name],))


def screens(rng: Random) -> Made:
    """A user interface in one phrase."""
    canvas, parts = scenes.screen(rng, least=3)
    words = scenes.screen_words(parts)
    return Made(
        canvas,
        "summarize the screen in a brief phrase .",
        (
            words,
            f"a page showing {with_article(parts[0])} at the top",
            f"the display has {NUMBER_WORDS[len(parts)]} things",
            f"{scenes.screen_words(parts[1:])} below {with_article(parts[0])}",
            f"{with_article(parts[-1])} at the bottom of the page",
        ),
    )


def tables(rng: Random) -> Made:
    """Sums over a row or column of a table."""
    canvas, numbers = scenes.table(rng)
    place = rng.randrange(2)
    if rng.random() < 0.5:
        line, (a, b) = f"row {place + 1}", numbers[place]
    else:
        line, (a, b) = f"column {place + 1}", [row[place] for row in numbers]
    return Made(canvas, f"what is the sum of {line} ? answer with a number .", (str(a + b),))


UNSEEN = (
    task(knowledge, "A-OKVQA", "exact_upper", seen=False),
    task(shifted_classes, "ImageNet-R", "two_way_substring", seen=False),
    task(screens, "Screen2Words", "caption6", seen=False),
    task(tables, "TabMWP", "exact_upper", seen=False),
)
