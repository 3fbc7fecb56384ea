"""Train records: conversations, of which one id in fifty is kept from training."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from copamerge.suites._base import Picture, Place, Sample
from copamerge.suites.mm_mergebench.found import Found, Record, Tally, few, having, read_json
from copamerge.suites.mm_mergebench.layout import IMAGE, Layout, Places
from copamerge.suites.mm_mergebench.rules import box_problem

ONE_IN = 50
MOST = 500
"""Samples of the validation split: of the ids kept from training, those with the lowest hash."""
_LETTER = re.compile(r"(?:The answer is )?([A-E])\.?", re.IGNORECASE)


def is_validation(id: str) -> bool:
    """Whether records of this id are kept from training: 2 % of all ids, by a hash."""
    return _hash(id) % ONE_IN == 0


def _hash(id: str) -> int:
    return int(hashlib.sha256(id.encode()).hexdigest()[:8], 16)


def conversations(layout: Layout, places: Places) -> tuple[Found, Found]:
    """What is trained on, in the order of the file; and the validation split, in that of the hash.

    The question is the human's first turn without the picture's mark, the reference what the
    model is to say to it. A science answer of the validation split is cut to its letter.
    """
    path = places.file(layout, "train")
    document = read_json(path, list, "a list of conversations")
    if document.problem:
        broken = Found(stops=(document.problem,))
        return broken, broken
    records = document.content
    stops, unjudged, faults = (Tally(path, len(records)) for _ in range(3))
    ids = Counter(str(record["id"]) for record in having(records, "id"))
    train: list[Sample] = []
    held: list[tuple[int, Sample]] = []
    for i, record in enumerate(records):
        sample = _sample(layout, places, record, i, ids, stops, faults)
        if sample is None:
            continue
        id = str(record["id"])
        if not is_validation(id):
            train.append(sample)
        elif (judged := _judged(layout, sample, unjudged)) is not None:
            held.append((_hash(id), judged))
    held.sort(key=lambda pair: pair[0])
    validation = [sample for _, sample in held[:MOST]]
    wrong = Found(stops=tuple(stops.lines()), faults=tuple(faults.lines()))
    notes = tuple(_notes(path, records, len(held)))
    return (
        replace(wrong, samples=tuple(train), notes=notes),
        replace(wrong, samples=tuple(validation), stops=(*wrong.stops, *unjudged.lines())),
    )


def _notes(path: Path, records: Sequence[Any], held: int) -> list[str]:
    found = []
    longer = [str(x["id"]) for x in having(records, "id") if len(_turns(x)) > 2]
    if longer:
        found.append(
            f"{path}: conversations that go on after their first answer: {len(longer)} of "
            f"{len(records)} ({few(longer)}); all turns are trained on, and the first is asked"
        )
    if held > MOST:
        found.append(
            f"{path}: {held} records are kept from training, and {MOST} of them are the "
            "validation split"
        )
    return found


def _turns(record: Record) -> Sequence[Any]:
    turns = record.get("conversations")
    return turns if isinstance(turns, list) else ()


def _answers(record: Record) -> list[Any]:
    turns = [turn for turn in _turns(record) if isinstance(turn, dict)]
    return [turn.get("value") for turn in turns if turn.get("from") == "gpt"]


def _sample(
    layout: Layout,
    places: Places,
    record: Any,
    index: int,
    ids: Mapping[str, int],
    stops: Tally,
    faults: Tally,
) -> Sample | None:
    """One conversation; None where it cannot be trained on, which `stops` then says."""
    id = record.get("id") if isinstance(record, dict) else None
    if not isinstance(id, str | int) or id == "":
        stops.add("records without 'id'", "give each its id", f"record {index + 1}")
        return None
    name, image = str(id), record.get("image")
    if image is not None and (not isinstance(image, str) or not image):
        stops.add("records whose 'image' is no path", "give one below the pictures' folder", name)
        return None
    said = []
    for turn, speaker in zip(_turns(record)[:2], ("human", "gpt"), strict=False):
        value = turn.get("value") if isinstance(turn, dict) else None
        if isinstance(value, str) and turn.get("from") == speaker:
            said.append(value)
    if len(said) < 2:
        remedy = "begin with {from: human, value: ...}, {from: gpt, value: ...}"
        stops.add("records without a question and its answer", remedy, name)
        return None
    if IMAGE in said[0] and image is None:
        stops.add(f"questions with {IMAGE}, but without a picture", "give the picture", name)
        return None
    if any(IMAGE in str(turn) for turn in _answers(record)):
        stops.add(f"answers with {IMAGE}", "a model writes no picture: take it out", name)
        return None
    if not said[1].strip():
        faults.add("answers that are empty", "a model would learn to say nothing", name)
    pictures: tuple[Picture, ...] = () if image is None else (places.images(layout) / image,)
    return Sample(
        id=name if ids[name] == 1 else f"{name}#{index + 1}",
        images=pictures,
        question=said[0].replace(IMAGE, "").strip(),
        references=(said[1],),
        place=Place("image" if pictures else "text") if layout.kind == "science" else Place(),
        further=_further(record, name, faults),
    )


def _further(record: Record, name: str, faults: Tally) -> tuple[tuple[str, str], ...]:
    """The turns after the first answer, up to one that is no question or no answer."""
    later = _turns(record)[2:]
    found = []
    for pair in zip(later[::2], later[1::2], strict=False):
        said = [
            turn["value"]
            for turn, speaker in zip(pair, ("human", "gpt"), strict=True)
            if isinstance(turn, dict)
            and turn.get("from") == speaker
            and isinstance(turn.get("value"), str)
            and turn["value"].strip()
        ]
        if len(said) < 2:
            break
        found.append((said[0].replace(IMAGE, "").strip(), said[1]))
    if 2 * len(found) < len(later):
        remedy = "let {from: human, value: ...} and {from: gpt, value: ...} take turns"
        faults.add("conversations with later turns that are no question and answer", remedy, name)
    return tuple(found)


def _judged(layout: Layout, sample: Sample, stops: Tally) -> Sample | None:
    """A sample whose reference its metric can use; None, and why, where there is none."""
    (answer,) = sample.references
    if layout.kind == "grounding" and (problem := box_problem(answer)):
        stops.add(f"validation split: {problem[0]}", problem[1], sample.id)
        return None
    if layout.kind == "science":
        found = _LETTER.fullmatch(answer.strip())
        if not found:
            fact = "validation split: answers that are no letter"
            stops.add(fact, "write A, or 'The answer is A.'", sample.id)
            return None
        return replace(sample, references=(found[1].upper(),))
    return sample
