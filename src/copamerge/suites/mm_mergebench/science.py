"""ScienceQA: right letters are in problems.json, and pid_splits.json says what is counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from copamerge.suites._base import Image, Sample
from copamerge.suites.mm_mergebench.found import Record, Tally, having, read_json
from copamerge.suites.mm_mergebench.layout import Layout, Places
from copamerge.suites.mm_mergebench.rules import Right, Rules, nothing
from copamerge.suites.pictures import PictureError

LETTERS = "ABCDE"


def science(layout: Layout, places: Places, records: Sequence[Any]) -> Rules:
    """Every test problem is counted: one that no record asks is a sample that cannot be asked.

    It belongs to no category: the released code counts it, but not among those with a picture.
    """
    at, where = places.file(layout, "problems"), places.file(layout, "splits")
    problems = read_json(at, dict, "a mapping from id to problem")
    splits = read_json(where, dict, "a mapping with a list 'test'")
    if stops := [each.problem for each in (problems, splits) if each.problem]:
        return Rules(nothing, stops)
    if not isinstance(splits.content.get("test"), list):
        return Rules(nothing, [f"{where}: no list 'test'; give ScienceQA's file"])
    counted = list(dict.fromkeys(map(str, splits.content["test"])))
    chosen = set(counted)

    def right(record: Record, index: int) -> Right:
        id = str(record.get("question_id"))
        found = letter(problems.content.get(id))
        if found.stop or id in chosen:
            return found
        fact = "questions that are not in the test split of pid_splits.json"
        remedy = "they are left out, as in the released code"
        return found._replace(fault=(fact, remedy), counted=False)

    there = {str(record["question_id"]) for record in having(records, "question_id")}
    path = places.file(layout, "test")
    stops_of, missing = Tally(where, len(counted)), list[Sample]()
    faults = Tally(path, len(counted))
    for id in counted:
        if id in there:
            continue
        problem = problems.content.get(id)
        found = letter(problem)
        if found.stop:
            stops_of.add(f"test problems: {found.stop[0]}", found.stop[1], id)
            continue
        fact = "test problems of pid_splits.json that no record asks"
        faults.add(fact, "they count as wrong, as in the released code", id)
        missing.append(
            Sample(
                id=id,
                images=(NotAsked(id, str(path)),),
                question=str(problem.get("question", "")),
                references=found.references,
                choices=found.choices,
            )
        )
    return Rules(right, stops=stops_of.lines(), faults=faults.lines(), missing=missing)


def letter(problem: Any) -> Right:
    """The right letter of a problem, and how many it offers."""
    remedy = "copy problems.json again"
    if not isinstance(problem, dict):
        return Right(stop=("ids that are not in problems.json", "its keys are the ids"))
    choices, answer = problem.get("choices"), problem.get("answer")
    if not isinstance(choices, list) or not isinstance(answer, int):
        return Right(stop=("problems without 'choices' and 'answer'", remedy))
    if not 0 <= answer < min(len(choices), len(LETTERS)):
        return Right(stop=("answers beyond the choices", remedy))
    return Right((LETTERS[answer],), choices=len(choices))


@dataclass(frozen=True)
class NotAsked:
    """In the place of a picture: a question that the file lacks cannot be asked."""

    id: str
    file: str

    def __call__(self) -> Image:
        raise PictureError(
            f"{self.file}: no question {self.id!r}, though pid_splits.json counts it; add it"
        )
