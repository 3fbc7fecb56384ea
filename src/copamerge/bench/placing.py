"""An experiment's entries as the engine takes them, on the adapters of a zoo."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from copamerge.bench.entries import Entry
from copamerge.bench.experiments import experiment_named
from copamerge.bench.specs import ModelSpec
from copamerge.bench.transforms import Spectral, write_transformed
from copamerge.bench.zoo import Zoo
from copamerge.errors import SuiteError
from copamerge.suites import Suite


@contextmanager
def model_specs(
    name: str, suite: Suite, zoo: Zoo, adapter_set: str, *, beside: Path
) -> Iterator[tuple[ModelSpec, ...]]:
    """The experiment's models as the engine takes them, made of this zoo's adapters.

    Adapters whose singular values an experiment changes are written to a hidden folder next to
    `beside` and are gone after the block: they are made in seconds, and always the same.

    Raises:
        SuiteError: no such experiment, or adapters that the zoo does not have, with the command
            that makes them.
    """
    experiment = experiment_named(name)
    entries = experiment.models(suite)
    needed = {entry.adapter_set for entry in entries if entry.adapter_set}
    if missing := sorted(needed - set(zoo.sets)):
        how = f"; {experiment.needs}" if experiment.needs else ""
        raise SuiteError(f"{zoo.path}: {name} needs {', '.join(missing)}, not there yet{how}")
    with ExitStack() as stack:
        work = beside
        if any(entry.spectrum is not None for entry in entries):
            beside.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=f".{beside.name}.inputs-", dir=beside.parent))
            stack.callback(shutil.rmtree, work, ignore_errors=True)
        specs = (_spec(entry, suite, zoo, adapter_set, work) for entry in entries)
        yield tuple(spec for spec in specs if spec is not None)


def _spec(entry: Entry, suite: Suite, zoo: Zoo, adapter_set: str, work: Path) -> ModelSpec | None:
    """None for the multi-task model of a zoo without one, and for individual ones not asked."""
    inputs: Mapping[str, Path] = {}
    if entry.kind in ("individual", "merge"):
        found = zoo.adapters(entry.adapter_set or adapter_set)
        order = {task.name: i for i, task in enumerate(suite.tasks)}
        if entry.kind == "individual" and not found.keys() & order.keys():
            return None
        # On a suite without seen tasks what is merged was trained on another one's.
        names = [name for name in found if name in order or not suite.seen]
        inputs = {name: found[name] for name in sorted(names, key=lambda x: order.get(x, -1))}
    if entry.spectrum is not None:
        inputs = _transformed(inputs, entry.spectrum, work)
    if entry.kind == "mtl" and zoo.mtl is None:
        return None
    common: dict[str, Any] = {"kind": entry.kind, "tasks": entry.tasks, "x": entry.x}
    if entry.kind == "individual":
        common["adapter"] = inputs
    elif entry.kind == "mtl":
        common["adapter"] = zoo.mtl
    elif entry.kind == "merge":
        common |= {
            "method": {"name": entry.method, **entry.options},
            "recipe": {"seed": entry.seed},
            "inputs": inputs,
            "merges": entry.adapters,
            "scale_rule": entry.scale_rule,
            "multiple": entry.multiple,
        }
    return ModelSpec(entry.name, entry.title, **common)


def _transformed(inputs: Mapping[str, Path], spectral: Spectral, work: Path) -> dict[str, Path]:
    """The adapters with other singular values, each written once."""
    found = {}
    for task, path in inputs.items():
        out = work / spectral.name / task
        if not out.is_dir():
            write_transformed(str(path), spectral, out)
        found[task] = out
    return found
