"""The scale rule `search`: for every model the same small search on the validation split."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from copamerge.bench.asking import score_of, why
from copamerge.bench.executors import Job, answer_all
from copamerge.bench.making import made_scaled
from copamerge.bench.preparing import settle
from copamerge.bench.setting import Model, Setting
from copamerge.bench.specs import GRID


def search(setting: Setting, models: Sequence[Model]) -> list[str]:
    """For each model the multiple of its delta that is best on validation: one grid for all.

    By the official mean over the seen tasks of the run; of equal points the one nearest to 1.
    """
    open_ = [model for model in models if not model.failed and model.made is not None]
    if not open_:
        return []
    tasks = [task for task in setting.tasks if task.seen]
    if not tasks:
        for model in open_:
            model.failed = ["scale rule search: no seen task is asked; name one by --tasks"]
        return []
    jobs: dict[tuple[str, float, str], list[Job]] = {}
    folders: dict[tuple[str, float], Path] = {}
    for model in open_:
        assert model.made is not None
        for multiple in GRID:
            where = model.made.path
            of = f"{where.name}.x{multiple * model.spec.multiple:g}"
            scaled = made_scaled(
                model.made, "search", multiple * model.spec.multiple, [], where.with_name(of)
            )
            folders[model.spec.name, multiple] = scaled.path
            for task in tasks:
                jobs[model.spec.name, multiple, task.name] = setting.jobs(
                    task, scaled.path, split="validation", items=setting.items_validation
                )
    done = answer_all(
        [job for each in jobs.values() for job in each],
        setting.executor,
        setting.answers,
        lambda n, total: setting.tell("searching the scale", n, total),
    )
    for model in open_:
        grid: list[dict[str, Any]] = []
        for multiple in GRID:
            scored = [
                score_of(task, jobs[model.spec.name, multiple, task.name], done) for task in tasks
            ]
            points = [x["official"].points for x in scored if x]
            whole = len(points) == len(tasks)
            grid.append({"multiple": multiple, "points": float(np.mean(points)) if whole else None})
        usable = [point for point in grid if point["points"] is not None]
        if not usable:
            model.failed = why(done, next(iter(jobs[model.spec.name, 1.0, tasks[0].name])).unit)
            continue
        best = max(usable, key=lambda x: (x["points"], -abs(np.log(x["multiple"]))))
        model.record["search"] = {
            "grid": grid,
            "chosen": best["multiple"],
            "split": "validation",
            "items": setting.items_validation,
            "mode": "official",
            "tasks": [task.name for task in tasks],
        }
        assert model.made is not None
        chosen = made_scaled(
            model.made,
            "search",
            best["multiple"] * model.spec.multiple,
            [],
            setting.out / "merged" / model.spec.name,
        )
        model.record["multiple"] = best["multiple"] * model.spec.multiple
        model.record["merge_seconds"] = chosen.seconds
        settle(setting, model, chosen.path)
    return done.notes
