"""One training run with transformers' Trainer: seeded, resumable, with a line of progress."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

WEIGHTS = "weights.pt"


class Schedule(BaseModel):
    """How long and how fast a stage trains."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int = Field(gt=0)
    """Optimizer steps."""
    batch: int = Field(default=64, gt=0)
    """Samples a step."""
    rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate; cosine to zero after the warm-up."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero."""
    decay: float = Field(default=0.01, ge=0)
    """AdamW's weight decay."""


class _Progress(TrainerCallback):
    def __init__(self, tell: Callable[[int, int, float | None], None]) -> None:
        self.tell = tell

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        if logs and "loss" in logs:
            self.tell(state.global_step, state.max_steps, float(logs["loss"]))


class _Exact(Trainer):
    """A Trainer whose checkpoints hold the model's tensors under their own names.

    transformers renames a LLaVA's tensors when it saves them, and its Trainer does not rename them
    back: a resumed run would go on from fresh weights (tests/training/test_resume.py).
    """

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        assert self.model is not None
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), Path(output_dir) / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        kept = torch.load(Path(resume_from_checkpoint) / WEIGHTS, weights_only=True)
        whole = model or self.model
        assert whole is not None
        whole.load_state_dict(kept)


def train(
    model: nn.Module,
    rows: Dataset[Any],
    collate: Callable[[Any], Any],
    schedule: Schedule,
    *,
    work: Path,
    seed: int,
    tell: Callable[[int, int, float | None], None] = lambda *_: None,
    save_every: int = 500,
    workers: int = 0,
) -> float:
    """Train the model in place and return the last logged loss.

    `workers` processes read the rows beside this one.

    A run that was killed goes on from its last checkpoint in `work`, and `work` is removed at the
    end. A GPU is used where there is one, with bfloat16; on a CPU everything is float32.
    """
    gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=schedule.steps,
        per_device_train_batch_size=schedule.batch,
        learning_rate=schedule.rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(schedule.warmup * schedule.steps),
        weight_decay=schedule.decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        logging_steps=max(1, min(50, schedule.steps // 10)),
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=1,
        seed=seed,
        data_seed=seed,
        bf16=gpu,
        use_cpu=not gpu,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=workers,
        dataloader_pin_memory=gpu,
        log_level="error",
        logging_nan_inf_filter=False,
    )
    trainer = _Exact(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=collate,
        callbacks=[_Progress(tell)],
    )
    trainer.remove_callback(_printer())
    checkpoint = get_last_checkpoint(str(work)) if work.is_dir() else None  # type: ignore[no-untyped-call]
    trainer.train(resume_from_checkpoint=checkpoint)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    shutil.rmtree(work, ignore_errors=True)
    return float(losses[-1]) if losses else float("nan")


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback
