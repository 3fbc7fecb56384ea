"""The command line: what is refused and how, what is printed, what stays the same."""
# ruff: noqa: E501 - tables of what is typed and what is answered

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from copamerge.cli._app import spread
from copamerge.errors import RecipeError
from copamerge.io.tensorfile import SafetensorsFile
from copamerge.recipe import load_recipe
from makers import LAYERS, make_adapter, tree


@pytest.fixture
def pair(tmp_path):
    return make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)


def command(*words, stdout=None, stderr=None):
    """Runs it in a process of its own; what it prints can go to a file instead."""
    code = "from copamerge.cli import run; run()"
    with ExitStack() as files:
        out, err = (
            files.enter_context(path.open("w")) if path else subprocess.PIPE
            for path in (stdout, stderr)
        )
        words = [sys.executable, "-c", code, *map(str, words)]
        return subprocess.run(words, stdout=out, stderr=err, text=True, timeout=60)


# --- a process of its own ------------------------------------------------------------------------


def test_a_merge_from_the_shell(tmp_path, pair):
    ran = command("merge", *pair, "-o", tmp_path / "out")

    assert ran.returncode == 0 and "read back and compared" in ran.stdout
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "merge.json",
    ]


def test_a_mistake_from_the_shell(tmp_path, pair):
    ran = command("merge", pair[0], tmp_path / "nowhere", "-o", tmp_path / "out", "-m", "tis")

    assert ran.returncode == 2 and ran.stdout == ""
    assert "Traceback" not in ran.stderr
    assert ran.stderr.splitlines() == [
        "error: method: unknown merge method 'tis'; did you mean 'ties'?",
        f"error: {tmp_path / 'nowhere'}: no such file or folder, and not a Hub id (org/name, with "
        "an optional @revision and :subfolder)",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "code",
    [
        "import copamerge",
        "import copamerge.errors; copamerge.CopamergeError",
        "import sys; sys.argv[1:] = ['--help']\n"
        "from copamerge.cli import run\n"
        "try: run()\nexcept SystemExit as end: assert not end.code",
        "import sys; sys.argv[1:] = ['merge', '--help']\n"
        "from copamerge.cli import run\n"
        "try: run()\nexcept SystemExit as end: assert not end.code",
    ],
)
def test_help_and_import_do_not_cost_torch(code):
    after = "\nimport sys\nheavy = {'torch', 'numpy', 'safetensors', 'huggingface_hub'} & sys.modules.keys()"
    ran = subprocess.run(
        [sys.executable, "-c", code + after + "\nassert not heavy, heavy"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.returncode == 0, ran.stderr


needs_a_full_device = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="the system has no device that is always full"
)


@needs_a_full_device
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_report_that_cannot_be_printed_is_a_sentence(tmp_path, more):
    layers = {f"model.layers.{i}.self_attn.q_proj": (8, 6) for i in range(40)}
    pair = [make_adapter(tmp_path / name, layers, seed=i) for i, name in enumerate("ab")]

    ran = command("merge", *pair, "-o", tmp_path / "out", *more, stdout=Path("/dev/full"))

    assert ran.returncode == 1
    assert ran.stderr == (
        "error: the report could not be printed (No space left on device); print it elsewhere\n"
    )
    assert (tmp_path / "out" / "merge.json").exists()


@needs_a_full_device
@pytest.mark.parametrize("words", [["methods"], ["methods", "--json"], ["--help"], ["--version"]])
def test_any_command_may_be_unable_to_print(words):
    ran = command(*words, stdout=Path("/dev/full"))

    assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("error: the report could not be printed (No space left")


@needs_a_full_device
def test_errors_that_cannot_be_printed_end_quietly(tmp_path):
    ran = command("merge", tmp_path / "nowhere", "-o", tmp_path / "out", stderr=Path("/dev/full"))

    assert ran.returncode == 1 and ran.stdout == ""


def test_an_error_of_the_system_that_is_not_about_printing_stays(copamerge_cli, monkeypatch):
    def fail(*_, **__):
        raise OSError("a bug of ours")

    monkeypatch.setattr("copamerge.inspection.inspect_adapters", fail)

    with pytest.raises(OSError, match="a bug of ours"):
        copamerge_cli("inspect", "a")


def test_help_says_what_a_recipe_keeps(copamerge_cli):
    said = " ".join(copamerge_cli("merge", "--help").out.split())

    assert "win over it (except adapters, --weights and --set without -m)" in said


def test_ctrl_c_leaves_nothing(tmp_path, pair, copamerge_cli, untouched, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    untouched()
    monkeypatch.setattr("copamerge.merging.folder.Sink.put", interrupt)

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out")

    assert ran.code == 130 and "nothing was written" in ran.err


# --- words that are not understood ---------------------------------------------------------------

BAD = {
    "unknown method": (["-m", "robust_merge"], "did you mean 'robustmerge'?"),
    "method from nowhere": (["-m", "xyzzy"], "; there are: "),
    "capital letters": (["-m", "TIES"], "unknown merge method 'TIES'; did you mean 'ties'?"),
    "unknown option": (["-m", "ties", "--set", "densty=0.3"], "did you mean 'density'?"),
    "option of the default": (["--set", "lambda=2"], "copa has no option 'lambda'"),
    "option out of range": (["-m", "ties", "--set", "density=1.5"], "method.density: expected a number up to 1 (got '1.5')"),
    "option not a number": (["-m", "ties", "--set", "density=much"], "method.density"),
    "set without =": (["--set", "density"], "--set density: expected OPTION=VALUE, as in"),
    "set without a name": (["--set", "=3"], "expected OPTION=VALUE"),
    "set twice": (["-m", "ties", "--set", "density=1", "--set", "density=1"], "given twice"),
    "set the name": (["-m", "copa", "--set", "name=ties"], "the method's name is given by -m"),
    "too few weights": (["--weights", "1"], "--weights: 1 given for 2 adapters; give one for each"),
    "too many weights": (["--weights", "1", "2", "3"], "--weights: 3 given for 2 adapters"),
    "weights that are not finite": (["--weights", "nan", "1"], "--weights: expected a finite number for each adapter (got nan)"),
    "all weights zero": (["--weights", "0", "0"], "every weight is 0: there is nothing to merge"),
    "rank": (["--rank", "many"], "--rank: expected full, max, a whole number or energy=SHARE"),
    "rank zero": (["--rank", "0"], "--rank: expected full, max, a whole number of at least 1"),
    "energy": (["--rank", "energy=2"], "--rank: energy=2: expected a share above 0 and up to 1"),
    "dtype": (["--dtype", "bfloat"], "--dtype: expected one of auto, float32, bfloat16, float16"),
    "dtype suggestion": (["--dtype", "bfloat"], "did you mean 'bfloat16'"),
    "missing": (["--missing", "skip"], "--missing: expected one of zero, error, present"),
    "modules": (["--modules-to-save", "avg"], "--modules-to-save: expected one of error, mean"),
    "device": (["--device", "tpu"], "device: 'tpu'; expected auto, cpu or cuda"),
    "base": (["--base-model", "org/else"], "--allow-different-bases"),
    "config too": (["-c", "recipe.yaml"], "adapters are given here and in the recipe (-c)"),
}  # fmt: skip


@pytest.mark.parametrize("words, told", BAD.values(), ids=BAD.keys())
def test_what_is_not_understood_is_told(tmp_path, pair, copamerge_cli, untouched, words, told):
    untouched()

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out", *words)

    assert ran.code == 2 and ran.out == ""
    assert told in ran.err and ran.err.startswith("error: ")


@pytest.mark.parametrize(
    "words, told",
    [
        (["merge"], "give adapters to merge, or a recipe by -c"),
        (["merge", "a"], "no output: say where to by -o FOLDER"),
        (["merge", "a", "-o", "out", "--seed", "one"], "Invalid value for '--seed'"),
        (["merge", "a", "-o", "out", "--wieghts", "1"], "--wei"),
        (["merge", "a", "-o", "out", "--weights"], "--weights: no number follows; give one for"),
        (["merge", "a", "--weights", "-o", "out"], "--weights: no number follows (got '-o')"),
        (["merge", "a", "b", "-o", "out", "--weights", "1,2"], "separated by spaces"),
        (["merge", "", "-o", "out"], "an adapter's name is empty"),
        (["merge", "a", "-o", ""], "--out: the name is empty; say where to by -o FOLDER"),
        (["merge", "a", "-o", "", "--dry-run"], "--out: the name is empty"),
        (["merge", "a\0b", "-o", "out"], "no such file or folder"),
        (["merge", "x" * 5000, "-o", "out"], "no such file or folder"),
        (["merge", "~nobody-here/x", "-o", "out"], "no such file or folder"),
        (["merge", "org/name:../../up", "-o", "out"], "no such file or folder"),
        (["inspect"], "Missing argument"),
        (["inspect", "./nowhere"], "./nowhere: no such file or folder"),
        (["methods", "tis"], "did you mean 'ties'?"),
        (["mrge"], "mrge"),
    ],
)
def test_commands_that_lack_something(tmp_path, monkeypatch, copamerge_cli, words, told):
    monkeypatch.chdir(tmp_path)

    ran = copamerge_cli(*words)

    assert ran.code == 2 and told in ran.err and "Traceback" not in ran.err
    assert not any(tmp_path.iterdir())


def test_no_name_is_offered_twice(copamerge_cli, pair):
    said = copamerge_cli("merge", *pair, "-o", "out", "-m", "pcb", "--set", "qqqq=1").err

    offered = said.strip().partition("; there are: ")[2].split(", ")
    assert len(offered) == len(set(offered)) > 1


def test_a_misspelt_folder_is_recognised(tmp_path, monkeypatch, copamerge_cli):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make_adapter(tmp_path / "adapters" / "legal")

    ran = copamerge_cli("inspect", "./adapters/leagl")

    assert "did you mean 'adapters/legal'?" in ran.err


def test_weights_are_numbers_after_one_word():
    assert spread(["a", "b", "--weights", "1", "0.5", "-0.2", "-o", "out"]) == [
        "a", "b", "--weights=1", "--weights=0.5", "--weights=-0.2", "-o", "out",
    ]  # fmt: skip
    assert spread(["--weights", "1e-3", "c"]) == ["--weights=1e-3", "c"]
    assert spread(["--weights=1", "--weights=2"]) == ["--weights=1", "--weights=2"]
    with pytest.raises(RecipeError, match="no number follows"):
        spread(["--weights", "x"])


def test_negative_weights_subtract(tmp_path, copamerge_cli):
    adapters = [make_adapter(tmp_path / name, seed=i) for i, name in enumerate("abc")]

    ran = copamerge_cli(
        "merge",
        *adapters,
        "--weights",
        "1",
        "0.5",
        "-0.2",
        "-m",
        "task_arithmetic",
        "-o",
        tmp_path / "out",
    )

    assert ran.code == 0, ran.err
    report = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert [part["weight"] for part in report["inputs"]] == [1.0, 0.5, -0.2]


# --- where the output goes -----------------------------------------------------------------------


def test_an_existing_output_is_refused(tmp_path, pair, copamerge_cli, untouched):
    assert copamerge_cli("merge", *pair, "-o", tmp_path / "out").code == 0
    untouched()

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out")

    assert ran.code == 2
    assert (
        ran.err
        == f"error: {tmp_path / 'out'}: already exists; add --overwrite or choose another output\n"
    )


def test_overwrite_replaces_an_earlier_merge_whole(tmp_path, pair, copamerge_cli):
    out = tmp_path / "out"
    copamerge_cli("merge", *pair, "-o", out)
    before = tree(out)

    ran = copamerge_cli("merge", *pair, "-o", out, "--overwrite", "-m", "ties")

    assert ran.code == 0
    after = tree(out)
    assert after.keys() == before.keys() and after != before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "out"]


def _a_users_folder(out):
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")


def _a_merge_with_notes(out):
    out.mkdir()
    (out / "merge.json").write_text("{}")
    (out / "notes.txt").write_text("years of work")


def _a_file(out):
    out.write_text("years of work")


def _a_link(out):
    (out.parent / "elsewhere").mkdir()
    out.symlink_to(out.parent / "elsewhere")


@pytest.mark.parametrize(
    "make, told",
    [
        (_a_users_folder, "was not written by a merge"),
        (_a_merge_with_notes, "holds notes.txt beside an earlier merge"),
        (_a_file, "exists and is not a folder"),
        (_a_link, "exists and is not a folder"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_overwrite_touches_nothing_else(tmp_path, pair, copamerge_cli, untouched, make, told, dry):
    make(tmp_path / "out")
    untouched()

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out", "--overwrite", *dry)

    assert ran.code == 2 and told in ran.err and "choose another output" in ran.err


@pytest.mark.parametrize("where", ["a", "a/merged", "a/deep/er", "."])
@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--dry-run"]])
def test_an_output_that_meets_an_input_is_refused(
    tmp_path, pair, copamerge_cli, untouched, where, more
):
    untouched()

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / where, *more)

    assert ran.code == 2 and ran.err.startswith("error: ")
    assert "the input" in ran.err
    assert "add --overwrite" not in ran.err


def test_a_merge_is_not_overwritten_by_a_merge_of_itself(tmp_path, pair, copamerge_cli, untouched):
    copamerge_cli("merge", *pair, "-o", tmp_path / "out")
    untouched()

    ran = copamerge_cli("merge", tmp_path / "out", pair[0], "-o", tmp_path / "out", "--overwrite")

    assert ran.code == 2 and "holds the input" in ran.err


def test_an_output_below_a_file_is_refused(tmp_path, pair, copamerge_cli, untouched):
    (tmp_path / "file").write_text("")
    untouched()

    for more in ([], ["--dry-run"]):
        ran = copamerge_cli("merge", *pair, "-o", tmp_path / "file" / "out", *more)
        assert ran.code == 2 and "is a file, not a folder" in ran.err


def test_a_name_too_long_is_a_sentence(tmp_path, pair, copamerge_cli, untouched):
    untouched()

    for name in ("x" * 300, "x" * 250):
        ran = copamerge_cli("merge", *pair, "-o", tmp_path / "new" / name)
        assert ran.code == 2 and "File name too long" in ran.err


def test_an_output_may_be_named_from_where_one_stands(tmp_path, pair, copamerge_cli, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    assert copamerge_cli("merge", "../a", "../b", "-o", "../here/./out").code == 0
    assert copamerge_cli("merge", "../a", "../b", "-o", ".", "--overwrite").code == 2
    assert (tmp_path / "here" / "out" / "merge.json").exists()


# --- what is printed -----------------------------------------------------------------------------


def test_quiet_says_nothing_on_success(tmp_path, pair, copamerge_cli):
    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out", "-q")

    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_quiet_still_warns(tmp_path, pair, copamerge_cli):
    short = make_adapter(tmp_path / "short", dict(list(LAYERS.items())[:2]))

    ran = copamerge_cli("merge", *pair, short, "-o", tmp_path / "out", "-q")

    assert ran.code == 0 and ran.out == ""
    assert ran.err.startswith(f"warning: {short}: lacks 2 of 4 layers")


def test_json_is_the_report(tmp_path, pair, copamerge_cli):
    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out", "--json")

    printed, written = json.loads(ran.out), json.loads((tmp_path / "out/merge.json").read_text())
    assert printed == written
    assert printed["method"]["name"] == "copa" and len(printed["layers"]) == len(LAYERS)


@pytest.mark.parametrize("words", [["methods"], ["methods", "dare"], ["inspect", "{a}", "{b}"]])
def test_every_command_speaks_json(pair, copamerge_cli, words):
    words = [word.format(a=pair[0], b=pair[1]) for word in words]

    assert json.loads(copamerge_cli(*words, "--json").out)
    assert copamerge_cli(*words).out


def test_inspect_json_tells_problems_too(tmp_path, pair, copamerge_cli):
    ran = copamerge_cli("inspect", pair[0], tmp_path / "nowhere", "--json")

    assert ran.code == 2
    found = json.loads(ran.out)
    assert found["fit"] is False and "no such file or folder" in found["problems"][0]


def test_a_dry_run_reads_and_writes_nothing(tmp_path, pair, copamerge_cli, untouched, monkeypatch):
    def read(self, name):
        raise AssertionError(f"read {name}")

    monkeypatch.setattr(SafetensorsFile, "read", read)
    untouched()

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "new" / "out", "--dry-run")
    asked = copamerge_cli("merge", *pair, "--dry-run", "--json", "--rank", "energy=0.9")

    assert ran.code == 0 and "would merge 2 adapters with copa" in ran.out and ran.err == ""
    assert asked.code == 0 and len(json.loads(asked.out)["layers"]) == len(LAYERS)


def test_a_dry_run_finds_what_the_run_would(tmp_path, pair, copamerge_cli, untouched):
    other = make_adapter(tmp_path / "other", base_model_name_or_path="org/other")
    untouched()

    dry = copamerge_cli("merge", *pair, other, "-o", tmp_path / "out", "--dry-run")
    real = copamerge_cli("merge", *pair, other, "-o", tmp_path / "out")

    assert dry.code == real.code == 2 and dry.err == real.err


# --- the same again ------------------------------------------------------------------------------


def _merged(out):
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    report = json.loads(files.pop("merge.json"))
    report.pop("run")
    return files, report


@pytest.mark.parametrize("method", ["copa", "robustmerge", "ties", "dare", "pcb", "mean"])
def test_the_same_command_gives_the_same_bytes(tmp_path, pair, copamerge_cli, method):
    for out in ("one", "two"):
        assert copamerge_cli("merge", *pair, "-o", tmp_path / out, "-m", method, "-q").code == 0
        time.sleep(0.01)

    one, two = _merged(tmp_path / "one"), _merged(tmp_path / "two")
    assert one == two and one[0].keys() == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def _deltas(out):
    state = load_file(out / "adapter_model.safetensors")
    return {
        name: state[name.replace("lora_A", "lora_B")] @ A
        for name, A in state.items()
        if "lora_A" in name
    }


def test_dare_does_not_depend_on_the_order(tmp_path, pair, copamerge_cli):
    # `--weights` go with their adapters: the same merge, written the other way round.
    words = ("-m", "dare", "--set", "density=0.5", "-q")
    copamerge_cli("merge", *pair, "--weights", 1, 0.5, "-o", tmp_path / "one", *words)
    copamerge_cli("merge", *pair[::-1], "--weights", 0.5, 1, "-o", tmp_path / "two", *words)

    one, two = _deltas(tmp_path / "one"), _deltas(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


def test_the_seed_changes_dare_and_nothing_else(tmp_path, pair, copamerge_cli):
    for method in ("dare", "ties"):
        words = ("-m", method, "--set", "density=0.5", "-q")
        for seed in (0, 1):
            out = tmp_path / f"{method}{seed}"
            assert copamerge_cli("merge", *pair, "-o", out, "--seed", seed, *words).code == 0

    def same(method):
        files = [(tmp_path / f"{method}{s}" / "adapter_model.safetensors") for s in (0, 1)]
        return files[0].read_bytes() == files[1].read_bytes()

    assert not same("dare") and same("ties")


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999"])
def test_any_whole_number_is_a_seed(tmp_path, pair, copamerge_cli, seed):
    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out", "-m", "dare", "--seed", seed)

    assert ran.code == 0, ran.err


# --- recipes -------------------------------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path, pair):
    def write(text):
        file = tmp_path / "recipe.yaml"
        file.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
        return file

    return write


def test_a_recipe_names_adapters_beside_it(tmp_path, recipe, copamerge_cli, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file = recipe({"adapters": ["a", {"adapter": "b", "weight": -0.5}], "method": "ties"})

    ran = copamerge_cli("merge", "-c", file, "-o", tmp_path / "out", "-m", "dare", "--json")

    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["method"]["name"] == "dare"
    assert [part["weight"] for part in report["inputs"]] == [1.0, -0.5]


RECIPES = {
    "empty": ("", "recipe.yaml: expected `method:` and `adapters:`, got an empty file"),
    "a list": ("- a\n- b\n", "expected `method:` and `adapters:`, got a list"),
    "bad YAML": ("adapters: [a, b\nmethod: ties\n", "recipe.yaml, line 2, column 7: not valid YAML"),
    "a tab": ("adapters:\n\t- a\n", "recipe.yaml, line 2, column 1: not valid YAML"),
    "twice": ("adapters: [a]\nrank: 1\nrank: 2\n", "line 3, column 1: not valid YAML ('rank' is written"),
    "no date": ("adapters: [a]\nseed: 2024-99-99\n", "recipe.yaml: not valid YAML"),
    "deep": ("[" * 5000, "recipe.yaml: not valid YAML"),
    "code": ("adapters: !!python/object/apply:os.system [id]\n", "not valid YAML (could not determine"),
    "unknown key": ("adapters: [a]\nrnak: 8\n", "recipe.yaml: rnak: unknown key; did you mean 'rank'?"),
    "unknown source key": ("adapters: [{adapter: a, wieght: 1}]\n", "adapters.0.wieght: unknown key; did you mean 'weight'?"),
    "numbered key": ("adapters: [a]\n1: 2\n", "recipe.yaml: 1"),
    "no adapters": ("method: ties\n", "adapters: missing; write adapters in order"),
    "none": ("adapters: []\n", "adapters: expected at least one adapter (got [])"),
    "a word": ("adapters: a\n", "adapters: expected a list of adapters (got 'a')"),
    "a number": ("adapters: [a, 5]\n", "adapters.1: expected a name, or `adapter:` and `weight:`"),
    "no name": ("adapters: [{weight: 1}]\n", "adapters.0.adapter: missing; write folder, weights file"),
    "weight not finite": ("adapters: [{adapter: a, weight: .nan}]\n", "adapters.0.weight: expected a finite number"),
    "weight": ("adapters: [{adapter: a, weight: heavy}]\n", "adapters.0.weight: expected a finite number, a gradient"),
    "filter": ("adapters: [{adapter: a, weight: [{filtr: mlp, value: 1}]}]\n", "adapters.0.weight: expected a finite number"),
    "seed": ("adapters: [a]\nseed: 1.5\n", "seed: expected a whole number (got 1.5)"),
    "flag": ("adapters: [a]\nallow_different_bases: perhaps\n", "expected true or false (got 'perhaps')"),
    "base": ("adapters: [a]\nbase_model: 5\n", "base_model: expected a text (got 5)"),
    "method": ("adapters: [a]\nmethod: tis\n", "recipe.yaml: method: unknown merge method 'tis'; did you mean 'ties'?"),
    "method value": ("adapters: [a]\nmethod: 5\n", "write a method as `ties` or as"),
    "method option": ("adapters: [a]\nmethod: {name: ties, densty: 1}\n", "method.densty: ties has no option 'densty'; did you mean 'density'?"),
}  # fmt: skip


@pytest.mark.parametrize("text, told", RECIPES.values(), ids=RECIPES.keys())
def test_what_a_recipe_gets_wrong_is_told(tmp_path, recipe, copamerge_cli, untouched, text, told):
    file = recipe(text)
    untouched()

    ran = copamerge_cli("merge", "-c", file, "-o", tmp_path / "out")

    assert ran.code == 2 and told in ran.err and "Traceback" not in ran.err
    assert all(line.startswith("error: ") for line in ran.err.splitlines())


def test_a_bad_recipe_and_its_bad_adapters_are_told_at_once(
    tmp_path, recipe, copamerge_cli, untouched
):
    file = recipe(
        "adapters: [{adapter: a, wieght: 2}, ./nowhere, b]\nmethod: {name: ties, density: 2, sgin: 1}\nrnak: 8\n"
    )
    untouched()

    ran = copamerge_cli("merge", "-c", file, "-o", tmp_path / "out", "--dtype", "int8")

    told = ran.err.splitlines()
    assert ran.code == 2 and len(told) == 6
    for text in ("method.density", "method.sgin", "wieght", "rnak", "error: --dtype", "./nowhere"):
        assert any(text in line for line in told), (text, ran.err)


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_recipe_that_is_not_there(tmp_path, copamerge_cli, name):
    ran = copamerge_cli("merge", "-c", tmp_path / name, "-o", tmp_path / "out")

    assert ran.code == 2 and "cannot be read" in ran.err


def test_a_recipe_that_is_not_text(tmp_path, copamerge_cli):
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00")

    ran = copamerge_cli("merge", "-c", tmp_path / "r.yaml", "-o", tmp_path / "out")

    assert ran.code == 2 and "not a text file" in ran.err


@pytest.mark.parametrize(
    "words, told",
    [
        (["--weights", "1"], "--weights: with a recipe, write each weight beside its adapter"),
        (["--set", "density=1"], "--set needs -m METHOD beside a recipe"),
        (["--alpha", "1"], "--alpha: with a recipe, write `alpha:` beside the adapter"),
    ],
)
def test_options_that_a_recipe_has_a_place_for(tmp_path, recipe, copamerge_cli, words, told):
    ran = copamerge_cli("merge", "-c", recipe({"adapters": ["a"]}), "-o", tmp_path / "out", *words)

    assert ran.code == 2 and told in ran.err


def test_the_written_recipe_repeats_the_merge(tmp_path, pair, copamerge_cli):
    copamerge_cli("merge", *pair, "-o", tmp_path / "one", "-m", "dare", "--rank", 1, "--seed", 3)
    report = json.loads((tmp_path / "one" / "merge.json").read_text())
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(report["recipe"]))

    ran = copamerge_cli("merge", "-c", tmp_path / "r.yaml", "-o", tmp_path / "two")

    assert ran.code == 0, ran.err
    assert _merged(tmp_path / "one") == _merged(tmp_path / "two")


# --- mergekit's recipes --------------------------------------------------------------------------


def test_a_mergekit_recipe_is_translated(recipe):
    loaded, notes = load_recipe(
        recipe(
            """
merge_method: ties
base_model: org/tiny-base
models:
  - model: org/tiny-base
  - model: org/tiny-base+one
    parameters: {weight: [0, 0.5, 1]}
  - model: two
    parameters:
      weight: [{filter: mlp, value: 0.5}, {value: [0, 1]}]
parameters: {density: 0.3, normalize: false, lambda: 0.7, int8_mask: true}
dtype: bfloat16
"""
        )
    )

    method = loaded.method.model_dump()
    assert method["name"] == "ties" and method["density"] == 0.3 and method["scale"] == 0.7
    # mergekit elects by weighted deltas, and without `normalize` sums those that agree.
    assert method["vote"] == "weighted" and method["combine"] == "sum"
    assert [source.adapter for source in loaded.adapters] == ["one", "two"]
    assert loaded.adapters[0].weight == (0, 0.5, 1)
    first, rest = loaded.adapters[1].weight
    assert (first.filter, first.value, rest.filter, rest.value) == ("mlp", 0.5, None, (0, 1))
    assert loaded.dtype == "bfloat16" and loaded.base_model == "org/tiny-base"
    assert notes == [
        "models.0: org/tiny-base is the base itself and adds nothing",
        "parameters.int8_mask: no effect here (masks are never stored)",
    ]


@pytest.mark.parametrize(
    "name, normalize, want",
    [
        ("linear", None, {"name": "task_arithmetic", "normalize": True}),
        ("linear", False, {"name": "task_arithmetic", "normalize": False}),
        ("task_arithmetic", None, {"name": "task_arithmetic", "normalize": False}),
        (
            "ties",
            None,
            {"name": "ties", "convention": "argsort", "combine": "mean", "divide": "weights"},
        ),
        ("dare_linear", None, {"name": "dare", "then": "sum", "rescale": "l1"}),
        ("dare_ties", None, {"name": "dare", "then": "ties", "combine": "sum"}),
    ],
)
def test_mergekits_defaults_are_mergekits(recipe, name, normalize, want):
    parameters = {} if normalize is None else {"normalize": normalize}
    text = {"merge_method": name, "models": ["a", "b"], "parameters": parameters}

    loaded, _ = load_recipe(recipe(text))

    got = loaded.method.model_dump()
    assert {key: got[key] for key in want} == want


def test_a_mergekit_recipe_merges(tmp_path, recipe, copamerge_cli):
    file = recipe({"merge_method": "ties", "models": [{"model": "a"}, {"model": "b"}],
                   "parameters": {"density": 0.5, "int8_mask": True}})  # fmt: skip

    ran = copamerge_cli("merge", "-c", file, "-o", tmp_path / "out")

    assert ran.code == 0, ran.err
    assert "note: parameters.int8_mask: no effect here" in ran.err


MERGEKIT = {
    "slices": ({"slices": []}, "slices: not supported: assembles layers of whole models"),
    "tokenizer_source": ({"tokenizer_source": "union"}, "tokenizer_source: not supported: adapters"),
    "tokenizer": ({"tokenizer": {"source": "union"}}, "tokenizer: not supported"),
    "chat_template": ({"chat_template": "auto"}, "chat_template: not supported"),
    "modules": ({"modules": {}}, "modules: not supported"),
    "slerp": ({"merge_method": "slerp"}, "merge_method: 'slerp' is not one of mergekit's methods"),
    "passthrough": ({"merge_method": "passthrough"}, "'passthrough' is not one of"),
    "unknown": ({"merge_methd": "ties"}, "merge_methd: unknown key; did you mean 'merge_method'?"),
    "numbered": ({7: 1}, "7: unknown key"),
    "models": ({"models": "a"}, "models: expected a list of `- model: ...`"),
    "layer_range": ({"models": [{"model": "a", "layer_range": [0, 4]}]}, "models.0.layer_range: not supported"),
    "model a mapping": ({"models": [{"model": {"path": "a"}}]}, "models.0.model: expected a name"),
    "model key": ({"models": [{"model": "a", "paramters": {}}]}, "models.0.paramters: unknown key; did you mean 'parameters'?"),
    "parameter": ({"models": [{"model": "a", "parameters": {"wieght": 1}}]}, "models.0.parameters.wieght: unknown key; did you mean 'weight'?"),
    "top parameter": ({"parameters": {"t": 0.5}}, "parameters.t: unknown key"),
    "parameters a list": ({"parameters": [1]}, "parameters: expected `key: value` pairs"),
    "normalize": ({"parameters": {"normalize": "false"}}, "parameters.normalize: expected true or false, got 'false'"),
    "densities": ({"models": [{"model": "a", "parameters": {"density": 0.5}}, {"model": "b", "parameters": {"density": 0.6}}]}, "density: differs between models (0.5, 0.6)"),
    "density gradient": ({"parameters": {"density": [0, 1]}}, "density: only one number is supported"),
    "dtype": ({"dtype": "int8"}, "dtype: 'int8'; expected one of float32"),
    "other base": ({"base_model": "x", "models": [{"model": "y+a"}]}, "models.0.model: base 'y' is not base_model 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("change, told", MERGEKIT.values(), ids=MERGEKIT.keys())
def test_what_mergekit_has_and_we_have_not_is_named(
    tmp_path, recipe, copamerge_cli, untouched, change, told
):
    file = recipe({"merge_method": "ties", "models": [{"model": "a"}, {"model": "b"}], **change})
    untouched()

    ran = copamerge_cli("merge", "-c", file, "-o", tmp_path / "out")

    assert ran.code == 2 and told in ran.err


def test_everything_mergekit_and_wrong_is_told_at_once(tmp_path, recipe, copamerge_cli):
    file = recipe({"merge_method": "slerp", "slices": [], "models": [{"model": "a", "layer_range": 1}],
                   "tokenizer_source": "base", "parameters": {"t": 1}})  # fmt: skip

    ran = copamerge_cli("merge", "-c", file, "-o", tmp_path / "out")

    assert len(ran.err.splitlines()) == 5, ran.err
    assert not (tmp_path / "out").exists()
