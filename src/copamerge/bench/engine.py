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
from pathlib import Path
from typing import Any

from copamerge.bench import record
from copamerge.bench.asking import answered, scored, unasked
from copamerge.bench.planning import Planned, Wanted, planned
from copamerge.bench.preparing import prepared
from copamerge.bench.record import RESULTS, RUN, Run
from copamerge.bench.search import search
from copamerge.bench.specs import ModelSpec


def run_bench(out: Path, specs: Sequence[ModelSpec] | None = None, **wanted: Any) -> Run:
    """Evaluate models on a suite and leave everything in `out`; a killed run goes on there.

    `wanted` are the fields of `Wanted`. A model that cannot be made or asked is a row without
    points that says why.

    Raises:
        SuiteError, OutputError: as `planned` does.
    """
    with planned(out, specs, Wanted(**wanted)) as run:
        return run_planned(run)


def run_planned(planned: Planned) -> Run:
    """Do what is left of a run."""
    setting, specs = planned.setting, planned.specs
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
    known["notes"] = [*setting.notes, *notes, *done.notes, *unasked(done)]
    known["models"] = [model.record for model in models]
    known["finished"] = True
    record.write(setting.out / RESULTS, results)
    record.write(setting.out / RUN, known)
    return Run(setting.out, known, results)
