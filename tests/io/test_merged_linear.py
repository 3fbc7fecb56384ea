"""PEFT before 0.3: one linear layer that held several projections, some of them with LoRA."""

import pytest
import torch
from torch.nn.functional import conv1d

from copamerge.errors import AdapterError
from copamerge.io import open_adapter
from makers import PREFIX, save_tensors, write_config

LAYER = "h.0.qkv"


def folder(tmp_path, r=2, config_r=2):
    rng = torch.Generator().manual_seed(0)
    tensors = {
        f"{PREFIX}{LAYER}.lora_A.weight": torch.randn(2 * r, 6, generator=rng),
        f"{PREFIX}{LAYER}.lora_B.weight": torch.randn(8, r, 1, generator=rng),
    }
    save_tensors(tmp_path, tensors)
    write_config(
        tmp_path, {LAYER: (12, 6)}, r=config_r, lora_alpha=8, enable_lora=[True, False, True]
    )
    return tensors


def test_the_delta_is_that_of_the_grouped_convolution(tmp_path):
    A, B = folder(tmp_path).values()

    got = open_adapter(str(tmp_path)).module(LAYER).delta()

    parts = conv1d(A[None], B, groups=2)[0]
    want = torch.zeros(12, 6)
    want[:4], want[8:] = parts[:4], parts[4:]  # the middle third has no LoRA
    torch.testing.assert_close(got, 8 / 2 * want)


def test_a_rank_that_is_not_the_configs_is_refused(tmp_path):
    folder(tmp_path, r=4, config_r=2)

    with pytest.raises(AdapterError, match=r"rank 4 per part, .* says 2"):
        open_adapter(str(tmp_path))
