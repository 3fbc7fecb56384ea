"""Every damaged or hostile adapter is refused in words, and nothing else happens."""

import pickle
import random

import pytest
import torch
from hostile import ATTACKS, MARKER

import copamerge
from copamerge.errors import AdapterError, CopamergeError, PlanError, RecipeError
from copamerge.io import open_adapter
from makers import LAYERS, PREFIX, Q0, b_of, factors, make_adapter, save_tensors

ONLY_TOGETHER = ("other_shape", "other_kind", "other_base", "full_modules")
"""Bad beside another adapter, not alone."""


@pytest.fixture(params=[pytest.param(attack, id=name) for name, attack in ATTACKS.items()])
def attack(request):
    return request.param


@pytest.fixture
def pair(tmp_path, attack):
    good, bad = make_adapter(tmp_path / "good", seed=1), tmp_path / "bad"
    attack.make(bad)
    return good, bad


def test_merge_refuses_it_and_leaves_nothing(tmp_path, pair, attack, copamerge_cli, untouched):
    untouched()

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "new" / "out")

    assert ran.code == 2 and ran.out == ""
    _told(ran.err, attack, tmp_path)
    assert not (tmp_path / MARKER).exists()


def test_inspect_says_it_too(tmp_path, pair, attack, copamerge_cli, untouched):
    untouched()

    ran = copamerge_cli("inspect", *pair)

    assert ran.code == 2
    _told(ran.err, attack, tmp_path)
    assert not (tmp_path / MARKER).exists()


def test_diff_refuses_what_is_broken_alone(
    tmp_path, pair, attack, request, copamerge_cli, untouched
):
    untouched()

    ran = copamerge_cli("diff", *pair)

    # An option it does not know changes no number, and a target without tensors has none.
    if request.node.callspec.id in (*ONLY_TOGETHER, "unknown_option", "target_without_tensors"):
        assert ran.code == 0 and ran.out
    else:
        assert ran.code == 2 and ran.out == ""
        _told(ran.err, attack, tmp_path)
    assert not (tmp_path / MARKER).exists()


def test_python_raises_one_error(tmp_path, pair, attack, untouched):
    untouched()

    with pytest.raises((AdapterError, PlanError)) as caught:
        copamerge.merge(pair)

    assert all(text in str(caught.value) for text in attack.told)
    assert not (tmp_path / MARKER).exists()


def _told(err, attack, tmp_path):
    lines = err.splitlines()
    assert lines and all(line.startswith("error: ") for line in lines), err
    assert all(str(tmp_path / "bad") in line for line in lines), err
    assert all(text in err for text in attack.told), err
    assert "Traceback" not in err and len(lines) <= 8


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in ONLY_TOGETHER])
def test_alone_it_is_refused_as_well(tmp_path, name):
    ATTACKS[name].make(tmp_path / "bad")

    with pytest.raises(CopamergeError):
        copamerge.merge([tmp_path / "bad"])


def test_all_bad_adapters_and_options_are_told_in_one_run(tmp_path, copamerge_cli, untouched):
    good = make_adapter(tmp_path / "good")
    other = make_adapter(tmp_path / "other", base_model_name_or_path="org/other-base")
    ATTACKS["truncated_safetensors"].make(tmp_path / "torn")
    ATTACKS["prompt_tuning"].make(tmp_path / "prompt")
    (tmp_path / "out").mkdir()
    untouched()

    ran = copamerge_cli(
        "merge", good, tmp_path / "torn", tmp_path / "prompt", other, "-o", tmp_path / "out",
        "-m", "ties", "--set", "density=1.5", "--set", "sgin=drop", "--rank", "many",
        "--device", "tpu",
    )  # fmt: skip

    assert ran.code == 2
    told = ran.err.splitlines()
    for text in (
        "out: already exists",
        "device: 'tpu'",
        "method.density",
        "method.sgin: ties has no option 'sgin'; did you mean 'sign'?",
        "--rank: expected full, max",
        "torn/adapter_model.safetensors: truncated",
        "prompt/adapter_config.json: peft_type is 'PROMPT_TUNING'",
        "'org/other-base'",
    ):
        assert any(text in line for line in told), (text, ran.err)
    assert len(told) == 8


# --- suspicious, but mergeable: warnings ---------------------------------------------------------


def test_an_untrained_adapter_is_named(tmp_path, copamerge_cli):
    good = make_adapter(tmp_path / "good")
    zero = make_adapter(
        tmp_path / "zero", extra={b_of(n): torch.zeros(d, 2) for n, (d, _) in LAYERS.items()}
    )

    merged = copamerge_cli("merge", good, zero, "-o", tmp_path / "out")
    inspected = copamerge_cli("inspect", good, zero)

    for ran, called in ((merged, zero), (inspected, "zero")):
        assert ran.code == 0
        assert f"warning: {called}: its delta is zero in every layer" in ran.err
    assert "methods that average or normalise over adapters" in merged.err
    assert "leave it out or give it weight 0" in merged.err


def test_two_copies_of_one_adapter_are_named(tmp_path, copamerge_cli):
    one, two = make_adapter(tmp_path / "one"), make_adapter(tmp_path / "two", lora_dropout=0.1)

    merged = copamerge_cli("merge", one, two, "-o", tmp_path / "out")
    inspected = copamerge_cli("inspect", one, two)

    for ran, called in ((merged, two), (inspected, "two")):
        assert ran.code == 0
        assert f"warning: {called}: byte for byte the same weights as" in ran.err


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda x: x, "beside it holds the same tensors"),
        (lambda x: x + 1, "beside it disagrees in 8 of 8 tensors (first: "),
        (lambda x: x[:1], "beside it disagrees in 8 of 8 tensors (first: "),
    ],
)
def test_bin_beside_safetensors_is_compared_and_the_used_one_named(
    tmp_path, copamerge_cli, change, said
):
    both = make_adapter(tmp_path / "both")
    save_tensors(both, {name: change(x) for name, x in factors().items()}, "bin")
    plain = make_adapter(tmp_path / "plain")

    for ran in (
        copamerge_cli("merge", both, "-o", tmp_path / "out"),
        copamerge_cli("inspect", both),
    ):
        assert ran.code == 0
        assert "adapter_model.safetensors is used; adapter_model.bin " + said in ran.err + ran.out
    assert _weights(tmp_path / "out") == _weights_of_merge(plain, tmp_path / "again")


def test_torch_says_nothing_of_its_own_about_a_pickle(tmp_path, recwarn):
    path = make_adapter(tmp_path / "bad", weights="bin")
    (path / "adapter_model.bin").write_bytes(pickle.dumps(factors(), protocol=4))

    with pytest.raises(AdapterError, match=r"adapter_model\.bin"):
        copamerge.merge([path])

    assert not recwarn.list


def test_what_torch_says_of_a_torn_file_is_a_whole_sentence(tmp_path):
    ATTACKS["truncated_bin"].make(tmp_path / "bad")

    with pytest.raises(
        AdapterError, match=r"failed finding central directory\); download it again"
    ):
        copamerge.merge([tmp_path / "bad"])


def test_a_bin_beside_that_cannot_be_read_is_named(tmp_path, copamerge_cli):
    both = make_adapter(tmp_path / "both")
    (both / "adapter_model.bin").write_bytes(b"torn")

    ran = copamerge_cli("merge", both, "-o", tmp_path / "out")

    assert ran.code == 0
    assert (
        "adapter_model.bin beside adapter_model.safetensors cannot be read and is not used"
        in ran.err
    )


def _weights(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


def _weights_of_merge(adapter, out):
    copamerge.merge([adapter]).save_pretrained(out)
    return _weights(out)


# --- full tensors --------------------------------------------------------------------------------


def _headed(path, head, seed):
    extra = {f"{PREFIX}lm_head.weight": head}
    return make_adapter(path, extra=extra, seed=seed, modules_to_save=["lm_head"])


def test_heads_of_unlike_shape_have_no_mean(tmp_path, copamerge_cli, untouched):
    one = _headed(tmp_path / "one", torch.ones(4, 6), seed=0)
    two = _headed(tmp_path / "two", torch.ones(3, 6), seed=1)
    untouched()

    ran = copamerge_cli("merge", one, two, "-o", tmp_path / "out", "--modules-to-save", "mean")

    assert ran.code == 2
    assert f"'lm_head.weight' has no mean: it is (4, 6) in {one}, (3, 6) in {two}" in ran.err
    assert "--modules-to-save first or drop" in ran.err


def test_weights_that_cancel_have_no_mean(tmp_path, copamerge_cli, untouched):
    one = _headed(tmp_path / "one", torch.ones(4, 6), seed=0)
    two = _headed(tmp_path / "two", torch.ones(4, 6), seed=1)
    untouched()

    ran = copamerge_cli(
        "merge", one, two, "-o", tmp_path / "out", "-m", "task_arithmetic",
        "--modules-to-save", "mean", "--weights", 1, -1,
    )  # fmt: skip

    assert ran.code == 2 and "add up to 0" in ran.err


@pytest.mark.parametrize("policy", ["mean", "first"])
def test_nan_in_a_head_is_named(tmp_path, copamerge_cli, untouched, policy):
    head = torch.ones(4, 6)
    head[0, 0] = float("nan")
    bad = _headed(tmp_path / "bad", head, seed=0)
    good = _headed(tmp_path / "good", torch.ones(4, 6), seed=1)
    untouched()

    said = f"{bad}: tensor '{PREFIX}lm_head.weight' has 1 NaN values of 24"
    ran = copamerge_cli("merge", bad, good, "-o", tmp_path / "out", "--modules-to-save", policy)
    assert ran.code == 2 and said in ran.err and "--modules-to-save drop" in ran.err
    assert said in copamerge_cli("inspect", bad).err
    with pytest.raises(AdapterError, match="1 NaN"):
        copamerge.merge([bad, good], modules_to_save=policy).state_dict()


def test_a_mean_that_cancels_under_the_method_mean(tmp_path, copamerge_cli, untouched):
    one, two = make_adapter(tmp_path / "one"), make_adapter(tmp_path / "two", seed=1)
    untouched()

    ran = copamerge_cli("merge", one, two, "-o", tmp_path / "out", "-m", "mean", "--weights", 1, -1)

    assert ran.code == 2 and ran.err.startswith("error: ") and "0" in ran.err


# --- names that are hostile to a terminal --------------------------------------------------------


def test_names_from_a_file_cannot_steer_the_terminal(tmp_path, copamerge_cli):
    layer = "model.\x1b]0;owned\x07.q_proj"
    evil = make_adapter(
        tmp_path / "evil", {layer: (4, 6)}, base_model_name_or_path="org/\x1b[31mred"
    )

    for ran in (
        copamerge_cli("inspect", evil),
        copamerge_cli("merge", evil, "-o", tmp_path / "out"),
        copamerge_cli("merge", evil, make_adapter(tmp_path / "good"), "-o", tmp_path / "out2"),
    ):
        assert "\x1b" not in ran.out + ran.err and "\x07" not in ran.out + ran.err


@pytest.mark.parametrize("name", ["run[1]", "[bold]", "a:smile:b", "mit Leerzeichen", "ü", "{x}"])
def test_any_folder_name_is_shown_as_it_is(tmp_path, copamerge_cli, name):
    adapter = make_adapter(tmp_path / name)
    other = make_adapter(tmp_path / "other", seed=1)

    ran = copamerge_cli("merge", adapter, other, "-o", tmp_path / "out" / name)
    inspected = copamerge_cli("inspect", adapter, other)

    assert ran.code == 0 and f"wrote {tmp_path / 'out' / name}" in ran.out
    assert name in ran.out.split("wrote")[0]
    assert name in inspected.out


@pytest.mark.parametrize("alpha", ["nan", "inf"])
def test_alpha_on_the_command_line_is_finite(tmp_path, copamerge_cli, alpha):
    ATTACKS["weights_without_config"].make(tmp_path / "bare")

    for words in (
        ("merge", tmp_path / "bare", "-o", tmp_path / "out"),
        ("inspect", tmp_path / "bare"),
    ):
        ran = copamerge_cli(*words, "--alpha", alpha)
        assert ran.code == 2 and "expected a finite number" in ran.err


def test_alpha_that_is_not_used_is_said(tmp_path, copamerge_cli):
    adapter = make_adapter(tmp_path / "a")

    ran = copamerge_cli("merge", adapter, "-o", tmp_path / "out", "--alpha", 16)

    assert ran.code == 0 and "--alpha 16 is not used" in ran.err


def test_huge_values_end_in_a_sentence(tmp_path, copamerge_cli, untouched):
    big = {name: x * 1e20 for name, x in factors().items()}
    one, two = make_adapter(tmp_path / "one", extra=big), make_adapter(tmp_path / "two", seed=1)
    untouched()

    ran = copamerge_cli("merge", one, two, "-o", tmp_path / "out")

    assert ran.code == 2 and ran.err.startswith("error: layer") and "float32" in ran.err


def test_a_weight_beyond_float32_ends_in_a_sentence(tmp_path, copamerge_cli):
    one, two = make_adapter(tmp_path / "one"), make_adapter(tmp_path / "two", seed=1)

    ran = copamerge_cli("merge", one, two, "-o", tmp_path / "out", "--weights", "1e308", "1")

    assert ran.code == 2 and "float32" in ran.err
    assert not (tmp_path / "out").exists()


def test_recipe_errors_are_value_errors():
    with pytest.raises(ValueError):
        copamerge.merge(["a"], "tis")
    assert issubclass(RecipeError, CopamergeError) and Q0 in factors.__defaults__[0]


# --- damage of no particular kind ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["safetensors", "bin", "legacy"])
def test_damage_anywhere_ends_in_a_sentence_or_in_an_adapter(tmp_path, kind):
    path = make_adapter(tmp_path / "a", weights="safetensors" if kind == "safetensors" else "bin")
    (file,) = path.glob("adapter_model.*")
    if kind == "legacy":
        torch.save(factors(), file, _use_new_zipfile_serialization=False)
    whole, rng = file.read_bytes(), random.Random(0)
    damaged = [whole[: len(whole) * i // 40] for i in range(40)]
    for _ in range(120):
        copy = bytearray(whole)
        copy[rng.randrange(min(len(copy), 1200))] = rng.randrange(256)
        damaged.append(bytes(copy))

    for content in damaged:
        file.write_bytes(content)
        try:
            adapter = open_adapter(str(path))
            for layer in adapter.layers:
                adapter.module(layer)
        except AdapterError as error:
            assert error.problems and all(str(path) in line for line in error.problems)
