"""From a spec to the adapters that are asked: merged, scaled, or as they lie."""

from collections.abc import Mapping
from pathlib import Path

from copamerge.bench import record
from copamerge.bench.making import made_plain, made_scaled, name_of, picked
from copamerge.bench.setting import Model, Setting
from copamerge.bench.specs import ModelSpec, ScaleRule
from copamerge.errors import CopamergeError, OutputError


def prepared(setting: Setting, spec: ModelSpec) -> Model:
    """The model with its adapters on disk, or with the reasons why it has none.

    Under the scale rule `search` it has none yet: `copamerge.bench.search` chooses it.
    """
    asked = setting.tasks_of(spec)
    known = record.of_model(setting, spec, asked)
    rule: ScaleRule | None = known["scale_rule"]
    model = Model(spec, {}, asked, known)
    try:
        if spec.is_made:
            inputs = inputs_of(setting, spec)
            known["merges"] = list(inputs)
            _make(setting, model, inputs, rule or "published")
        elif isinstance(spec.adapter, Mapping):
            own = {
                task.name: spec.adapter[task.name] for task in asked if task.name in spec.adapter
            }
            digests = {task: setting.digest(path) for task, path in own.items()}
            model.adapters.update(own)
            known["adapter"] = {task: setting.place(path) for task, path in own.items()}
            known["digest"] = name_of(digests)
        else:
            settle(setting, model, spec.adapter)
    except OutputError:
        raise
    except CopamergeError as error:
        model.failed = list(error.problems)
    return model


def inputs_of(setting: Setting, spec: ModelSpec) -> dict[str, Path]:
    """The adapters that a model is made of, in order."""
    if spec.inputs is not None:
        return picked(spec, spec.inputs)
    assert setting.zoo is not None
    found = setting.zoo.adapters(spec.adapter_set or setting.adapter_set)
    order = {task.name: i for i, task in enumerate(setting.suite.tasks)}
    return picked(
        spec, dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))
    )


def _make(setting: Setting, model: Model, inputs: Mapping[str, Path], rule: ScaleRule) -> None:
    spec, known = model.spec, model.record
    digests = {task: str(setting.digest(path)) for task, path in inputs.items()}
    target = setting.out / "merged" / spec.name
    as_it_is = rule == "published" and spec.multiple == 1.0
    source = target
    if not as_it_is:
        identity = (spec.method, dict(spec.recipe), spec.weights, list(digests.items()))
        source = setting.out / "sources" / name_of(*identity)
    plain = made_plain(spec, inputs, digests, source)
    options = dict(plain.method or {})
    known["method"] = options.pop("name", None)
    known["options"] = options
    known["warnings"] = list(plain.warnings)
    known["merge_seconds"] = plain.seconds
    model.made = plain
    if as_it_is:
        settle(setting, model, target)
    elif rule != "search":
        scaled = made_scaled(plain, rule, spec.multiple, list(digests.values()), target)
        known["merge_seconds"] = scaled.seconds
        settle(setting, model, target)


def settle(setting: Setting, model: Model, adapter: Path | None) -> None:
    """This is the adapter that the model is."""
    if adapter is not None:
        # A folder that was made anew may lie where another one lay before.
        setting.digests.pop(adapter, None)
    model.adapters.update({task.name: adapter for task in model.asked})
    model.record["adapter"] = None if adapter is None else setting.place(adapter)
    model.record["digest"] = setting.digest(adapter)
