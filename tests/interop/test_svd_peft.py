"""Our `svd` is PEFT's, with every scaling counted once."""

import pytest
import torch
from judge import Shelf, assert_close, deltas, loaded, make, seeded
from peft import PeftModel

import copamerge
from copamerge.methods.svd import Svd

pytestmark = pytest.mark.interop

# Both sides decompose float32 sums.
SVD_RTOL = 1e-5
TARGETS = ["lin", "out"]  # "lin" names two layers: lin and block.lin
WEIGHTS = (0.7, -0.4, 1.2)


def adapters(folder, *configs):
    return [
        make(seeded(Shelf), folder / str(i), seed=30 + i, target_modules=TARGETS, **config)
        for i, config in enumerate(configs)
    ]


def theirs(folders, rank=None):
    model = PeftModel.from_pretrained(seeded(Shelf), folders[0], adapter_name="0")
    for i, folder in enumerate(folders[1:], start=1):
        model.load_adapter(folder, str(i))
    names = list(map(str, range(len(folders))))
    model.add_weighted_adapter(
        names,
        list(WEIGHTS[: len(folders)]),
        "merged",
        combination_type="svd",
        svd_rank=rank,
        svd_full_matrices=False,
    )
    return deltas(model, "merged")


def ours(folders, out, **options):
    weights = WEIGHTS[: len(folders)]
    merged = copamerge.merge(folders, method=Svd(**options), weights=weights)
    merged.save_pretrained(out)
    return deltas(loaded(seeded(Shelf), out))


@pytest.mark.parametrize("rank", [None, 1, 4])
@pytest.mark.parametrize("ranks", [(3, 3, 3), (2, 3)], ids=str)
def test_where_all_scalings_are_1_it_is_peft_s(ranks, rank, tmp_path):
    folders = adapters(tmp_path, *({"r": r, "lora_alpha": r} for r in ranks))

    got = ours(folders, tmp_path / "out", rank=rank)

    want = theirs(folders, rank)
    assert got.keys() == want.keys() and len(got) == 3
    for name, delta in got.items():
        assert_close(delta, want[name].double(), SVD_RTOL, name)


def test_other_scalings_count_once(tmp_path):
    """PEFT before 0.21 counted them twice: a difference that this test must then find."""
    configs = [{"r": 2, "lora_alpha": 3}, {"r": 3, "lora_alpha": 1}]
    folders = adapters(tmp_path, *configs)
    parts = [deltas(loaded(seeded(Shelf), folder)) for folder in folders]

    got, peft = ours(folders, tmp_path / "out", rank=5), theirs(folders, 5)

    scalings = [config["lora_alpha"] / config["r"] for config in configs]
    once, twice = [], []
    for name, delta in got.items():
        assert_close(delta, summed(parts, name, [1.0, 1.0]), SVD_RTOL, name)
        once.append(off(peft[name], summed(parts, name, [1.0, 1.0])))
        twice.append(off(peft[name], summed(parts, name, scalings)))
    assert max(once) < SVD_RTOL or max(twice) < SVD_RTOL


def summed(parts, name, factors):
    # At rank 5 nothing is cut off: the adapters have 2 + 3 directions.
    return sum(w * f * part[name] for w, f, part in zip(WEIGHTS[:2], factors, parts, strict=True))


def off(got, want):
    return float(torch.linalg.norm(got.double() - want) / torch.linalg.norm(want))
