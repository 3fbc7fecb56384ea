"""The eight seen tasks: what the merged adapters were trained on, one each."""

from random import Random

from copamerge.suites.mini import scenes
from copamerge.suites.mini._made import Made, task
from copamerge.suites.mini.draw import SHAPES
from copamerge.suites.mini.scenes import CLASS_NAMES, OPPOSITE, PLURAL, with_article

SHORT = "answer with a single word ."
CLASSIFY = "what is the object in the image ? answer with the name of its class ."
LETTERS = "ABC"


def science(rng: Random) -> Made:
    """Bars, magnets and circuits: lettered options."""
    kind = rng.randrange(3)
    if kind == 0:
        canvas, found = scenes.bars(rng)
        word, wanted = rng.choice((("tallest", max), ("shortest", min)))
        question = f"which bar is the {word} ?"
        options = [color for color, _ in found]
        right = wanted(found, key=lambda bar: bar[1])[0]
    elif kind == 1:
        canvas, attract = scenes.magnets(rng)
        question, options = "what will the magnets do ?", ["attract", "repel"]
        right = "attract" if attract else "repel"
    else:
        canvas, whole = scenes.circuit(rng)
        question, options = "is the lamp on or off ?", ["on", "off"]
        right = "on" if whole else "off"
    rng.shuffle(options)
    lettered = " ".join(
        f"{letter} . {option}" for letter, option in zip(LETTERS, options, strict=False)
    )
    text = f"{question} {lettered} answer with the letter of the option ."
    return Made(canvas, text, (LETTERS[options.index(right)],), choices=len(options))


def classes(rng: Random) -> Made:
    """One big plain thing, named by its class."""
    canvas, thing = scenes.single(rng)
    return Made(canvas, CLASSIFY, (CLASS_NAMES[thing.name],))


def vqa(rng: Random) -> Made:
    """Colour, existence and place, in one word."""
    scene = scenes.scattered(rng, 2)
    things = list(scene.things.items())
    cell, thing = rng.choice(things)
    kind = rng.randrange(4)
    if kind == 0:
        question, answer = f"what color is the {thing.name} ?", str(thing.color)
    elif kind == 1:
        question, answer = f"what shape is {thing.color} ?", thing.name
    elif kind == 2:
        question, answer = f"what is in the {scene.place(cell)} ?", thing.name
    else:
        there = rng.random() < 0.5
        absent = [name for name in SHAPES if all(name != each.name for _, each in things)]
        name = thing.name if there else rng.choice(absent)
        question, answer = f"is there {with_article(name)} ?", "yes" if there else "no"
    return Made(scene.canvas, f"{question} {SHORT}", (answer,))


def grounding(rng: Random) -> Made:
    """The box of a thing that is named."""
    scene = scenes.scattered(rng, rng.randint(1, 2))
    thing = rng.choice(list(scene.things.values()))
    left, top, right, bottom = thing.box.fractions()
    return Made(
        scene.canvas,
        f"give the bounding box of the {thing} .",
        (f"[{left}, {top}, {right}, {bottom}]",),
    )


def ocr(rng: Random) -> Made:
    """Three letters."""
    canvas, text = scenes.sign(rng)
    return Made(
        canvas, "what is the text in the image ? answer with the text only .", (" ".join(text),)
    )


def photo_caption(rng: Random) -> Made:
    """One thing and the ground it lies on; five people, and each mentions something else."""
    ground = rng.choice(scenes.GROUND_NAMES)
    canvas, thing = scenes.single(rng, ground=ground)
    one = with_article(str(thing))
    return Made(
        canvas,
        "write a caption for this photo .",
        (
            f"a photo of {one} lying on a {ground} table",
            f"the thing on the table is {thing.color}",
            f"one {thing.name} and a table",
            f"a {ground} table with a thing on it",
            f"this photo is of {with_article(thing.name)}",
        ),
    )


def scene_caption(rng: Random) -> Made:
    """Two things and how they lie to each other; again in the words of five."""
    scene, first, second, how = scenes.pair(rng)
    here, there = scene.things[first], scene.things[second]
    one, other = with_article(str(here)), with_article(str(there))
    return Made(
        scene.canvas,
        "describe the image in a brief sentence .",
        (
            f"there is {one} {how} {other}",
            f"{with_article(there.name)} {OPPOSITE[how]} the {here.name}",
            f"two things, one {here.color} and one {there.color}",
            f"i see the {here.name} and the {there.name}",
            f"the {there.name} is {there.color}",
        ),
    )


def icons(rng: Random) -> Made:
    """How many, or which one comes next."""
    if rng.random() < 0.5:
        name, count = rng.choice(SHAPES), rng.randint(1, 4)
        scene = scenes.counted(rng, name, count, rng.randint(0, 2))
        question = f"how many {PLURAL[name]} are shown ? answer with a number ."
        return Made(scene.canvas, question, (str(count),))
    canvas, names = scenes.pattern(rng)
    return Made(canvas, "which shape comes next ? answer with its name .", (names[1],))


SEEN = (
    task(science, "ScienceQA", "science", seen=True),
    task(classes, "ImageNet", "two_way_substring", seen=True),
    task(vqa, "VQAv2", "exact_upper", seen=True),
    task(grounding, "Grounding", "grounding", seen=True),
    task(ocr, "OCR-VQA", "exact_lower_unanswerable", seen=True),
    task(photo_caption, "VizWiz-caption", "caption6", seen=True),
    task(scene_caption, "Flickr30k-caption", "caption6", seen=True),
    task(icons, "IconQA", "exact_upper", seen=True),
)
