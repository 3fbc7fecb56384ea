"""Captions of a COCO-type file, which belong to the questions by their order alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from copamerge.suites.mm_mergebench.found import Tally, few, read_json
from copamerge.suites.mm_mergebench.layout import Layout, Places
from copamerge.suites.mm_mergebench.rules import Right, Rules, nothing


def captions(layout: Layout, places: Places, records: Sequence[Any]) -> Rules:
    """The captions of question i are those of image i, counted from 1, in another file."""
    path = places.file(layout, "coco")
    document = read_json(path, dict, "a mapping with 'images' and 'annotations'")
    if document.problem:
        return Rules(nothing, [document.problem])
    said, stops = _by_image(path, document.content, len(records))
    return Rules(lambda record, index: Right(tuple(said.get(str(index + 1), ()))), stops)


def _by_image(
    path: Path, content: Mapping[str, Any], count: int
) -> tuple[dict[str, list[str]], list[str]]:
    """Image id -> its captions, and what keeps them from being those of 1 to `count`."""
    images, annotations = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        return {}, [f"{path}: no lists 'images' and 'annotations'; give the COCO-type file"]
    stops = []
    ids = [image.get("id") if isinstance(image, dict) else None for image in images]
    if len(images) != count:
        stops.append(
            f"{path}: {len(images)} images for {count} questions; the released code needs one for "
            "each, in their order: give the file that belongs to the questions"
        )
    if sorted(map(str, ids)) != sorted(map(str, range(1, len(ids) + 1))):
        wrong = sorted(set(map(str, ids)) - set(map(str, range(1, len(ids) + 1))))
        example = f", such as {wrong[0]}" if wrong else ", some of them twice"
        stops.append(
            f"{path}: image ids are not 1 to {len(ids)}{example}; answers get the ids 1 to N in "
            "the order of the questions, so number the images so"
        )
    tally = Tally(path, len(annotations))
    captions: dict[str, list[str]] = {}
    known = set(map(str, ids)) - {"None"}
    for i, annotation in enumerate(annotations):
        name = f"annotation {i + 1}"
        if not isinstance(annotation, dict) or not isinstance(annotation.get("caption"), str):
            tally.add("annotations without 'caption'", "give each its text", name)
        elif str(annotation.get("image_id")) not in known:
            tally.add("annotations of no image in 'images'", "correct their 'image_id'", name)
        elif annotation["caption"].strip():
            captions.setdefault(str(annotation["image_id"]), []).append(annotation["caption"])
    bare = [id for id in map(str, range(1, count + 1)) if id not in captions]
    if bare and not stops:
        stops.append(
            f"{path}: images without a caption: {len(bare)} of {count} ({few(bare)}); give each at "
            "least one that is not empty"
        )
    return captions, [*stops, *tally.lines()]
