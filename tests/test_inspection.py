import pytest
import torch
from safetensors.torch import load_file

from copamerge import inspect_adapters
from makers import LAYERS, Q0, a_of, b_of, factors, make_adapter


def deltas(path, layers, scaling):
    tensors = load_file(path / "adapter_model.safetensors")
    return torch.cat([(scaling * tensors[b_of(n)] @ tensors[a_of(n)]).flatten() for n in layers])


def test_two_adapters_are_compared_over_the_layers_they_share(tmp_path):
    shared = list(LAYERS)[:2]
    a = make_adapter(tmp_path / "a", r=2, alpha=4)
    b = make_adapter(tmp_path / "b", {n: LAYERS[n] for n in shared}, r=2, alpha=1, seed=1)

    (pair,) = inspect_adapters([str(a), str(b)]).relations

    one, other = deltas(a, shared, 2.0), deltas(b, shared, 0.5)
    assert pair.shared_layers == 2
    assert pair.cosine == pytest.approx(float(one @ other / one.norm() / other.norm()), abs=1e-6)
    assert pair.norm_ratio == pytest.approx(float(one.norm() / other.norm()), rel=1e-5)


def test_a_shared_start_shows_in_the_cosine_of_A(tmp_path):
    start = {name: x for name, x in factors().items() if "lora_A" in name}
    a = make_adapter(tmp_path / "a")
    b = make_adapter(tmp_path / "b", seed=1, extra={n: 3 * x for n, x in start.items()})
    c = make_adapter(tmp_path / "c", seed=2)

    same, *others = inspect_adapters([str(a), str(b), str(c)]).relations

    assert same.cosine_A == pytest.approx(1.0, abs=1e-6)
    assert all(abs(pair.cosine_A) < 0.9 for pair in others)


def test_unlike_ranks_have_no_rows_to_compare(tmp_path):
    a, b = make_adapter(tmp_path / "a", r=2), make_adapter(tmp_path / "b", r=3, seed=1)

    (pair,) = inspect_adapters([str(a), str(b)]).relations

    assert pair.cosine_A is None and pair.cosine is not None


def test_every_tensor_is_counted(tmp_path):
    a = make_adapter(tmp_path / "a", extra={"base_model.model.head.weight": torch.ones(2, 2)})

    (one,) = inspect_adapters([str(a)]).adapters

    assert one.tensors == one.tensors_lora + len(one.saved) + len(one.ignored) == 9
    assert one.delta_norm == pytest.approx(float(deltas(a, LAYERS, 2.0).norm()), rel=1e-5)
    assert one.ranks == {2: len(LAYERS)} and one.targets == {"q_proj": 2, "v_proj": 2}


def test_layers_that_do_not_fit_are_still_measured(tmp_path):
    a = make_adapter(tmp_path / "a", {Q0: (8, 6)})
    b = make_adapter(tmp_path / "b", {Q0: (8, 5)}, seed=1)

    found = inspect_adapters([str(a), str(b)])

    assert not found.fit and found.relations[0].shared_layers == 0
    assert all(one.delta_norm > 0 for one in found.adapters)


def test_denormal_adapters_have_a_cosine_in_its_range(tmp_path):
    tiny = {b_of(n): torch.full((d, 2), 1e-42) for n, (d, _) in LAYERS.items()}
    paths = [make_adapter(tmp_path / x, extra=tiny, seed=i) for i, x in enumerate("ab")]

    (pair,) = inspect_adapters(list(map(str, paths))).relations

    assert pair.cosine is not None and -1 <= pair.cosine <= 1
