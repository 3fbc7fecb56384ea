"""One training run by transformers' Trainer: seeded, resumable, on one device or many."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from copamerge.errors import CopamergeError, OutputError, RecipeError
from copamerge.training.suite.ranks import Ranks, is_sharded
from copamerge.training.suite.recipe import TrainRecipe

WEIGHTS = "trained.pt"
WRAPPED = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")
"""What wrappers write into names."""
PER_DEVICE = 16
"""Samples at once on a device where nobody says how many: LLaVA's script."""


@dataclass(frozen=True)
class Ways:
    """How a training runs, as far as it does not change what comes out."""

    per_device: int | None = None
    """Samples at once on a device; None: up to 16, so that the batch is met."""
    workers: int | None = None
    """Processes that read pictures, for each device; None: 4 beside a GPU, else none."""
    save_every: int = 100
    """Steps between checkpoints."""
    bfloat16: bool | None = None
    """Whether the base is held, and products are taken, in bfloat16; None: on a GPU that can."""
    recompute: bool | None = None
    """Whether activations are computed again for the gradient, not kept; None: on a GPU."""

    @property
    def in_bfloat16(self) -> bool:
        if self.bfloat16 is not None:
            return self.bfloat16
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


class Division(NamedTuple):
    """A step's batch: `world * per_device * accumulated` samples."""

    per_device: int
    accumulated: int
    world: int


def division(batch: int, per_device: int | None, world: int) -> Division:
    """How a batch is spread over devices, and over passes that are added up before a step.

    Raises:
        RecipeError: it cannot be, and which numbers can.
    """
    if batch % world:
        raise RecipeError(
            f"batch {batch}: cannot be shared by {world} processes alike; give a multiple of "
            f"{world} by --batch, as {math.ceil(batch / world) * world}"
        )
    share = batch // world
    if per_device is None:
        per_device = max(n for n in range(1, min(PER_DEVICE, share) + 1) if share % n == 0)
    if share % per_device:
        fitting = [n for n in range(1, share + 1) if share % n == 0]
        near = min(fitting, key=lambda n: (abs(n - per_device), n))
        raise RecipeError(
            f"--batch-per-device {per_device}: {batch} samples a step on {world} "
            f"{'process is' if world == 1 else 'processes are'} {share} on each, no multiple of "
            f"{per_device}; {near} would do"
        )
    return Division(per_device, share // per_device, world)


class Fitted(NamedTuple):
    """What a run leaves."""

    state: dict[str, Tensor]
    """The trained model's tensors, gathered; only the first process's are whole."""
    losses: list[tuple[int, float]]
    """(step, mean loss of its learned tokens), of runs before an interruption too."""
    steps: int


class _Watch(TrainerCallback):
    def __init__(self, tell: Callable[[int, int, float | None], None]) -> None:
        self.tell = tell

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise CopamergeError(
                f"step {state.global_step}: the loss is {loss}, so training went astray; lower "
                "the rate by --rate"
            )
        self.tell(state.global_step, state.max_steps, loss)


class _AdapterTrainer(Trainer):
    """A Trainer of what has a gradient: two rates, and checkpoints of these tensors alone.

    Under FSDP and DeepSpeed, checkpoints are theirs.
    """

    slow: frozenset[str]
    """Names of the parameters that have the projector's rate."""
    slow_rate: float

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        trained: Any = self.model if model is None else model
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, trained)
        named = [(n, p) for n, p in trained.named_parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for n, p in named if not self._is_slow(n)]},
            {"params": [p for n, p in named if self._is_slow(n)], "lr": self.slow_rate},
        ]
        for group in groups:
            group["weight_decay"] = self.args.weight_decay
        self.optimizer = kind([group for group in groups if group["params"]], **options)
        return self.optimizer

    def _is_slow(self, name: str) -> bool:
        for wrapped in WRAPPED:
            name = name.replace(wrapped, "")
        return any(name.endswith(slow) for slow in self.slow)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.args.should_save:
            return
        assert output_dir is not None
        assert self.model is not None
        trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
        state = self.model.state_dict() if state_dict is None else state_dict
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        kept = {name: value.cpu() for name, value in state.items() if name in trained}
        torch.save(kept, Path(output_dir) / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if is_sharded():
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        kept = torch.load(Path(resume_from_checkpoint) / WEIGHTS, weights_only=True)
        whole = model or self.model
        assert whole is not None
        found = whole.load_state_dict(kept, strict=False)
        assert not found.unexpected_keys, found.unexpected_keys


def fit(
    model: Any,
    rows: Dataset[Any],
    collate: Callable[[Any], Any],
    recipe: TrainRecipe,
    ways: Ways,
    here: Ranks,
    *,
    slow: str | None,
    sometimes_unused: bool = False,
    work: Path,
    seed: int,
    tell: Callable[[int, int, float | None], None] = lambda *_: None,
) -> Fitted:
    """Train the PEFT model in place.

    A run that was killed goes on from its last checkpoint in `work`, to the same end. The module
    `slow` has the projector's rate; `sometimes_unused` says that a batch may leave it out, as one
    without pictures does.

    Raises:
        RecipeError: the batch cannot be spread over the processes.
        CopamergeError: out of memory; a loss that is no number; a DeepSpeed config with an
            optimizer of its own.
    """
    shares = division(recipe.batch, ways.per_device, here.world)
    gpu = torch.cuda.is_available()
    recompute = gpu if ways.recompute is None else ways.recompute
    workers = (4 if gpu else 0) if ways.workers is None else ways.workers
    checkpoint = here.said_by_first(lambda: last_checkpoint(work))
    arguments = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.steps or -1,
        per_device_train_batch_size=shares.per_device,
        gradient_accumulation_steps=shares.accumulated,
        learning_rate=recipe.rate,
        lr_scheduler_type=_schedule(recipe),
        warmup_steps=recipe.warmup,
        weight_decay=recipe.decay,
        max_grad_norm=recipe.clip,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=ways.save_every,
        save_total_limit=1,
        seed=seed,
        data_seed=seed,
        bf16=ways.in_bfloat16,
        use_cpu=not gpu,
        gradient_checkpointing=recompute,
        gradient_checkpointing_kwargs={"use_reentrant": False} if recompute else None,
        ddp_find_unused_parameters=here.world > 1 and sometimes_unused,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=workers,
        dataloader_pin_memory=gpu,
        log_level="error",
        log_level_replica="error",
    )
    trainer = _AdapterTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=collate,
        callbacks=[_Watch(tell)],
    )
    trainer.slow = frozenset(
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and slow is not None and f".{slow}." in f".{name}"
    )
    trainer.slow_rate = recipe.projector_rate
    trainer.remove_callback(PrinterCallback)
    _check_deepspeed(trainer)
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except (MemoryError, torch.OutOfMemoryError):
        raise CopamergeError(
            f"out of memory with {shares.per_device} samples at once; {_smaller(shares)}"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{work}: a checkpoint cannot be written or read ({error.strerror or error}); the same "
            "command goes on when that is mended"
        ) from None
    losses = [
        (int(entry["step"]), round(float(entry["loss"]), 6))
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    steps = int(trainer.state.global_step)
    # Another task's base is loaded next, and this one has to make room.
    trainer.accelerator.free_memory()
    return Fitted(state or {}, losses, steps)


def last_checkpoint(work: Path) -> Path | None:
    """The newest whole checkpoint; one that was being written when the run was killed is removed.

    The Trainer writes its state last, and removes the checkpoint before only after that.
    """
    found = sorted(
        work.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: int(path.name.rpartition("-")[2])
    )
    for path in reversed(found):
        try:
            json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
        else:
            return path
    return None


def _schedule(recipe: TrainRecipe) -> str:
    return "constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule


def _check_deepspeed(trainer: Trainer) -> None:
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if plugin is not None and "optimizer" in plugin.deepspeed_config:
        raise CopamergeError(
            "the DeepSpeed config has an `optimizer`, which knows one rate only, and the "
            "projector has its own; leave that section out"
        )


def _smaller(shares: Division) -> str:
    if shares.per_device == 1:
        return "a single one is too much for this device"
    each = shares.per_device * shares.accumulated
    less = max(n for n in range(1, shares.per_device // 2 + 1) if each % n == 0)
    return (
        f"try --batch-per-device {less}: a step stays one of {each * shares.world} samples, and "
        "what was trained is kept"
    )
