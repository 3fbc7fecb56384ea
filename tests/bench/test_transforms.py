"""Adapters with other singular values: the values asked for, the same directions, the same A."""

import json
from pathlib import Path

import pytest
import torch

from copamerge.bench.transforms import Half, Ramp, rescaled, spectrum, write_transformed
from copamerge.errors import AdapterError, OutputError
from copamerge.io import open_adapter
from makers import LAYERS, Q0, make_adapter


def factors(d_out: int = 12, r: int = 5, d_in: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return torch.randn(r, d_in, generator=rng), torch.randn(d_out, r, generator=rng)


def test_the_spectrum_is_that_of_the_dense_delta() -> None:
    A, B = factors()

    found = spectrum(A, B, scaling=-2.0)

    dense = torch.linalg.svdvals(-2.0 * B.double() @ A.double())
    assert torch.allclose(found.values, dense[:5], rtol=1e-5)


@pytest.mark.parametrize(
    ("spectral", "multiples"),
    [
        (Half("all"), [1, 1, 1, 1, 1]),
        (Half("larger"), [1, 1, 1, 0, 0]),
        (Half("smaller"), [0, 0, 0, 1, 1]),
        (Ramp(1.0, 3.0, keep_norm=False), [1, 1.5, 2, 2.5, 3]),
    ],
)
def test_singular_values_are_multiplied_and_directions_stay(
    spectral: Half | Ramp, multiples: list[float]
) -> None:
    A, B = factors()
    U, S, Vt = torch.linalg.svd(B.double() @ A.double(), full_matrices=False)

    changed = rescaled(A, B, spectral)

    m = torch.tensor(multiples, dtype=torch.float64)
    wanted = U[:, :5] @ torch.diag(m * S[:5]) @ Vt[:5]
    assert torch.allclose(changed.double() @ A.double(), wanted, atol=1e-5)


def test_a_ramp_at_equal_norm_keeps_the_norm() -> None:
    A, B = factors()

    changed = rescaled(A, B, Ramp(1.0, 4.0))

    assert (changed @ A).norm().item() == pytest.approx((B @ A).norm().item(), rel=1e-5)


def test_a_ramp_that_would_leave_nothing_divides_by_nothing() -> None:
    assert Ramp(0.0, 0.0).multiples([2.0, 1.0]) == (0.0, 0.0)
    assert Ramp(0.5, 2.0).multiples([3.0]) == (1.0,)


def test_halves_count_the_rank_and_not_the_numerical_rank() -> None:
    A, B = factors(r=4)
    A[2:] = A[:2]  # rank 2: both values are in the larger half of four

    assert torch.allclose(rescaled(A, B, Half("larger")) @ A, B @ A, atol=1e-5)
    assert torch.allclose(rescaled(A, B, Half("smaller")) @ A, torch.zeros(12, 9), atol=1e-5)


def test_a_zero_delta_stays_zero() -> None:
    A, B = factors()

    assert torch.equal(rescaled(A, torch.zeros_like(B), Half("larger")), torch.zeros_like(B))


def test_halves_add_up_to_the_whole(tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "a", r=4)
    made = {
        keep: open_adapter(str(write_transformed(str(source), Half(keep), tmp_path / keep)))
        for keep in ("all", "larger", "smaller")
    }

    original = open_adapter(str(source))
    for layer in LAYERS:
        parts = made["larger"].module(layer).delta() + made["smaller"].module(layer).delta()
        assert torch.allclose(parts, original.module(layer).delta(), atol=1e-4)
        assert torch.equal(made["larger"].module(layer).A, original.module(layer).A)
    assert json.loads((tmp_path / "larger" / "spectrum.json").read_text())["spectrum"] == {
        "keep": "larger"
    }


def test_half_precision_is_written_in_full(tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "a", dtype=torch.bfloat16)

    out = write_transformed(str(source), Half("larger"), tmp_path / "out")

    assert open_adapter(str(out)).layers[Q0].dtype == "float32"


def test_the_same_transform_writes_the_same_bytes(tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "a", r=3)
    one, two = (
        write_transformed(str(source), Ramp(2.0, 0.5), tmp_path / name) for name in ("x", "y")
    )

    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "a")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()

    with pytest.raises(AdapterError, match="no such file or folder"):
        write_transformed(str(tmp_path / "nowhere"), Half("all"), tmp_path / "out")
    with pytest.raises(OutputError, match="already exists"):
        write_transformed(str(source), Half("all"), tmp_path / "taken")
    assert not (tmp_path / "out").exists()
