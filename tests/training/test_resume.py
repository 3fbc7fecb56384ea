"""A training run that is killed goes on from its last checkpoint and ends where it would have."""

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from copamerge.suites.mini import MINI
from copamerge.training.mini.adapters import lora_config
from copamerge.training.mini.model import Size, build_model
from copamerge.training.mini.questions import Collator, Questions
from copamerge.training.run import Schedule, train

TINY = Size(vision_width=16, vision_layers=1, width=16, layers=1, heads=2)
FOUR = Schedule(steps=4, batch=4, rate=1e-2)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def whole(tokenizer):
    return build_model(tokenizer, TINY, seed=0)


def adapted(tokenizer):
    from peft import get_peft_model

    torch.manual_seed(0)
    return get_peft_model(whole(tokenizer).requires_grad_(False), lora_config(2))


@pytest.mark.parametrize("make", [whole, adapted])
def test_a_killed_run_ends_where_it_would_have(make, tokenizer, tmp_path):
    rows = Questions(tokenizer, dict.fromkeys(MINI.seen, 1.0), 16, seed=0)

    def run(model, work, tell=lambda *_: None):
        train(model, rows, Collator(tokenizer), FOUR, work=work, seed=0, tell=tell, save_every=2)
        return {name: value.clone() for name, value in model.state_dict().items()}

    def kill(step, of, loss):
        if step == 3:
            raise KeyboardInterrupt

    straight = run(make(tokenizer), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(make(tokenizer), tmp_path / "work", kill)
    steps = []
    resumed = run(make(tokenizer), tmp_path / "work", lambda step, *_: steps.append(step))
    assert steps == [3, 4]
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name
    assert list(tmp_path.iterdir()) == []
