"""A suite as a base can be asked it: LLaVA-1.5's prompt and frames are for a LLaVA."""

from dataclasses import replace
from pathlib import Path

from copamerge.suites import Suite, Task

LLAVA = "llava"
"""The `model_type` of LLaVA-1.5 in transformers."""


def suited(suite: Suite, base: Path) -> tuple[Suite, list[str]]:
    """The suite as this base is asked it, and notes about what is not as the suite has it.

    Tasks that ask by LLaVA-1.5's prompt ask another model by its own chat template, and it sees
    pictures as its own processor frames them.

    Raises:
        SuiteError: the base is no model's folder.
    """
    from copamerge.bench.loading import kind_of

    if not any(_is_llava_s(task) for task in suite.tasks):
        return suite, []
    kind = kind_of(base)
    if kind in (LLAVA, None):
        return suite, []
    tasks = [
        replace(task, asking=replace(task.asking, template="chat", frame="processor"))
        if _is_llava_s(task)
        else task
        for task in suite.tasks
    ]
    note = (
        "asked by the base's own chat template, pictures framed by its own processor: "
        f"{suite.name} has LLaVA-1.5's, and the base is a {kind}"
    )
    return replace(suite, tasks=tuple(tasks)), [note]


def _is_llava_s(task: Task) -> bool:
    return task.asking.template == "vicuna_v1"
