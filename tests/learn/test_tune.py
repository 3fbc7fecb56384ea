"""The search: its space, its trials after a stop, what it leaves."""

import csv
import json

import pytest
import yaml

from copamerge.errors import CopamergeError, OutputError, RecipeError
from copamerge.learn.questions import read_questions
from copamerge.learn.space import Range, space_from
from copamerge.learn.tune import Tune, tune
from copamerge.merging import merge_plan, plan
from copamerge.merging.card.rewrite import rewrite_card
from copamerge.recipe import load_recipe
from copamerge.suites import Asking
from learn.tiny import write_lines
from makers import tree

SEARCH = ["density=0.1..0.9", "scale=0.5..3:log", "sign=reference,drop"]


@pytest.fixture
def questions(data):
    import dataclasses

    return [dataclasses.replace(read_questions(data, answers=True), asking=Asking(3))]


def params(tuned):
    return [(trial.number, dict(trial.params), trial.points) for trial in tuned.trials]


# --- the space -----------------------------------------------------------------------------------


def test_ranges_and_choices():
    found = space_from([*SEARCH, "weights=-0.5..1.5"], "ties", {})

    assert found == {
        "density": Range(0.1, 0.9),
        "scale": Range(0.5, 3.0, log=True),
        "sign": ("reference", "drop"),
        "weights": Range(-0.5, 1.5),
    }


@pytest.mark.parametrize(
    "pairs, fixed, fact",
    [
        ([], {}, "nothing to search"),
        (["density"], {}, "expected OPTION=LOW"),
        (["density=0.9..0.1"], {}, "the first number must be below the second"),
        (["density=0.5..0.5"], {}, "the first number must be below the second"),
        (["scale=0..3:log"], {}, "begins above 0"),
        (["density=0.2"], {}, "one value is given by --set"),
        (["density=a..b"], {}, "expected LOW..HIGH"),
        (["density=0.1..2"], {}, "method.density"),
        (["densty=0.1..0.9"], {}, "no option 'densty'"),
        (["sign=reference,backwards"], {}, "backwards"),
        (["density=0.1..0.9", "density=0.1..0.2"], {}, "given twice"),
        (["density=0.1..0.9"], {"density": "0.3"}, "--set gives it one value"),
        (["name=ties,mean"], {}, "given by -m"),
        (["weights=1,2"], {}, "expected LOW..HIGH"),
    ],
)
def test_a_space_that_is_none_is_a_sentence(pairs, fixed, fact):
    with pytest.raises(RecipeError) as caught:
        space_from(pairs, "ties", fixed)

    assert fact in str(caught.value)


def test_all_of_a_space_is_looked_at():
    with pytest.raises(RecipeError) as caught:
        space_from(["density=3..2", "scale=x"], "ties", {"sgn": "drop"})

    assert len(caught.value.problems) == 3


# --- the search ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_was_stopped_goes_on_as_if_it_was_not(
    base, adapters, questions, tmp_path, sampler, monkeypatch
):
    import copamerge.learn.tune as module

    given = (base, questions, "ties", SEARCH)
    whole = tune(adapters, tmp_path / "whole", *given, Tune(trials=14, sampler=sampler))
    asked, real = [], module._tried

    def stops(job, number, *rest):
        if number == 12 and not asked:
            asked.append(number)
            raise KeyboardInterrupt
        return real(job, number, *rest)

    monkeypatch.setattr(module, "_tried", stops)
    parts = Tune(trials=14, sampler=sampler)
    tune(adapters, tmp_path / "parts", *given, Tune(trials=4, sampler=sampler))
    with pytest.raises(KeyboardInterrupt):
        tune(adapters, tmp_path / "parts", *given, parts)
    rest = tune(adapters, tmp_path / "parts", *given, parts)

    assert params(rest) == params(whole)
    assert rest.made == 2
    assert len({json.dumps(x) for _, x, _ in params(whole)}) > 5
    assert whole.trials[0].params == {"density": 0.2, "scale": 1.0, "sign": "reference"}
    done = tune(adapters, tmp_path / "parts", *given, parts)
    assert (done.made, params(done)) == (0, params(whole))


def test_what_it_leaves_is_the_best_recipe_and_its_merge(base, adapters, questions, tmp_path):
    out = tmp_path / "out"

    tuned = tune(
        adapters,
        out,
        base,
        questions,
        "task_arithmetic",
        ["weights=0..1.5"],
        Tune(trials=5),
        fixed={"normalize": "true"},
        more={"dtype": "float32"},
    )

    assert {x.name for x in out.iterdir()} == {
        "study.db", "tune.json", "trials.csv", "recipe.yaml", "adapter"
    }  # fmt: skip
    assert tuned.best.points == max(trial.points for trial in tuned.trials)
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert [int(row["trial"]) for row in rows] == list(range(5))
    assert [float(row["points"]) for row in rows] == [trial.points for trial in tuned.trials]
    assert rows[0]["weights.1"] == rows[0]["weights.2"] == "1.0"
    content = yaml.safe_load((out / "recipe.yaml").read_text())
    weights = [source["weight"] for source in content["adapters"]]
    assert weights == list(tuned.best.params.values())
    assert content["method"]["normalize"] is True and content["dtype"] == "float32"
    recipe, _ = load_recipe(out / "recipe.yaml")
    merge_plan(plan(recipe)).save_pretrained(tmp_path / "again")
    weights_of = "adapter_model.safetensors"
    assert tree(tmp_path / "again")[weights_of] == tree(out / "adapter")[weights_of]
    card = (out / "adapter" / "README.md").read_text()
    assert "without data" not in card and "5 trials" in card
    rewrite_card(out / "adapter")  # from merge.json alone
    assert (out / "adapter" / "README.md").read_text() == card
    record = json.loads((out / "tune.json").read_text())
    assert record["best"]["number"] == tuned.best.number and record["failed"] == 0


def test_a_recipe_is_not_merged_twice(base, adapters, questions, tmp_path, monkeypatch):
    import copamerge.learn.tune as module

    tried, real = [], module._tried

    def counted(job, number, params, *rest):
        tried.append(params)
        return real(job, number, params, *rest)

    monkeypatch.setattr(module, "_tried", counted)

    tuned = tune(
        adapters, tmp_path / "o", base, questions, "ties", ["sign=reference,drop"], Tune(trials=6)
    )

    assert len(tuned.trials) == 6 and len(tried) == 2


def test_another_search_is_not_gone_on_with(base, adapters, questions, tmp_path, data):
    out = tmp_path / "out"
    tune(adapters, out, base, questions, "ties", ["density=0.1..0.9"], Tune(trials=1))
    before = tree(out)

    with pytest.raises(OutputError, match="differs in search, seed"):
        tune(adapters, out, base, questions, "ties", ["density=0.1..0.8"], Tune(trials=2, seed=1))
    other = [read_questions(write_lines(tmp_path / "x.jsonl", [
        {"prompt": "what", "answer": "a"}]), answers=True)]  # fmt: skip
    with pytest.raises(OutputError, match="differs in data, data_digest"):
        tune(adapters, out, base, other, "ties", ["density=0.1..0.9"], Tune(trials=2))

    assert tree(out) == before


def test_a_study_that_is_none_is_a_sentence(base, adapters, questions, tmp_path):
    given = (base, questions, "ties", ["density=0.1..0.9"], Tune(trials=1))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "study.db").write_bytes(b"not a database" * 100)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("keep")

    with pytest.raises(OutputError, match="not a study that Optuna can go on with"):
        tune(adapters, tmp_path / "a", *given)
    with pytest.raises(OutputError, match=r"no study\.db"):
        tune(adapters, tmp_path / "b", *given)

    assert (tmp_path / "b" / "mine.txt").read_text() == "keep"


def test_a_trial_that_cannot_be_merged_has_a_reason_and_no_points(
    base, adapters, questions, tmp_path, monkeypatch
):
    import copamerge.learn.tune as module

    real = module.merge_to_folder

    def refuses(planned, out, **more):
        if planned.recipe.method.sign == "drop":
            raise CopamergeError("layer 'x': the merged factors are not finite")
        return real(planned, out, **more)

    monkeypatch.setattr(module, "merge_to_folder", refuses)

    tuned = tune(
        adapters, tmp_path / "o", base, questions, "ties", ["sign=reference,drop"], Tune(trials=6)
    )

    failed = [trial for trial in tuned.trials if trial.points is None]
    assert failed and all("not finite" in trial.reason for trial in failed)
    assert tuned.best.params["sign"] == "reference"
    text = (tmp_path / "o" / "trials.csv").read_text()
    assert "not finite" in text and "nan" not in text.lower()
