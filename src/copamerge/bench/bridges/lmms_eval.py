"""lmms-eval asks a model with eyes that an adapter is on.

Its own class for LLaVA takes one sample at a time, gives text-only samples the inputs of the one
before where it does not crash, and answers with an empty text where anything goes wrong. So the
bridge is a model class of its own, which asks as `copamerge evaluate` does: samples with and
without pictures in batches, greedily, and what cannot be asked is an error.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from copamerge.bench.bridges.running import Asked
from copamerge.bench.loading import imported
from copamerge.bench.models import Generator
from copamerge.bench.prompting import IMAGE
from copamerge.errors import CopamergeError, SuiteError, first_few
from copamerge.suites import Asking, Sample

EXTRA = "lmms-eval"
NEW_TOKENS = 1024
"""How long an answer may be where a task does not say: as lmms-eval's class for LLaVA."""
GREEDY: Mapping[str, tuple[Any, ...]] = {
    "do_sample": (False, None),
    "temperature": (0, 0.0, None),
    "num_beams": (1, None),
}
"""What a task may say about sampling; `top_p` and `top_k` change nothing then."""
KNOWN = {*GREEDY, "max_new_tokens", "until", "top_p", "top_k", "use_cache", "image_aspect_ratio"}


class LmmsEval:
    """A `Harness` of `copamerge.bench.bridges.running`."""

    name = "lmms-eval"
    package = "lmms_eval"

    def version(self) -> str:
        return version(self.package)

    def known(self, asked: Asked) -> tuple[Any, Sequence[str]]:
        _library("lmms_eval.evaluator")
        manager = _library("lmms_eval.tasks").TaskManager(
            "ERROR", include_path=[str(folder) for folder in asked.include] or None
        )
        return manager, manager.all_tasks

    def evaluate(
        self, generator: Generator, asked: Asked, manager: Any, *, samples: bool
    ) -> Mapping[str, Any]:
        results: Mapping[str, Any] = _library("lmms_eval.evaluator").simple_evaluate(
            model=model_class()(generator, asked),
            tasks=list(asked.tasks),
            num_fewshot=asked.shots,
            limit=asked.limit,
            batch_size=asked.batch,
            log_samples=samples,
            task_manager=manager,
            device=str(generator.model.device),
        )
        return results


def _library(name: str) -> Any:
    """A module of lmms-eval.

    Raises:
        CopamergeError: not installed, or built for another torch.
    """
    try:
        return imported(name, EXTRA)
    except RuntimeError as error:
        raise CopamergeError(
            f"lmms-eval cannot be imported ({str(error).splitlines()[0]}); torchvision has to be "
            "built for the torch that is installed: take both from the same index"
        ) from None


def model_class() -> type[Any]:
    """lmms-eval's idea of a model, which its evaluation insists on."""
    parent: Any = _library("lmms_eval.api.model").lmms

    class Asks(parent):  # type: ignore[misc]
        is_simple = True

        def __init__(self, generator: Generator, asked: Asked) -> None:
            super().__init__()
            self._generator, self._asked = generator, asked
            self.batch_size = asked.batch

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return answers(self._generator, self._asked, self.task_dict, requests)

        def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
            raise _not_asked(requests, "asks in several rounds")

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            raise _not_asked(requests, "asks for likelihoods")

    return Asks


def _not_asked(requests: Sequence[Any], what: str) -> SuiteError:
    tasks = dict.fromkeys(str(request.args[-2]) for request in requests)
    return SuiteError(
        [f"task {task!r}: {what}, which the bridge does not do; leave it out" for task in tasks]
    )


def answers(
    generator: Generator, asked: Asked, documents: Mapping[str, Any], requests: Sequence[Any]
) -> list[str]:
    """What the model says to each request, in order; `documents` are by task and split.

    Raises:
        SuiteError: what it cannot be asked; some of it and how much there is.
    """
    asks = {_asking(request, asked) for request in requests if not _unlike(request)}
    problems = list(dict.fromkeys(x for request in requests for x in _unlike(request)))
    if problems:
        raise SuiteError(first_few(problems, "lmms-eval", "more that cannot be asked"))
    said: dict[int, str] = {}
    for asking in sorted(asks, key=lambda asking: asking.max_new_tokens):
        mine = [i for i, request in enumerate(requests) if _asking(request, asked) == asking]
        for start in range(0, len(mine), asked.batch):
            some = mine[start : start + asked.batch]
            # Pictures are made for a batch at a time: a whole task's may not fit in memory.
            samples = [_sample(requests[i], documents) for i in some]
            texts = generator.answer(samples, asking, asked.batch)
            said |= {i: _cut(text, requests[i]) for i, text in zip(some, texts, strict=True)}
    return [said[i] for i in range(len(requests))]


def _asking(request: Any, asked: Asked) -> Asking:
    tokens = request.args[1].get("max_new_tokens") or NEW_TOKENS
    return Asking(int(tokens), asked.template, asked.frame)


def _unlike(request: Any) -> list[str]:
    """What a task wants of its answers that is not done here."""
    wanted, task = request.args[1], request.args[-2]
    problems = [
        f"task {task!r}: {key}: {wanted[key]}: answers are greedy here; leave the task out"
        for key, allowed in GREEDY.items()
        if key in wanted and wanted[key] not in allowed
    ]
    return problems + [
        f"task {task!r}: {key}: {wanted[key]}: not an option that the bridge knows; leave it out"
        for key in sorted(set(wanted) - KNOWN)
    ]


def _sample(request: Any, documents: Mapping[str, Any]) -> Sample:
    text, _, visuals_of, index, task, split = request.args
    id = f"{task}/{split}/{index}"
    visuals = list(visuals_of(documents[task][split][index]) or ())
    if other := next((x for x in visuals if not hasattr(x, "convert")), None):
        raise SuiteError(
            f"sample {id!r}: comes with {type(other).__name__}, and only pictures are shown; leave "
            f"the task {task!r} out"
        )
    if IMAGE in text:
        raise SuiteError(
            f"sample {id!r}: places its pictures by {IMAGE} in the text, and they are shown in "
            f"front of it here; leave the task {task!r} out"
        )
    pictures = tuple(np.asarray(picture.convert("RGB")) for picture in visuals)
    return Sample(id, pictures, text, ())


def _cut(text: str, request: Any) -> str:
    """Up to where the task says that an answer ends."""
    until = request.args[1].get("until") or []
    for stop in [until] if isinstance(until, str) else until:
        if stop:
            text = text.split(stop)[0]
    return text
