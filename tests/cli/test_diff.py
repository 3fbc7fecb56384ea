"""`copamerge diff`: its screen, its JSON, its exit codes, and what it says of bad input."""

import json
import re
from pathlib import Path

import pytest
import torch
from rich.cells import cell_len

from makers import LAYERS, PREFIX, Q0, b_of, make_adapter

ADAPTERS = Path(__file__).parents[3] / "shared" / "adapters"


@pytest.fixture
def pair(tmp_path):
    return make_adapter(tmp_path / "legal"), make_adapter(tmp_path / "sports", seed=1, alpha=8)


def test_the_verdict_comes_first_and_the_tables_after_it(copamerge_cli, pair, untouched):
    untouched()

    ran = copamerge_cli("diff", *pair, "-n", 3)

    assert ran.code == 0 and ran.err == ""
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert "cosine of the deltas" in " ".join(lines[:3])
    titles = ["all 4 shared layers", "by module", "by block", "layers that differ most"]
    places = [next(i for i, x in enumerate(lines) if x.startswith(title)) for title in titles]
    assert places == sorted(places)
    assert any(line.startswith("first   legal: 4 layers, rank 2, float32") for line in lines)
    assert "Names begin after model.layers." in ran.out
    assert "  and 1 more: -n 0" in lines
    assert "scaling: 2 | 4" in ran.out and "lora_alpha: 4 | 8" in ran.out
    assert "nan" not in ran.out


def test_all_layers_by_zero(copamerge_cli, pair):
    ran = copamerge_cli("diff", *pair, "--layers", 0)

    assert all(f"  {name.removeprefix('model.layers.')} " in ran.out for name in LAYERS)
    assert "-n 0" not in ran.out


def test_the_numbers_on_the_screen_are_those_of_the_json(copamerge_cli, pair):
    whole = json.loads(copamerge_cli("diff", *pair, "--json").out)["whole"]

    line = next(x for x in copamerge_cli("diff", *pair).out.splitlines() if x.startswith("all 4"))

    names = ("relative_distance", "cosine", "multiple", "remainder", "input_overlap")
    told = [float(cell) for cell in line.split()[5:10]]
    assert told == [pytest.approx(whole[name], rel=0.01, abs=0.005) for name in names]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_screen_of_a_large_model_fits(copamerge_cli, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    layers = {
        f"base_model.language_model.layers.{i}.self_attn.{name}_proj": (4, 3)
        for i in range(40)
        for name in "qkvo"
    }
    paths = [make_adapter(tmp_path / name, layers, seed=i) for i, name in enumerate("ab")]

    ran = copamerge_cli("diff", *paths)

    lines = ran.out.splitlines()
    assert max(map(cell_len, lines)) <= columns and len(lines) < 55
    assert "  0 to 3 " in ran.out and "  36 to 39 " in ran.out
    assert re.search(r"^  \d+\.self_attn\.\w_proj ", ran.out, re.MULTILINE)


def test_names_that_are_too_long_keep_their_end(copamerge_cli, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    layers = {
        f"{part}_blocks.{i}.attentions.{k}.transformer_blocks.0.attn1.to_{name}": (4, 3)
        for part in ("down", "up")
        for i in range(4)
        for k in range(2)
        for name in "qk"
    }
    paths = [make_adapter(tmp_path / name, layers, seed=i) for i, name in enumerate("ab")]

    ran = copamerge_cli("diff", *paths, "-n", 0)

    assert max(map(cell_len, ran.out.splitlines())) <= 82
    assert re.search(r"^  (down|up)_blocks\.\d…0\.attn1\.to_[qk] ", ran.out, re.MULTILINE)
    assert "  down_blocks.3 x2 " in ran.out and "  up_blocks.3 x2 " in ran.out


def test_the_same_adapter_needs_no_table(copamerge_cli, pair):
    ran = copamerge_cli("diff", pair[0], pair[0], "--exit-code")

    assert ran.code == 0
    assert ran.out.splitlines()[0] == "The same files, byte for byte."
    assert "by block" not in ran.out


def test_the_exit_code_tells_on_request(copamerge_cli, tmp_path, pair):
    other = make_adapter(tmp_path / "other", lora_dropout=0.1)

    assert copamerge_cli("diff", *pair).code == 0
    assert copamerge_cli("diff", *pair, "--exit-code").code == 1
    assert copamerge_cli("diff", *pair, "--exit-code", "--json").code == 1
    # Only its config is another, in a field that changes nothing.
    assert copamerge_cli("diff", pair[0], other, "--exit-code").code == 0


def test_what_is_not_shared_is_named(copamerge_cli, tmp_path):
    heads = {f"{PREFIX}{name}.weight": torch.ones(2, 3) for name in ("head", "mine")}
    layers = {**LAYERS, "model.layers.2.self_attn.q_proj": (8, 6)}
    a = make_adapter(tmp_path / "a", layers, extra=heads, modules_to_save=["head", "mine"])
    heads = {f"{PREFIX}head.weight": 2 * torch.ones(2, 3)}
    b = make_adapter(tmp_path / "b", {**LAYERS, Q0: (9, 6)}, extra=heads, modules_to_save=["head"])

    out = " ".join(copamerge_cli("diff", a, b).out.split())

    assert "only in the first 1 layer, norm" in out and "model.layers.2.self_attn.q_proj" in out
    assert f"unlike shapes 1 layer: {Q0} (8x6 linear and 9x6 linear)" in out
    assert "full tensors 1 differ: head.weight 0.5; 1 only in the first: mine.weight" in out


@pytest.mark.parametrize("count", [1, 3])
def test_two_adapters_no_more_no_fewer(copamerge_cli, pair, count):
    ran = copamerge_cli("diff", *(list(pair) * 2)[:count])

    assert ran.code == 2 and ran.out == ""
    assert f"diff takes two adapters and got {count}" in ran.err and "inspect" in ran.err


def test_all_problems_of_both_adapters_are_told(copamerge_cli, tmp_path, pair, untouched):
    bad = make_adapter(tmp_path / "bad", extra={b_of(Q0): torch.full((8, 2), torch.inf)})
    cut = make_adapter(tmp_path / "cut")
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-20])
    untouched()

    ran = copamerge_cli("diff", bad, cut, "--json")

    assert ran.code == 2 and ran.out == ""
    assert b_of(Q0) in ran.err and "16 infinite values" in ran.err and "truncated" in ran.err


def test_names_from_a_file_cannot_steer_the_terminal(copamerge_cli, tmp_path):
    evil = "h.\x1b[2J.q_proj"
    made = {
        name: make_adapter(tmp_path / name, {evil: (4, 3)}, seed=i) for i, name in enumerate("ab")
    }
    bad = make_adapter(
        tmp_path / "c",
        {"other": (4, 3)},
        task_type="\x1b]0;x\x07" * 30,
        extra={f"{PREFIX}\x1b[1m.weight": torch.ones(2)},
    )

    for pair in ((made["a"], made["b"]), (made["a"], bad)):
        ran = copamerge_cli("diff", *pair)
        assert ran.code == 0 and "\x1b" not in ran.out + ran.err and "\x07" not in ran.out


def test_ctrl_c_is_not_a_traceback(copamerge_cli, pair, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("copamerge.difference.compare.likeness_of", interrupt)

    ran = copamerge_cli("diff", *pair, "--json")

    assert ran.code == 130 and ran.out == "" and ran.err == "interrupted\n"


@pytest.mark.skipif(not ADAPTERS.is_dir(), reason="no real adapters at ../shared/adapters")
def test_two_stages_of_a_training_share_their_start(copamerge_cli):
    stages = [ADAPTERS / "roberta" / name for name in ("portuguese-500", "portuguese-8610")]

    found = json.loads(copamerge_cli("diff", *stages, "--json").out)

    assert found["verdict"]["kind"] == "shared_start" and found["whole"]["cosine_A"] > 0.95
    assert {x["name"].partition(".")[0] for x in found["full_tensors"]} == {"classifier"}
