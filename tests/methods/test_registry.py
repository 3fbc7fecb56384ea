from importlib.metadata import EntryPoint

import pytest

from copamerge import registry
from copamerge.errors import RecipeError
from copamerge.methods import METHODS, MergeMethod, method_from
from copamerge.methods.ties import Ties

BUILT_IN = list(METHODS)


@pytest.fixture
def plugins(monkeypatch):
    """Entry points as installed packages would bring them, by name."""
    found = {}

    def entry_points(group):
        assert group == "copamerge.methods"
        return [EntryPoint(name, value, group) for name, value in found.items()]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return found


class Largest(Ties):
    name = "largest"


def test_methods_come_in_reading_order():
    assert BUILT_IN[:4] == ["copa", "robustmerge", "task_arithmetic", "mean"]
    assert all(cls.name == name for name, cls in METHODS.items())


def test_every_method_and_option_is_described():
    for cls in METHODS.values():
        assert cls.__doc__ and cls.source
        for option, field in cls.model_fields.items():
            assert field.description, f"{cls.name}.{option}"


def test_unknown_names_get_a_suggestion():
    with pytest.raises(RecipeError, match="unknown merge method 'tis'; did you mean 'ties'"):
        METHODS["tis"]


def test_plugins_follow_the_built_in_methods(plugins):
    plugins["largest"] = f"{__name__}:Largest"

    assert list(METHODS) == [*BUILT_IN, "largest"]
    assert "largest" in METHODS and len(METHODS) == len(BUILT_IN) + 1
    assert METHODS["largest"] is Largest
    assert METHODS.broken() == {}


def test_a_broken_plugin_harms_only_who_asks_for_it(plugins):
    plugins["lost"] = "no_such_module:Lost"
    plugins["wrong"] = "pathlib:Path"
    plugins["other"] = f"{__name__}:Largest"

    assert METHODS["ties"] is Ties
    assert method_from("copa").name == "copa"
    with pytest.raises(RecipeError, match=r"plugin no_such_module:Lost.*No module named"):
        METHODS["lost"]
    with pytest.raises(RecipeError, match="not a MergeMethod class"):
        METHODS["wrong"]
    with pytest.raises(RecipeError, match="calls itself 'largest'"):
        METHODS["other"]
    assert set(METHODS.broken()) == {"lost", "wrong", "other"}


def test_a_plugin_cannot_replace_a_built_in_method(plugins):
    plugins["ties"] = "no_such_module:Ties"

    assert METHODS["ties"] is Ties
    assert METHODS.broken() == {}


# --- method_from ---------------------------------------------------------------------------------


def test_a_method_is_a_name_a_mapping_or_itself():
    assert method_from("ties") == Ties()
    assert method_from({"name": "ties", "density": 0.3}) == Ties(density=0.3)
    assert method_from(Ties(density=0.3)) == Ties(density=0.3)


def test_values_may_be_strings_as_on_a_command_line():
    method = method_from({"name": "copa", "density": "0.3", "normalize": "false"})

    assert method.density == 0.3 and method.normalize is False


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_method_survives_its_own_dump(name):
    method = method_from(name)

    assert isinstance(method, MergeMethod)
    assert method_from(method.model_dump()) == method


def test_all_bad_options_are_told_at_once():
    with pytest.raises(RecipeError) as caught:
        method_from({"name": "ties", "density": 1.5, "sgin": "drop", "vote": "loud"})

    density, vote, sign = caught.value.problems
    assert density == "method.density: expected a number up to 1 (got 1.5)"
    assert vote == "method.vote: expected 'unweighted' or 'weighted' (got 'loud')"
    assert sign == "method.sgin: ties has no option 'sgin'; did you mean 'sign'?"


@pytest.mark.parametrize(
    "name, option, value, told",
    [
        ("ties", "density", "much", "expected a number (got 'much')"),
        ("ties", "density", -1, "expected a number of at least 0 (got -1)"),
        ("pcb", "clamp", 0.5, "expected a number below 0.5 (got 0.5)"),
        ("svd", "clamp", 0.5, "expected a number above 0.5 (got 0.5)"),
        ("svd", "rank", "1.5", "expected a whole number (got '1.5')"),
        ("tsv_m", "keep", 2.5, "expected a whole number (got 2.5)"),
        ("ties", "scale", "inf", "expected a finite number (got 'inf')"),
        ("copa", "normalize", "perhaps", "expected true or false (got 'perhaps')"),
    ],
)
def test_values_of_another_kind_are_told_in_our_words(name, option, value, told):
    with pytest.raises(RecipeError) as caught:
        method_from({"name": name, option: value})

    (line,) = caught.value.problems
    assert line.startswith(f"method.{option}: {told}") and "nput should be" not in line


def test_options_that_do_nothing_together_are_told():
    with pytest.raises(RecipeError, match="method: sign: no effect with then: sum; leave it out"):
        method_from({"name": "dare", "sign": "drop"})


def test_a_method_without_options_says_so():
    with pytest.raises(RecipeError, match=r"method\.density: mean has no option 'density'"):
        method_from({"name": "mean", "density": 0.5})


@pytest.mark.parametrize("value", [3, None, {}, {"density": 0.5}, ["ties"], {"name": 3}])
def test_anything_else_is_refused(value):
    with pytest.raises(RecipeError, match="method: write a method as"):
        method_from(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_options_are_finite(value):
    with pytest.raises(RecipeError, match="finite"):
        method_from({"name": "ties", "scale": value})
