"""A whole run: make the models, ask them, score them; what is finished is not done again.

    run.json                   what was asked of whom, with digests, versions, times and warnings
    merged/<model>/            the adapters that were made, as folders that PEFT loads
    sources/                   merges before their scale rule, and the points of a search
    answers/<unit>.jsonl       what the models said
    scores/<model>/<task>.npz  numbers per item, one array for each mode
    results.json               {"rows": [...], "means": [...]}

Paths of adapters in run.json are relative to the run's folder or else to the zoo's; those that lie
in neither are given as they are.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from copamerge.bench import record
from copamerge.bench.asking import answered, scored, unasked
from copamerge.bench.executors import Executor, executor_for
from copamerge.bench.preparing import prepared
from copamerge.bench.record import RESULTS, RUN, Run, check_out
from copamerge.bench.search import search
from copamerge.bench.setting import Setting, Tell
from copamerge.bench.specs import (
    SCALE_RULES,
    ModelSpec,
    ScaleRule,
    baselines,
    check_specs,
    methods_as_published,
)
from copamerge.bench.units import base_digest
from copamerge.bench.zoo import Zoo, open_zoo
from copamerge.errors import CopamergeError, SuiteError, did_you_mean
from copamerge.suites import Split, Task, suite_named


def run_bench(
    out: Path,
    specs: Sequence[ModelSpec] | None = None,
    *,
    suite: str = "mini",
    data: Path | None = None,
    zoo: Zoo | Path | None = None,
    base: Path | None = None,
    adapter_set: str = "shared",
    methods: Sequence[str] | None = None,
    experiment: str | None = None,
    items: int | None = None,
    seed: int = 0,
    split: Split = "test",
    tasks: Sequence[str] | None = None,
    scale_rule: ScaleRule = "published",
    items_validation: int = 100,
    batch: int = 100,
    ray: str | None = None,
    executor: Executor | None = None,
    answers: Path | None = None,
    tell: Tell | None = None,
) -> Run:
    """Evaluate models on a suite and leave everything in `out`; a killed run goes on there.

    `specs` None: the rows of `experiment`, or zero-shot, individual, multi-task, and the merge
    `methods` (None: all of them). With specs, `experiment` is only what the run is called.
    `zoo` None: the one that ships, opened only where something of it is needed. `base` is another
    base model than the zoo's. `data` is the folder of a suite that is not made by code. `items`
    None: as many of each task as the suite says. `answers` is where answers files lie, for runs
    that share them. A model that cannot be made or asked is a row without points that says why.

    Raises:
        SuiteError: unknown suite, tasks or methods, all of them; a zoo that is not what its
            manifest says; answers of another run.
        OutputError: `out` holds something else.
    """
    chosen = suite_named(suite, data)
    items = chosen.items if items is None else items
    problems: list[str] = []
    asked, listed = chosen.tasks, list[ModelSpec]()
    try:
        asked = chosen.pick(tasks)
    except CopamergeError as error:
        problems += error.problems
    try:
        if specs is None and not experiment:
            listed = methods_as_published(methods)
    except CopamergeError as error:
        problems += error.problems
    if scale_rule not in SCALE_RULES:
        hint = did_you_mean(scale_rule, SCALE_RULES)
        problems.append(f"scale rule {scale_rule!r}: there is none of that name{hint}")
    numbers = {"items": items, "items_validation": items_validation, "batch": batch}
    problems += [
        f"{k}: {n}; at least 1 is needed" for k, n in numbers.items() if n is not None and n < 1
    ]
    if not problems:
        problems += _uncounted(asked, split, items)
    if problems:
        raise SuiteError(problems)
    if not chosen.ships and zoo is None and (base is None or specs is None):
        raise SuiteError(
            f"suite {suite!r}: no model for it comes with copamerge; give the folder of adapters "
            "by --zoo, and of their base by --base"
            if specs is None
            else f"suite {suite!r}: no model for it comes with copamerge; give one by --base"
        )
    needs_zoo = base is None or specs is None or any(x.is_made and x.inputs is None for x in specs)
    opened = None
    if needs_zoo:
        opened = zoo if isinstance(zoo, Zoo) else open_zoo(zoo)
    check_out(out)
    with ExitStack() as stack:
        if specs is None:
            assert opened is not None
            if experiment:
                from copamerge.bench.placing import model_specs

                rows = model_specs(experiment, chosen, opened, adapter_set, beside=out)
                specs = stack.enter_context(rows)
            else:
                specs = [*baselines(opened, adapter_set), *listed]
        check_specs(specs)
        model_folder = base or (opened.base if opened is not None else Path())
        if base is None and not model_folder.is_dir():
            raise SuiteError(f"{model_folder}: this zoo has no base model; give one by --base")
        setting = Setting(
            out=out,
            suite=chosen,
            data=data,
            tasks=asked,
            base=model_folder,
            base_digest=base_digest(model_folder),
            zoo=opened,
            adapter_set=adapter_set,
            items=items,
            seed=seed,
            split=split,
            answers=answers or out / "answers",
            scale_rule=scale_rule,
            items_validation=items_validation,
            experiment=experiment,
            tell=tell or (lambda *_: None),
            executor=executor or executor_for(model_folder, chosen.answers, ray=ray, batch=batch),
        )
        return _run(setting, specs)


def _uncounted(tasks: Sequence[Task], split: Split, items: int | None) -> list[str]:
    """What is wrong with the tasks' data, before any model is made."""
    problems = []
    for task in tasks:
        try:
            task.count(split, items)
        except CopamergeError as error:
            problems += error.problems
    return list(dict.fromkeys(problems))


def _run(setting: Setting, specs: Sequence[ModelSpec]) -> Run:
    known = record.of_run(setting)
    known["models"] = [record.of_model(setting, x, setting.tasks_of(x)) for x in specs]
    record.write(setting.out / RUN, known)
    (setting.out / RESULTS).unlink(missing_ok=True)
    models = []
    setting.tell("merging", 0, len(specs))
    for i, spec in enumerate(specs):
        models.append(prepared(setting, spec))
        setting.tell("merging", i + 1, len(specs))
    notes = search(setting, [x for x in models if x.record["scale_rule"] == "search"])
    done, jobs = answered(setting, models)
    results = scored(setting, models, jobs, done)
    known["notes"] = [*notes, *done.notes, *unasked(done)]
    known["models"] = [model.record for model in models]
    known["finished"] = True
    record.write(setting.out / RESULTS, results)
    record.write(setting.out / RUN, known)
    return Run(setting.out, known, results)
