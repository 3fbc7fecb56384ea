"""lm-evaluation-harness asks a model for text that an adapter is on."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from copamerge.bench.bridges.running import Asked
from copamerge.bench.loading import imported
from copamerge.bench.models import Generator
from copamerge.errors import SuiteError

EXTRA = "lm-eval"


class LmEval:
    """A `Harness` of `copamerge.bench.bridges.running`."""

    name = "lm-eval"
    package = "lm_eval"

    def version(self) -> str:
        return version(self.package)

    def known(self, asked: Asked) -> tuple[Any, Sequence[str]]:
        imported("lm_eval", EXTRA)
        manager = imported("lm_eval.tasks", EXTRA).TaskManager(
            include_path=[str(folder) for folder in asked.include] or None
        )
        return manager, manager.all_tasks

    def evaluate(
        self, generator: Generator, asked: Asked, manager: Any, *, samples: bool
    ) -> Mapping[str, Any]:
        """Of the base's own language model, by `HFLM`: likelihoods and free text alike."""
        tokenizer = generator.processor.tokenizer
        if asked.template == "chat" and not tokenizer.chat_template:
            raise SuiteError(
                f"{generator.label}: its tokenizer has no chat template; leave --chat out"
            )
        # A new one for each model: it keeps nothing of an adapter that is off again.
        model = imported("lm_eval.models.huggingface", EXTRA).HFLM(
            pretrained=generator.model,
            tokenizer=tokenizer,
            backend="causal",
            batch_size=asked.batch,
            device=str(generator.model.device),
        )
        results: Mapping[str, Any] = imported("lm_eval", EXTRA).simple_evaluate(
            model=model,
            tasks=list(asked.tasks),
            num_fewshot=asked.shots,
            limit=asked.limit,
            log_samples=samples,
            apply_chat_template=asked.template == "chat",
            task_manager=manager,
        )
        return results
