"""Asking all models at once, and scoring what they said."""

import shutil
from collections.abc import Sequence
from typing import Any

from copamerge.bench.executors import Done, Job, answer_all, samples_of
from copamerge.bench.metrics import MODES, Mode
from copamerge.bench.score import Score, means, row, save_scores, score
from copamerge.bench.setting import Model, Setting
from copamerge.bench.units import Unit
from copamerge.errors import first_few
from copamerge.suites import Task

UNDEFINED = "no adapter of its own was trained on this task"
"""Why `individual` has no points on unseen tasks."""
Jobs = dict[tuple[str, str], list[Job]]
"""(model, task) -> its units."""


def answered(setting: Setting, models: Sequence[Model]) -> tuple[Done, Jobs]:
    """What all models said to all tasks they are asked, and which units that is."""
    jobs: Jobs = {}
    for model in models:
        if model.failed:
            continue
        for task in model.asked:
            if task.name in model.adapters:
                jobs[model.spec.name, task.name] = setting.jobs(
                    task, model.adapters[task.name], split=setting.split, items=setting.items
                )
    done = answer_all(
        [job for each in jobs.values() for job in each],
        setting.executor,
        setting.answers,
        lambda n, total: setting.tell("answering", n, total),
    )
    done.notes += _mixed(done)
    return done, jobs


def _mixed(done: Done) -> list[str]:
    """A note where answers come from unlike machines: low bits differ, and so a few answers."""
    known = {"device": "", "dtype": "", "batch": "batch "}
    kinds = {
        " ".join(word + said.versions[key] for key, word in known.items() if key in said.versions)
        for said in done.answers.values()
    }
    if len(kinds) < 2:
        return []
    return [f"answers of {' and '.join(sorted(kinds))} are mixed; a few may differ for that alone"]


def scored(setting: Setting, models: Sequence[Model], jobs: Jobs, done: Done) -> dict[str, Any]:
    """The content of results.json; scores per item go into the run's folder.

    Warnings, reasons of failure and times are added to the models' records.
    """
    rows: list[dict[str, Any]] = []
    averages: list[dict[str, Any]] = []
    shutil.rmtree(setting.out / "scores", ignore_errors=True)
    for i, model in enumerate(models):
        name = model.spec.name
        mine: list[dict[str, Any]] = []
        seconds = 0.0
        warnings = list(model.record["warnings"])
        for task in model.asked:
            pieces = jobs.get((name, task.name), [])
            result = score_of(task, pieces, done)
            if result:
                save_scores(setting.out / "scores" / name, task.name, result)
            for piece in pieces:
                if piece.unit.key in done.answers:
                    seconds += done.answers[piece.unit.key].seconds
                    warnings += done.answers[piece.unit.key].warnings
                else:
                    model.failed = model.failed or why(done, piece.unit)
            reason = None if result else " ".join(model.failed) or UNDEFINED
            mine += [row(name, task, mode, setting.items, result, reason) for mode in MODES]
        rows += mine
        if setting.suite.averaged:
            averages += means(name, mine)
        model.record["warnings"] = list(dict.fromkeys(warnings))
        model.record["failed"] = "\n".join(model.failed) or None
        if not model.failed:
            model.record["answer_seconds"] = round(seconds, 4)
        setting.tell("scoring", i + 1, len(models))
    return {"rows": rows, "means": averages}


def unasked(done: Done) -> list[str]:
    """A note for each sample that could not be asked, the first few by name, and their number."""
    everywhere = [pair for said in done.answers.values() for pair in said.errors.items()]
    found = [f"{id}: {reason}" for id, reason in dict.fromkeys(everywhere)]
    if not found:
        return []
    are = "sample could not be asked and counts" if len(found) == 1 else None
    total = f"{len(found)} {are or 'samples could not be asked and count'} as wrong"
    return [*first_few(found, "samples", "more that could not be asked"), total]


def score_of(task: Task, pieces: Sequence[Job], done: Done) -> dict[Mode, Score] | None:
    """The score of a task whose units are all answered."""
    if not pieces or any(piece.unit.key not in done.answers for piece in pieces):
        return None
    found = [done.answers[piece.unit.key] for piece in pieces]
    return score(
        task,
        [sample for piece in pieces for sample in samples_of(piece)],
        [id for answers in found for id in answers.ids],
        [text for answers in found for text in answers.texts],
    )


def why(done: Done, unit: Unit) -> list[str]:
    return list(done.failures.get(unit.adapter_digest, ["its samples were not answered"]))
