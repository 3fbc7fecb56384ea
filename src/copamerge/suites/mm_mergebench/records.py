"""From the file of a task's questions to its test samples."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from copamerge.suites._base import Picture, Place, Sample, Split
from copamerge.suites.mm_mergebench.captions import captions
from copamerge.suites.mm_mergebench.conversations import conversations
from copamerge.suites.mm_mergebench.found import Found, Source, Tally, having, read_json
from copamerge.suites.mm_mergebench.layout import IMAGE, Kind, Layout, Places
from copamerge.suites.mm_mergebench.rules import Rules, classes, grounding, names, plain
from copamerge.suites.mm_mergebench.science import science

RULES: Mapping[Kind, Callable[[Layout, Places, Sequence[Any]], Rules]] = {
    "plain": plain,
    "names": names,
    "classes": classes,
    "grounding": grounding,
    "captions": captions,
    "science": science,
}


def source(layout: Layout, places: Places) -> Source:
    """Where a task's samples come from; the train file, behind two splits, is read once."""

    @lru_cache(maxsize=1)
    def train() -> tuple[Found, Found]:
        return conversations(layout, places)

    def read(split: Split) -> Found:
        if split == "test":
            return questions(layout, places)
        return train()[split == "validation"] if layout.seen else Found()

    def files(split: Split) -> dict[str, Path]:
        roles = [role for role in layout.files if (role == "train") == (split != "test")]
        found = {role: places.file(layout, role) for role in roles}
        # The class names are the answers' where there is no file of them.
        return {role: path for role, path in found.items() if role != "classes" or path.is_file()}

    return Source(read, files)


def questions(layout: Layout, places: Places) -> Found:
    """The questions of the test split, in the order of the file."""
    path = places.file(layout, "test")
    document = read_json(path, list, "a list of records")
    if document.problem:
        return Found(stops=(document.problem,))
    records = document.content
    rules = RULES[layout.kind](layout, places, records)
    stops, faults = Tally(path, len(records)), Tally(path, len(records))
    ids = Counter(str(record["question_id"]) for record in having(records, "question_id"))
    repeated = [f"{id} x{count}" for id, count in ids.items() if count > 1]
    notes = list(rules.notes)
    if not records:
        stops.add("records", "give the file of the data set", "it is empty")
    if repeated and layout.by_line:
        notes.append(
            f"{path}: {len(repeated)} ids are used more than once; answers are paired by line "
            "here, so no harm is done"
        )
    elif repeated:
        for each in repeated:
            stops.add("ids used more than once", "give every question its own", each)
    marked = [str(x["text"]) for x in having(records, "text") if IMAGE in str(x["text"])]
    if marked and not layout.text_only:
        notes.append(
            f"{path}: texts with {IMAGE}: {len(marked)} of {len(records)}; it is taken out, as the "
            "picture is put before the text"
        )
    found = [
        _sample(layout, places, rules, x, i, ids, stops, faults) for i, x in enumerate(records)
    ]
    return Found(
        samples=(*(sample for sample in found if sample is not None), *rules.missing),
        stops=(*rules.stops, *stops.lines()),
        faults=(*rules.faults, *faults.lines()),
        notes=tuple(notes),
    )


def _sample(
    layout: Layout,
    places: Places,
    rules: Rules,
    record: Any,
    index: int,
    ids: Mapping[str, int],
    stops: Tally,
    faults: Tally,
) -> Sample | None:
    """One question; None where it cannot be one, which `stops` or `faults` then says."""
    id = record.get("question_id") if isinstance(record, dict) else None
    if not isinstance(id, str | int) or id == "":
        stops.add("records without 'question_id'", "give each its id", f"record {index + 1}")
        return None
    name, text, image = str(id), record.get("text"), record.get("image")
    whole = True
    if not isinstance(text, str) or not text.strip():
        stops.add("records without 'text'", "give each its instruction", name)
        whole = False
    if image is None and not layout.text_only:
        stops.add("records without 'image'", "give each the path of its picture", name)
        whole = False
    elif image is not None and (not isinstance(image, str) or not image):
        stops.add("records whose 'image' is no path", "give one below the pictures' folder", name)
        whole = False
    right = rules.right(record, index)
    if right.fault:
        faults.add(*right.fault, name)
    if right.stop:
        stops.add(*right.stop, name)
    if not whole or right.stop or not right.counted:
        return None
    pictures: tuple[Picture, ...] = () if image is None else (places.images(layout) / image,)
    # The science runner puts the picture's place before the question, wherever it was; the others
    # would put a second one there, and fail.
    asked = text.replace(IMAGE, "").strip() if layout.text_only or IMAGE in text else text
    return Sample(
        id=name if ids[name] == 1 else f"{name}#{index + 1}",
        images=pictures,
        question=rules.question(asked),
        references=right.references,
        choices=right.choices,
        place=Place("image" if pictures else "text") if layout.kind == "science" else Place(),
    )
