"""Families: the formula, what comes back out, what is stored, what is refused."""

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import nn

from copamerge.errors import AdapterError, CopamergeError, OutputError, PlanError, RecipeError
from copamerge.families import family_plan, make_family, open_family, take_member
from copamerge.families.record import MASKS, RECORD, SHARED
from copamerge.families.store import packed, unpacked
from copamerge.io import open_adapter
from copamerge.merging.card import is_own
from copamerge.merging.walk import sha256_of
from makers import LAYERS, PREFIX, Q0, a_of, b_of, factors, make_adapter, tree

CPU = torch.device("cpu")
REAL = Path(__file__).parents[3] / "shared" / "adapters" / "gpt2-domains"
SPACES = ("core", "delta")


def family_of(out, *adapters, **options):
    make_family(family_plan([str(path) for path in adapters], **options), out, device=CPU)
    return open_family(out)


def deltas_of(folder):
    """Layer -> delta in float64."""
    adapter = open_adapter(str(folder))
    found = {}
    for name in adapter.layers:
        module = adapter.module(name)
        found[name] = (module.scaling * module.B.double() @ module.A.double()).numpy()
    return found


def assert_close(got, wanted, tolerance=2e-6):
    assert got.keys() == wanted.keys()
    for name, matrix in wanted.items():
        error = np.linalg.norm(got[name] - matrix)
        assert error <= tolerance * np.linalg.norm(matrix) + 1e-12, (name, error)


@pytest.fixture
def three(tmp_path):
    """Unlike ranks and scalings; the last one lacks a layer."""
    return [
        make_adapter(tmp_path / "a"),
        make_adapter(tmp_path / "b", seed=1, r=3, alpha=3),
        make_adapter(tmp_path / "c", dict(list(LAYERS.items())[:3]), seed=2, r=1, alpha=5),
    ]


# --- the formula ---------------------------------------------------------------------------------


def oracle(tensors):
    """arXiv:2405.17461 over several tensors: per member its delta in each of them.

    `tensors` is a list of dicts, name -> array, one dict for each member. Gives the scalars and
    the members' deltas.
    """
    names = sorted({name for mine in tensors for name in mine})
    unified, masks = {}, [{} for _ in tensors]
    for name in names:
        having = [mine[name] for mine in tensors if name in mine]
        sign = np.where(np.mean(having, axis=0) > 0, 1.0, -1.0)
        agree = [x * sign > 0 for x in having]
        unified[name] = sign * np.max([abs(x) * m for x, m in zip(having, agree)], axis=0)  # noqa: B905
        for mine, mask in zip(tensors, masks, strict=True):
            if name in mine:
                mask[name] = mine[name] * sign > 0
    scalars = []
    for mine, mask in zip(tensors, masks, strict=True):
        left = sum(np.abs(unified[name] * mask[name]).mean() for name in mine)
        own = sum(np.abs(mine[name]).mean() for name in mine)
        scalars.append(own / left if left > 0 else 0.0)
    kept = [
        {name: c * unified[name] * mask[name] for name in mask}
        for c, mask in zip(scalars, masks, strict=True)
    ]
    return scalars, kept


def bases(folders):
    """Layer -> the left singular vectors of all B side by side and of all A^T, in NumPy."""
    found = {}
    for name in sorted({name for folder in folders for name in open_adapter(str(folder)).layers}):
        modules = [
            (adapter.module(name), adapter.module(name).scaling)
            for adapter in map(open_adapter, map(str, folders))
            if name in adapter.layers
        ]
        Bs = np.hstack([scaling * m.B.double().numpy() for m, scaling in modules])
        As = np.vstack([m.A.double().numpy() for m, _ in modules])
        found[name] = tuple(leading(X) for X in (Bs, As.T))
    return found


def leading(X):
    U, S, _ = np.linalg.svd(X, full_matrices=False)
    return U[:, S > 1e-10 * S[0]]


@pytest.mark.parametrize("space", SPACES)
def test_members_equal_the_formula(tmp_path, three, space):
    family = family_of(tmp_path / "fam", *three, space=space)
    taus = [deltas_of(folder) for folder in three]
    if space == "core":
        UV = bases(three)
        inside = [{k: UV[k][0].T @ x @ UV[k][1] for k, x in mine.items()} for mine in taus]
        scalars, cores = oracle(inside)
        wanted = [{k: UV[k][0] @ x @ UV[k][1].T for k, x in mine.items()} for mine in cores]
    else:
        scalars, wanted = oracle(taus)

    got = [member.scalar for member in family.record.members]
    np.testing.assert_allclose(got, scalars, rtol=1e-5)
    for i, name in enumerate("abc"):
        # In delta space only the full rank holds a masked matrix.
        rank = "full" if space == "core" else 6
        take_member(family, name, tmp_path / f"taken {name}", rank=rank)
        assert_close(deltas_of(tmp_path / f"taken {name}"), wanted[i], 5e-6)
        missed = sum(np.square(wanted[i][k] - x).sum() for k, x in taus[i].items())
        norm = sum(np.square(x).sum() for x in taus[i].values())
        assert family.record.members[i].error == pytest.approx((missed / norm) ** 0.5, rel=1e-5)
        assert family.record.members[i].delta_norm == pytest.approx(norm**0.5, rel=1e-5)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("n", [1, 3])
def test_one_adapter_or_copies_come_back(tmp_path, space, n):
    folders = [make_adapter(tmp_path / f"m{i}", r=3) for i in range(n)]

    family = family_of(tmp_path / "fam", *folders, space=space)
    report = take_member(family, "m0", tmp_path / "out", rank="max")

    assert_close(deltas_of(tmp_path / "out"), deltas_of(folders[0]), 1e-6)
    assert report.rank == 3 and report.energy_kept_worst == pytest.approx(1.0, abs=1e-6)
    for member in family.record.members:
        assert member.scalar == pytest.approx(1.0, abs=1e-12)
        assert member.error == pytest.approx(0.0, abs=1e-6)


def test_members_that_share_nothing_come_back_whole(tmp_path):
    """In core space the zeros of one's core are noise, whose signs must not become a mask."""
    A, B = factors(r=2, seed=3), factors(r=2, seed=4)
    for name in LAYERS:
        A[a_of(name)][:, 3:], A[b_of(name)][2:] = 0, 0
        B[a_of(name)][:, :3], B[b_of(name)][:2] = 0, 0
    folders = [
        make_adapter(tmp_path / "a", extra=A),
        make_adapter(tmp_path / "b", extra=B, alpha=0.5),
    ]

    family = family_of(tmp_path / "fam", *folders)

    for name, folder in zip("ab", folders, strict=True):
        take_member(family, name, tmp_path / f"taken {name}")
        assert_close(deltas_of(tmp_path / f"taken {name}"), deltas_of(folder))


@pytest.mark.parametrize("space", SPACES)
def test_a_zero_adapter_gets_the_scalar_zero(tmp_path, space):
    zeros = {b_of(name): torch.zeros(d_out, 2) for name, (d_out, _) in LAYERS.items()}
    zero = make_adapter(tmp_path / "zero", extra=zeros, seed=5)
    other = make_adapter(tmp_path / "other")

    family = family_of(tmp_path / "fam", zero, other, space=space)
    report = take_member(family, "zero", tmp_path / "out", rank="energy=0.9")

    nothing, whole = family.record.members
    assert (nothing.scalar, nothing.error, nothing.delta_norm) == (0.0, None, 0.0)
    assert whole.scalar == pytest.approx(1.0)
    assert any("zero: nothing of it is left" in text for text in family.record.warnings)
    assert (report.energy_kept, report.worst_layer, report.norm) == (None, None, 0.0)
    assert all(not x.any() for x in deltas_of(tmp_path / "out").values())


@pytest.mark.parametrize("space", SPACES)
def test_a_family_of_zeros_has_nothing_and_says_so(tmp_path, space):
    zeros = {b_of(name): torch.zeros(d_out, 2) for name, (d_out, _) in LAYERS.items()}
    zero = make_adapter(tmp_path / "zero", extra=zeros)

    family = family_of(tmp_path / "fam", zero, space=space)

    for k, rank in enumerate(("full", "max", 1, "energy=0.5")):
        take_member(family, "zero", tmp_path / f"out{k}", rank=rank)
        assert all(not x.any() for x in deltas_of(tmp_path / f"out{k}").values())


def test_a_layer_that_an_adapter_lacks_stays_out_of_its_member(tmp_path, three):
    family = family_of(tmp_path / "fam", *three)

    take_member(family, "c", tmp_path / "out")

    assert deltas_of(tmp_path / "out").keys() == deltas_of(three[2]).keys()
    assert family.record.members[2].layers == 3
    assert any("lacks 1 of 4 layers" in text for text in family.record.warnings)


def test_lora_biases_are_tensors_of_their_own(tmp_path):
    bias = {f"{PREFIX}{Q0}.lora_B.bias": torch.arange(8.0) - 3}
    a = make_adapter(tmp_path / "a", extra=bias, lora_bias=True)
    b = make_adapter(tmp_path / "b", seed=1)

    family = family_of(tmp_path / "fam", a, b)

    for name, wanted in (("a", 2 * (torch.arange(8.0) - 3)), ("b", torch.zeros(8))):
        take_member(family, name, tmp_path / f"taken {name}")
        taken = load_file(tmp_path / f"taken {name}" / "adapter_model.safetensors")
        scalar = family.record.members["ab".index(name)].scalar
        torch.testing.assert_close(taken[f"{PREFIX}{Q0}.lora_B.bias"], scalar * wanted)


def test_a_member_has_a_card_of_its_own(tmp_path, three):
    for path in three:
        (path / "README.md").write_text("---\nlicense: mit\n---\n")
    family = family_of(tmp_path / "fam", *three)

    take_member(family, "b", tmp_path / "out", rank=1)

    content = (tmp_path / "out" / "README.md").read_text()
    card = ModelCard(content)
    assert is_own(content)
    assert card.data.base_model == "org/tiny-base" and card.data.license == "mit"
    assert card.data.tags == [
        "lora",
        "peft",
        "copamerge",
        "emr",
        "base_model:adapter:org/tiny-base",
    ]
    assert card.text.lstrip().startswith("# b, from a family of 3 LoRA adapters")
    for member in family.record.members:
        assert all(digest in card.text for digest in member.sha256.values())
    assert "copamerge family take FAMILY b -o OUT --rank 1 --dtype float32" in card.text


# --- PEFT is the judge ---------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(6, 8)
        self.conv = nn.Conv2d(3, 4, 3)
        self.emb = nn.Embedding(11, 6)


def peft_adapter(path, seed, r):
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=r, lora_alpha=3, target_modules=["lin", "conv", "emb"], init_lora_weights=False
    )
    model = peft.get_peft_model(Net(), config)
    model.save_pretrained(path)
    return path


def peft_deltas(path):
    model = peft.PeftModel.from_pretrained(Net(), path)
    base = model.base_model.model
    parts = {name: getattr(base, name) for name in ("lin", "conv", "emb")}
    return {name: part.get_delta_weight("default").detach() for name, part in parts.items()}


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore:Could not find a config file")
@pytest.mark.parametrize("space", SPACES)
def test_peft_loads_a_member_as_scalar_times_mask_times_unified(tmp_path, space):
    folders = [peft_adapter(tmp_path / name, seed, seed + 2) for seed, name in enumerate("ab")]
    family = family_of(tmp_path / "fam", *folders, space=space)
    shared, masks = load_file(tmp_path / "fam" / SHARED), load_file(tmp_path / "fam" / MASKS)

    for i, name in enumerate("ab"):
        rank = "full" if space == "core" else 99
        take_member(family, name, tmp_path / f"taken {name}", rank=rank)
        got = peft_deltas(tmp_path / f"taken {name}")
        for layer, delta in got.items():
            unified = shared[f"{layer}.unified"].numpy()
            bits = np.unpackbits(masks[f"{layer}.mask"][i].numpy())[: unified.size]
            wanted = family.record.members[i].scalar * bits.reshape(unified.shape) * unified
            if space == "core":
                U, V = shared[f"{layer}.U"].numpy(), shared[f"{layer}.V"].numpy()
                wanted = U @ wanted @ V.T
            # PEFT shows an embedding's delta as its weight is stored: rows are words.
            matrix = delta.T if layer == "emb" else delta.flatten(1)
            np.testing.assert_allclose(matrix.numpy(), wanted, atol=2e-5)


@pytest.mark.parametrize("space", SPACES)
def test_real_adapters_become_a_family_and_come_back(tmp_path, space):
    if not REAL.is_dir():
        pytest.skip(f"no real adapters: {REAL} is absent (it is not part of the project)")
    folders = [REAL / name for name in ("legal", "medical", "sports")]

    family = family_of(tmp_path / "fam", *folders, space=space)
    report = take_member(family, "legal", tmp_path / "out")

    member = family.record.members[0]
    got, wanted = deltas_of(tmp_path / "out"), deltas_of(folders[0])
    missed = sum(np.square(got[name] - x).sum() for name, x in wanted.items()) ** 0.5
    if space == "core":
        assert report.energy_kept == pytest.approx(1.0, abs=1e-9)
        assert missed / member.delta_norm == pytest.approx(member.error, rel=1e-4)
        assert family.record.storage.masks < 20_000
    else:
        assert 0.9 < report.energy_kept < 1.0
    assert 0.3 < member.error < 0.7


# --- what is stored ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (8,), (3, 3), (5, 8), (7, 2)])
def test_masks_survive_being_packed(shape):
    masks = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)) < 0.5

    bits = packed(masks)

    assert bits.dtype == torch.uint8 and bits.shape == (3, -(-masks[0].numel() // 8))
    assert all(torch.equal(unpacked(bits[i], shape), masks[i]) for i in range(3))


def test_bits_are_where_the_format_says():
    mask = torch.zeros(1, 2, 5, dtype=torch.bool)
    mask[0, 0, 0] = mask[0, 1, 4] = True

    assert packed(mask).tolist() == [[0b1000_0000, 0b0100_0000]]


@pytest.mark.parametrize("space", SPACES)
def test_storage_is_what_lies_on_disk(tmp_path, three, space):
    out = tmp_path / "fam"
    record = family_of(out, *three, space=space).record

    assert sorted(path.name for path in out.iterdir()) == [RECORD, MASKS, SHARED]
    assert record.storage.shared == (out / SHARED).stat().st_size
    assert record.storage.masks == (out / MASKS).stat().st_size
    assert record.storage.scalars == 8 * 3
    weights = [path / "adapter_model.safetensors" for path in three]
    assert record.storage.adapters == sum(path.stat().st_size for path in weights)
    for member, path in zip(record.members, weights, strict=True):
        assert member.sha256["adapter_model.safetensors"] == sha256_of(path)
    masked = sum(int(np.unpackbits(bits.numpy()).sum()) for bits in load_file(out / MASKS).values())
    assert masked == sum(member.masked for member in record.members)


def test_the_same_adapters_give_the_same_bytes(tmp_path, three):
    family_of(tmp_path / "one", *three)
    family_of(tmp_path / "other", *three)

    assert tree(tmp_path / "one") == tree(tmp_path / "other")


def test_half_precision_is_rounding_and_is_told(tmp_path, three):
    exact = family_of(tmp_path / "f", *three, dtype="auto")
    half = family_of(tmp_path / "h16", *three, dtype="bfloat16")

    assert exact.record.dtype == "float32" and exact.record.rounding < 1e-7
    assert 1e-4 < half.record.rounding < 4e-3
    # Headers are the same; of the numbers half is left.
    assert half.record.storage.shared < exact.record.storage.shared
    for family in (exact, half):
        take_member(family, "a", tmp_path / f"taken {family.record.dtype}")
    near = deltas_of(tmp_path / "taken bfloat16")
    assert_close(near, deltas_of(tmp_path / "taken float32"), 2e-2)


def test_values_that_a_type_cannot_hold_are_refused(tmp_path, untouched):
    a = make_adapter(tmp_path / "a", alpha=1e6)
    untouched()

    with pytest.raises(CopamergeError, match=r"unified: values do not fit float16; choose --dtype"):
        family_of(tmp_path / "fam", a, dtype="float16")


# --- taking --------------------------------------------------------------------------------------


def test_a_rank_that_truncates_says_what_it_keeps(tmp_path, three):
    family = family_of(tmp_path / "fam", *three)
    take_member(family, "a", tmp_path / "whole")
    whole = deltas_of(tmp_path / "whole")

    report = take_member(family, "a", tmp_path / "cut", rank=1)

    cut = deltas_of(tmp_path / "cut")
    kept = {name: np.square(cut[name]).sum() / np.square(x).sum() for name, x in whole.items()}
    total = sum(np.square(x).sum() for x in whole.values())
    assert report.energy_kept_worst == pytest.approx(min(kept.values()), rel=1e-5)
    assert report.worst_layer == min(kept, key=kept.get)
    written = sum(np.square(x).sum() for x in cut.values())
    assert report.energy_kept == pytest.approx(written / total, rel=1e-5)
    assert report.norm == pytest.approx(written**0.5, rel=1e-5)


def test_energy_is_the_smallest_rank_that_keeps_it_in_every_layer(tmp_path, three):
    family = family_of(tmp_path / "fam", *three)

    report = take_member(family, "a", tmp_path / "out", rank="energy=0.9")

    assert report.energy_kept_worst >= 0.9
    below = take_member(family, "a", tmp_path / "below", rank=report.rank - 1)
    assert below.energy_kept_worst < 0.9


def test_a_taken_adapter_has_one_rank_and_scaling_one(tmp_path, three):
    family = family_of(tmp_path / "fam", *three)

    report = take_member(family, "b", tmp_path / "out", dtype="bfloat16")

    adapter = open_adapter(str(tmp_path / "out"))
    assert {(x.rank, x.scaling, x.dtype) for x in adapter.layers.values()} == {
        (report.rank, 1.0, "bfloat16")
    }
    assert adapter.base_model == "org/tiny-base" and report.rounding_worst < 4e-3
    told = json.loads((tmp_path / "out" / "take.json").read_text())
    assert told == report.model_dump(mode="json")


def test_what_cannot_be_taken_is_said_at_once(tmp_path, three, untouched):
    family = family_of(tmp_path / "fam", *three)
    untouched()

    with pytest.raises(RecipeError) as error:
        take_member(family, "d", tmp_path / "fam" / "out", rank="many", dtype="float61")

    told = "\n".join(error.value.problems)
    assert "no member 'd'; there are: a, b, c" in told
    assert "--rank: expected full, max, a whole number or energy=SHARE (got 'many')" in told
    assert "--dtype" in told and "did you mean 'float16'" in told
    assert "lies in the family" in told
    with pytest.raises(OutputError, match="already exists; choose another output"):
        take_member(family, "a", three[0])


# --- what is refused -----------------------------------------------------------------------------


def test_what_a_plan_refuses_is_said_at_once(tmp_path, three):
    with pytest.raises(PlanError) as error:
        family_plan(
            [str(tmp_path / "nowhere"), str(three[0])],
            names=["x/y", "x/y"],
            space="cor",
            dtype="float64",
            modules_to_save="mean",
            base_model="org/else",
        )

    told = "\n".join(error.value.problems)
    for part in (
        "no such file or folder",
        "member 'x/y': a name has letters",
        "member 'x/y': two adapters have this name; rename one",
        "--space: expected one of core, delta (got 'cor'); did you mean 'core'?",
        "--dtype: expected one of float32",
        "--modules-to-save: expected one of error, drop (a family holds no full tensors)",
        "org/else",
    ):
        assert part in told


def test_names_by_default_are_those_of_the_folders(tmp_path, three):
    twin = make_adapter(tmp_path / "other" / "a")

    assert family_plan([str(path) for path in three]).names == ("a", "b", "c")
    with pytest.raises(PlanError, match="two adapters have this name; name the members by --names"):
        family_plan([str(three[0]), str(twin)])
    with pytest.raises(PlanError, match="--names: 1 given for 2 adapters"):
        family_plan([str(three[0]), str(twin)], names=["a"])


@pytest.mark.parametrize("n", [1, 2])
def test_full_tensors_are_an_error_or_left_out(tmp_path, n):
    head = {f"{PREFIX}head.weight": torch.ones(2, 2)}
    biased = {f"{PREFIX}{Q0}.bias": torch.ones(8)}
    folders = [
        make_adapter(tmp_path / "a", extra=head | biased, modules_to_save=["head"], bias="all"),
        make_adapter(tmp_path / "b", seed=1),
    ][:n]

    with pytest.raises(PlanError) as error:
        family_of(tmp_path / "fam", *folders)
    told = "\n".join(error.value.problems)
    assert "(head.weight), which a family does not hold; --modules-to-save drop" in told
    assert f"({Q0}.bias), which a family does not hold; --bias drop" in told

    family = family_of(tmp_path / "fam", *folders, modules_to_save="drop", bias="drop")
    assert set(family.record.members[0].dropped) == set(head | biased)
    assert any("full tensors left out" in text for text in family.record.warnings)
    take_member(family, "a", tmp_path / "out")
    assert not open_adapter(str(tmp_path / "out")).saved


def test_nan_is_refused_and_leaves_nothing(tmp_path, three, untouched):
    broken = make_adapter(tmp_path / "nan", extra={a_of(Q0): torch.full((2, 6), torch.nan)})
    untouched()

    with pytest.raises(AdapterError, match="has 12 NaN values"):
        family_of(tmp_path / "fam", three[0], broken)


def test_an_output_in_an_adapter_is_refused(three):
    with pytest.raises(OutputError, match="lies in the input"):
        family_of(three[0] / "fam", *three)
    with pytest.raises(OutputError, match="already exists; choose another output"):
        make_family(family_plan([str(three[0])]), three[1], device=CPU)


def _edited(folder, **changes):
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, **changes}))


def _cut(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-5])


def _flip(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)


def _retyped(folder, name, change):
    save_file({k: change(v) for k, v in load_file(folder / name).items()}, folder / name)


def _without_first(folder, name):
    tensors = load_file(folder / name)
    del tensors[min(tensors)]
    save_file(tensors, folder / name)


def _stray_member(folder):
    layers = json.loads((folder / RECORD).read_text())["layers"]
    layers[0]["members"] = [0, 7]
    _edited(folder, layers=layers)


DAMAGE = {
    "another format": (lambda f: _edited(f, format=2), "its format is 2, and this copamerge reads"),
    "no format": (lambda f: (f / RECORD).write_text("[]"), "its format is None"),
    "no JSON": (lambda f: _cut(f, RECORD), "damaged (not valid JSON)"),
    "NaN": (lambda f: (f / RECORD).write_text('{"format": NaN}'), "damaged (not valid JSON)"),
    "bytes": (lambda f: (f / RECORD).write_bytes(b"\xff\xfe"), "damaged (not valid JSON)"),
    "a field of another type": (lambda f: _edited(f, space="cor"), "space: input should be"),
    "a stranger's field": (lambda f: _edited(f, spice=1), "spice: extra inputs are not"),
    "no members": (lambda f: _edited(f, members=[]), "members: "),
    "a member that is not there": (_stray_member, "names members that are not there"),
    "no record": (lambda f: (f / RECORD).unlink(), "not a family (no family.json in it)"),
    "truncated": (lambda f: _cut(f, SHARED), "truncated: "),
    "empty": (lambda f: (f / MASKS).write_bytes(b""), "the file is empty"),
    "a flipped bit of a mask": (lambda f: _flip(f, MASKS), "another SHA-256"),
    "a flipped bit of what is shared": (lambda f: _flip(f, SHARED), "another SHA-256"),
    "masks lost": (lambda f: (f / MASKS).unlink(), "masks.safetensors: is missing"),
    "a tensor lost": (lambda f: _without_first(f, SHARED), "lacks tensor"),
    "another type": (lambda f: _retyped(f, SHARED, torch.Tensor.half), "or of another type"),
    "another shape": (lambda f: _retyped(f, MASKS, lambda x: x[:, :1].clone()), ", not ("),
}


@pytest.mark.parametrize("damage, told", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_family_is_refused(tmp_path, three, damage, told):
    family_of(tmp_path / "fam", *three)
    damage(tmp_path / "fam")

    with pytest.raises(AdapterError) as error:
        open_family(tmp_path / "fam")

    assert told in str(error.value) and str(tmp_path / "fam") in str(error.value)


def test_what_is_no_folder_is_no_family(tmp_path):
    with pytest.raises(AdapterError, match="no such folder; give a folder that"):
        open_family(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterError, match="is a file; give a folder that"):
        open_family(tmp_path / "file")
