"""A search over any method's options and weights, by points on validation samples.

    study.db        the study, as Optuna keeps it; the same command goes on from it
    tune.json       what was asked, the best trial, versions and seconds
    trials.csv      one line per trial
    recipe.yaml     the best recipe: `copamerge merge -c` repeats its merge
    adapter/        what it makes

Each trial draws from a sampler that is seeded by the study's seed and the trial's number and has
seen the trials before: a study that was killed and went on has the trials of one that was not.
"""

import csv
import io
import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import Field

from copamerge.bench.loading import imported
from copamerge.bench.score import score
from copamerge.errors import CopamergeError, OutputError
from copamerge.learn.job import Job, LearnOptions, Tell, prepare, versions
from copamerge.learn.questions import Questions
from copamerge.learn.space import WEIGHTS, space_from
from copamerge.learn.study import (
    STUDY,
    Trial,
    distributions_of,
    params_of,
    seen,
    still,
    study_in,
    trial_of,
)
from copamerge.merging import merge_to_folder, plan, resolve_device
from copamerge.recipe import Recipe, recipe_from
from copamerge.suites import Task

RECORD, TRIALS, RECIPE, ADAPTER = "tune.json", "trials.csv", "recipe.yaml", "adapter"


class Tune(LearnOptions):
    """Options of a search."""

    trials: int = Field(default=30, ge=1)
    """In all: a study that goes on makes those that are missing."""

    sampler: Literal["tpe", "random"] = "tpe"
    """Optuna's tree-structured Parzen estimator, or independent draws."""

    seed: int = Field(default=0, ge=0)
    """Of the sampler."""

    batch: int = Field(default=100, ge=1)
    """Samples answered at once; changes no answer."""


# --- the search --------------------------------------------------------------------------------


class Tuned(NamedTuple):
    """A finished search as it lies on disk."""

    path: Path
    best: Trial
    trials: tuple[Trial, ...]
    made: int
    """Trials of this run; the others were found."""


def tune(
    adapters: Sequence[str],
    out: Path,
    base: Path,
    questions: Sequence[Questions],
    method: str,
    search: Sequence[str],
    options: Tune | None = None,
    *,
    fixed: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
    tell: Tell = lambda *_: None,
) -> Tuned:
    """Search, and leave everything in `out`; a killed search goes on there.

    Trial 0 is the method's defaults, where they lie in the space. Of equal points the first trial
    is best. A recipe that was tried is not tried again: its points are taken over.

    Raises:
        RecipeError: unknown options or a malformed space.
        OutputError: `out` holds something else, or a study of something else.
        CopamergeError: what does not open, load or fit; no trial that could be merged.
    """
    started = time.perf_counter()
    options, fixed, more = options or Tune(), dict(fixed or {}), dict(more or {})
    optuna = _optuna()
    space = space_from(search, method, fixed)
    check_run(out)
    job = prepare(
        adapters,
        base,
        questions,
        method={"name": method, **fixed},
        answers=True,
        out=out,
        more=more,
    )
    asked = {
        **job.record,
        "method": method,
        "fixed": {key: str(value) for key, value in fixed.items()},
        "search": {key: text for key, _, text in (pair.partition("=") for pair in search)},
        "recipe": more,
        "metrics": [one.metric for one in questions],
        "sampler": options.sampler,
        "seed": options.seed,
    }
    for one in job.questions:
        # References that the metric cannot read are told before anything is merged.
        _scored(one, [""] * len(one.samples))
    with still(optuna), study_in(optuna, out, asked) as study:
        usual = job.plan.recipe.method.model_dump(mode="json")
        distributions = distributions_of(optuna, space, len(job.plan.adapters))
        made = 0
        for number in range(len(study.trials), options.trials):
            done = [trial_of(one) for one in study.trials]
            params = params_of(
                optuna, study, distributions, number, options.sampler, options.seed, usual, space
            )
            trial = seen(number, params, done) or _tried(
                job, number, params, method, fixed, options
            )
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState["FAIL" if trial.points is None else "COMPLETE"],
                    value=trial.points,
                    params=params,
                    distributions=distributions,
                    user_attrs={
                        "tasks": dict(trial.tasks),
                        "seconds": trial.seconds,
                        "reason": trial.reason,
                    },
                )
            )
            made += 1
            best = max((x.points for x in [*done, trial] if x.points is not None), default=None)
            shown = "" if best is None else f" (best {best:.2f})"
            tell(f"trying recipes{shown}", number + 1, options.trials)
        trials = tuple(trial_of(one) for one in study.trials)
    best_trial = _best(trials)
    _write(job, out, asked, best_trial, trials, method, fixed, started)
    return Tuned(out, best_trial, trials, made)


def check_run(out: Path) -> None:
    """
    Raises:
        OutputError: `out` is taken by something that is not a search.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: exists and is not a folder; choose another output")
    if out.is_dir() and any(out.iterdir()) and not (out / STUDY).is_file():
        raise OutputError(
            f"{out}: holds files but no {STUDY}, so it is not a search of `copamerge tune`; choose "
            "another output"
        )


def _best(trials: Sequence[Trial]) -> Trial:
    usable = [(trial.points, -trial.number) for trial in trials if trial.points is not None]
    if not usable:
        reasons = dict.fromkeys(trial.reason or "" for trial in trials)
        raise CopamergeError(
            [f"none of {len(trials)} trials could be merged; see below", *list(reasons)[:5]]
        )
    return trials[-max(usable)[1]]


def _recipe(job: Job, params: Mapping[str, Any], method: str, fixed: Mapping[str, Any]) -> Recipe:
    chosen = {k: v for k, v in params.items() if not k.startswith(f"{WEIGHTS}.")}
    content = job.plan.recipe.model_dump(mode="json", exclude={"method"})
    for i, source in enumerate(content["adapters"], 1):
        source["weight"] = params.get(f"{WEIGHTS}.{i}", source["weight"])
    return recipe_from({**content, "method": {"name": method, **fixed, **chosen}})


def _tried(
    job: Job,
    number: int,
    params: Mapping[str, Any],
    method: str,
    fixed: Mapping[str, Any],
    options: Tune,
) -> Trial:
    """Merge, answer, score. What cannot be merged has no points but a reason.

    Raises:
        OutputError: no room for the merged adapter: no fault of the recipe's.
    """
    started = time.perf_counter()
    points: dict[str, float] = {}
    reason = None
    try:
        with TemporaryDirectory() as folder:
            place = Path(folder) / "merged"
            recipe = _recipe(job, params, method, fixed)
            merge_to_folder(plan(recipe), place, device=resolve_device("auto"))
            with job.model.use(place):
                for one in job.questions:
                    points[one.name] = _points(job, one, options.batch)
    except OutputError:
        raise
    except CopamergeError as error:
        points, reason = {}, " ".join(error.problems)
    mean = sum(points.values()) / len(points) if points else None
    seconds = round(time.perf_counter() - started, 3)
    return Trial(number, params, mean, points, seconds, reason)


def _points(job: Job, one: Questions, batch: int) -> float:
    return _scored(one, job.model.answer(one.samples, one.asking, batch))


def _scored(one: Questions, texts: Sequence[str]) -> float:
    task = Task(
        one.name,
        one.name,
        one.metric,
        True,
        lambda index, split, seed: one.samples[index],
        one.asking,
    )
    ids = [sample.id for sample in one.samples]
    return score(task, one.samples, ids, texts)["official"].points


# --- what it leaves ----------------------------------------------------------------------------


def _write(
    job: Job,
    out: Path,
    asked: Mapping[str, Any],
    best: Trial,
    trials: Sequence[Trial],
    method: str,
    fixed: Mapping[str, Any],
    started: float,
) -> None:
    recipe = _recipe(job, best.params, method, fixed)
    how = f"tuned on validation samples in {len(trials)} trials of copamerge tune"
    content = recipe.model_dump(mode="json", exclude_none=True)
    content["method"] = recipe.method.model_dump(mode="json")
    for source in content["adapters"]:
        source["adapter"] = _from(out, source["adapter"])
    words = f"# Trial {best.number} of {len(trials)}: {best.points:.4f} points on validation.\n"
    _put(out / TRIALS, _csv(trials, [one.name for one in job.questions]))
    _put(out / RECIPE, words + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    adapter = out / ADAPTER
    merge_to_folder(
        plan(recipe), adapter, device=resolve_device("auto"), overwrite=True, learnt=how
    )
    record = {
        **asked,
        "best": {
            "number": best.number,
            "points": best.points,
            "tasks": dict(best.tasks),
            "params": dict(best.params),
        },
        "trials": len(trials),
        "failed": sum(trial.points is None for trial in trials),
        "seconds": round(time.perf_counter() - started, 3),
        "versions": versions(),
    }
    _put(out / RECORD, json.dumps(record, indent=2, allow_nan=False) + "\n")


def _from(out: Path, adapter: str) -> str:
    """An adapter's path as the recipe in `out` has to say it; a Hub id stays as it is."""
    if Path(adapter).is_absolute() or not Path(adapter).exists():
        return adapter
    return os.path.relpath(adapter, out)


def _csv(trials: Sequence[Trial], tasks: Sequence[str]) -> str:
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    each = [f"points {task}" for task in tasks]
    writer.writerow(["trial", *names, "points", *each, "seconds", "reason"])
    for trial in trials:
        row: list[Any] = [trial.number, *(trial.params.get(name) for name in names), trial.points]
        row += [trial.tasks.get(task) for task in tasks]
        writer.writerow(["" if x is None else x for x in [*row, trial.seconds, trial.reason]])
    return text.getvalue()


def _put(path: Path, text: str) -> None:
    try:
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None


def _optuna() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return imported("optuna", "learn")
