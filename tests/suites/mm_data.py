"""A root of MM-MergeBench, and one of the general tasks, in the exact layout and very small."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LETTER = "Answer with the option's letter from the given choices directly."
PHRASE = "Answer the question using a single word or phrase."
SIZES = ((48, 48), (48, 32), (24, 40), (36, 36))
"""(width, height) in turn: squares, a wide one and a tall one."""
CLASSES = ("Whippet", "Hip", "Teapot", "Banjo", "Golden retriever")
SEEN = (
    "scienceqa",
    "imagenet",
    "vqav2",
    "grounding",
    "ocrvqa",
    "vizwiz",
    "flickr30k",
    "iconqa",
)
HELD_OUT = 2
"""Train records of each task that are in the validation split."""


def held_out(id: str) -> bool:
    """The suite's rule, written a second time: one id in fifty."""
    return int(hashlib.sha256(id.encode()).hexdigest()[:8], 16) % 50 == 0


def train_ids(task: str, count: int) -> list[str]:
    """Ids of which HELD_OUT are in the validation split, in the middle of the others."""
    held: list[str] = []
    others: list[str] = []
    n = 0
    while len(held) < HELD_OUT or len(others) < count - HELD_OUT:
        id = f"{task}-{n}"
        (held if held_out(id) else others).append(id)
        n += 1
    half = (count - HELD_OUT) // 2
    return [*others[:half], *held[:HELD_OUT], *others[half : count - HELD_OUT]]


@cache
def picture(number: int, form: str = "PNG") -> bytes:
    """A file of noise; one of eight, in four sizes."""
    width, height = SIZES[number % len(SIZES)]
    noise = np.random.default_rng(number % 8).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, form)
    return content.getvalue()


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_lines(path: Path, rows: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(number, {".png": "PNG", ".jpg": "JPEG"}[path.suffix]))


def write_mm_mergebench(root: Path, items: int = 4, train: int = 12) -> Path:
    """All twelve tasks with `items` questions, the eight seen ones with `train` train records.

    Two of each task's train records are in its validation split.
    """
    instructions, datasets = root / "instructions", root / "datasets"

    def image(folder: str, number: int) -> str:
        name = f"{folder}/images/{number:04}.png"
        write_picture(datasets / name, number)
        return name

    def simple(
        folder: str, file: str, texts: Sequence[str], answers: Sequence[str], **more: Any
    ) -> None:
        rows = [
            {
                "question_id": i + 1,
                "image": image(folder, i),
                "text": texts[i % len(texts)],
                "answer": answers[i % len(answers)],
            }
            for i in range(items)
        ]
        for i, row in enumerate(rows):
            row.update({key: values[i % len(values)] for key, values in more.items()})
        write_json(instructions / folder / file, rows)

    def trained(task: str, folder: str, file: str, text: str, answers: Sequence[str]) -> None:
        rows = [
            {
                "id": id,
                "image": image(folder, 100 + i),
                "conversations": [
                    {"from": "human", "value": f"<image>\n{text}"},
                    {"from": "gpt", "value": answers[i % len(answers)]},
                ],
            }
            for i, id in enumerate(train_ids(task, train))
        ]
        if task == "scienceqa":
            del rows[0]["image"]
            rows[0]["conversations"][0]["value"] = text
        write_json(instructions / folder / file, rows)

    def captions(folder: str, file: str) -> None:
        annotations = [
            {"id": 2 * i + k, "image_id": i + 1, "caption": caption}
            for i in range(items)
            for k, caption in enumerate((f"a thing with number {i}.", f"thing {i} on the ground"))
        ]
        images = [{"id": i + 1} for i in range(items)]
        write_json(instructions / folder / file, {"images": images, "annotations": annotations})

    _science(instructions, datasets, items)
    question = f"Which of these is red?\nA. the square\nB. the circle\n{LETTER}"
    trained("scienceqa", "ScienceQA", "train.json", question, ["A", "B"])

    question = "What is the object in the image?\nAnswer with a class name."
    simple("ImageNet", "test.json", [question], CLASSES)
    trained("imagenet", "ImageNet", "train.json", question, CLASSES)

    question = f"What colour is it?\n{PHRASE}"
    simple("VQAv2", "val.json", [question], ["red", "Blue"])
    trained("vqav2", "VQAv2", "train.json", question, ["red", "blue"])

    question = "Please provide the bounding box coordinate of the region: the square"
    boxes = ["[0.10, 0.20, 0.50, 0.78]", "[0.00, 0.00, 1.00, 0.40]"]
    simple(
        "Grounding", "test.json", [question], [""], answer_bbox=boxes, size=[list(x) for x in SIZES]
    )
    trained("grounding", "Grounding", "train.json", question, boxes)

    question = f"Who is the author of this book?\n{PHRASE}"
    simple("OCRVQA", "test.json", [question], ["A. Nother", "Jane Doe"])
    trained("ocrvqa", "OCRVQA", "train.json", question, ["A. Nother"])

    question = "What is happening in the image?\nAnswer in a short sentence."
    simple("VizWiz-caption", "val.json", [question], [""])
    captions("VizWiz-caption", "val_coco_type.json")
    trained("vizwiz", "VizWiz-caption", "train.json", question, ["a thing on the ground"])

    simple("flickr30k-caption", "val_brief.json", [question], [""])
    captions("flickr30k-caption", "val_coco_type.json")
    trained("flickr30k", "flickr30k-caption", "train_brief.json", question, ["two things"])

    question = f"How many dots are there?\n{PHRASE}"
    simple("IconQA", "val.json", [question], ["3", "four"])
    trained("iconqa", "IconQA", "train.json", question, ["3"])

    simple("AOKVQA", "val.json", [f"<image>\nWhat is this for?\n{PHRASE}"], ["Eating", "sport"])
    simple("ImageNet-R", "test.json", ["What is drawn?\nAnswer with a class name."], CLASSES)
    question = "What does the screen show?\nAnswer in a short phrase."
    simple("Screen2words", "test.json", [question], [""])
    captions("Screen2words", "test_coco_type.json")
    simple("TabMWP", "test.json", [f"What is the sum?\n{PHRASE}"], ["1,200", "7.5"])
    return root


def _science(instructions: Path, datasets: Path, items: int) -> None:
    """Questions of which every other one has a picture; problems that are not asked lie beside."""
    problems: dict[str, Any] = {}
    rows = []
    for i in range(items):
        id, choices = str(10 + i), ["the square", "the circle", "none"][: 2 + i % 2]
        options = "\n".join(f"{'ABC'[k]}. {choice}" for k, choice in enumerate(choices))
        row = {
            "question_id": id,
            "text": f"Which of these is red?\n{options}\n{LETTER}",
            "answer": "",
        }
        file = None
        if i % 2 == 0:
            file = "image.png"
            row["image"] = f"ScienceQA/test/{id}/{file}"
            row["text"] = "<image>\n" + row["text"]
            write_picture(datasets / row["image"], i)
        problems[id] = {
            "question": "Which of these is red?",
            "choices": choices,
            "answer": i % len(choices),
            "image": file,
            "split": "test",
        }
        rows.append(row)
    problems["3"] = {**problems["10"], "split": "train", "image": None}
    splits = {"train": ["3"], "val": [], "test": [row["question_id"] for row in rows]}
    write_json(instructions / "ScienceQA" / "test.json", rows)
    write_json(datasets / "ScienceQA" / "problems.json", problems)
    write_json(datasets / "ScienceQA" / "pid_splits.json", splits)


def write_mm_general(root: Path) -> Path:
    """POPE with 4 questions a category, MME with 4 pictures, MMBench with 3 questions."""
    _pope(root / "pope")
    _mme(root / "MME")
    _mmbench(root / "mmbench" / "mmbench_dev_20230712.tsv")
    return root


def _pope(root: Path) -> None:
    asked, number = [], 0
    for category in ("adversarial", "popular", "random"):
        labelled = []
        for i in range(4):
            name = f"COCO_val2014_{i:012}.jpg"
            write_picture(root / "val2014" / name, i)
            text = f"Is there a {('dog', 'cat')[i % 2]} in the image?"
            asked.append(
                {
                    "question_id": number,
                    "image": name,
                    "text": f"{text}\n{PHRASE}",
                    "category": category,
                }
            )
            label = ("yes", "no")[i % 2]
            labelled.append({"question_id": i + 1, "image": name, "text": text, "label": label})
            number += 1
        write_lines(root / "coco" / f"coco_pope_{category}.json", labelled)
    write_lines(root / "llava_pope_test.jsonl", asked)


def _mme(root: Path) -> None:
    release = root / "MME_Benchmark_release_version"
    asked = []
    # Two ways of lying: all in the subtask's folder, or pictures and answers apart.
    for subtask, apart, suffix in (("existence", False, "jpg"), ("artwork", True, "jpg")):
        for i in range(2):
            stem = f"{i:012}"
            folder = release / subtask
            pictures = folder / "images" if apart else folder
            answers = folder / "questions_answers_YN" if apart else folder
            write_picture(pictures / f"{stem}.{suffix}", i)
            answers.mkdir(parents=True, exist_ok=True)
            thing = ("chair", "painting")[apart]
            lines = [f"Is there a {thing} in this image?", f"Is there no {thing} in this image?"]
            (answers / f"{stem}.txt").write_text(
                "\n".join(
                    f"{line} Please answer yes or no.\t{answer}"
                    for line, answer in zip(lines, ("Yes", "No"), strict=True)
                )
            )
            for line in lines:
                asked.append(
                    {
                        "question_id": f"{subtask}/{stem}.{suffix}",
                        "image": str((pictures / f"{stem}.{suffix}").relative_to(release)),
                        "text": f"{line}\n{PHRASE}",
                        "category": subtask,
                    }
                )
    write_lines(root / "llava_mme.jsonl", asked)


COLUMNS = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image")
COLUMNS += ("source", "l2-category", "comment", "split")


def mmbench_row(index: int, options: Sequence[str], answer: str, /, **more: str) -> dict[str, str]:
    letters = dict(zip("ABCD", options, strict=False))
    return {
        "index": str(index),
        "question": f"Which one is number {index % 1_000_000}?",
        "hint": "",
        **{letter: letters.get(letter, "") for letter in "ABCD"},
        "answer": answer,
        "category": "attribute_recognition",
        "image": base64.b64encode(picture(index % 1_000_000)).decode(),
        "l2-category": "coarse_perception",
        "split": "dev",
        **more,
    }


def write_mmbench(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(COLUMNS), *("\t".join(row.get(c, "") for c in COLUMNS) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _mmbench(path: Path) -> None:
    """Two questions whose turned options lie in the file, as in the real one, and one without."""
    rows = [
        mmbench_row(241, ["red", "blue"], "A", hint="Look at the square."),
        mmbench_row(1_000_241, ["blue", "red"], "B", hint="Look at the square."),
        mmbench_row(7, ["one", "two", "three"], "C", **{"l2-category": "logic_reasoning"}),
        mmbench_row(1_000_007, ["two", "three", "one"], "B"),
        mmbench_row(2_000_007, ["three", "one", "two"], "A"),
        mmbench_row(9, ["cat", "dog"], "B"),
    ]
    write_mmbench(path, rows)
