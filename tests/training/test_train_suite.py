"""Adapters of a suite: which samples, which weights, and the same end after a kill."""

import json
import math
import shutil
import weakref
from dataclasses import replace

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from safetensors.torch import load_file
from tiny_bases import broken, picture, sample, suite, task

from copamerge.bench.zoo import open_zoo
from copamerge.errors import CopamergeError, OutputError, RecipeError, SuiteError
from copamerge.training.suite import jobs
from copamerge.training.suite.base import adapted, open_base, targets
from copamerge.training.suite.fit import Ways, division, last_checkpoint
from copamerge.training.suite.jobs import Order, train_suite
from copamerge.training.suite.ranks import Ranks
from copamerge.training.suite.recipe import TrainRecipe
from copamerge.training.suite.record import is_incomplete, notes
from copamerge.training.suite.rows import Collator, Source

QUICK = TrainRecipe(rank=2, batch=4, steps=4, rate=1e-2)
TEXT_ONLY = [sample(i, images=(), question="Which letter?") for i in range(8)]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def two_tasks():
    mixed = [sample(i, images=(picture(i),) if i % 2 else ()) for i in range(8)]
    return task("vqa", [sample(i) for i in range(8)]), task("science", mixed)


def order_of(base, out, *tasks, **changes):
    tasks = tasks or two_tasks()
    given = {"recipe": QUICK, **changes}
    return Order(suite=suite(*tasks), base=base, out=out, tasks=tasks, **given)


def tensors(folder):
    return load_file(folder / "adapter_model.safetensors")


def same(one, other, atol=0.0):
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], rtol=0, atol=atol) for name in one)


def record_of(folder):
    return json.loads((folder / "train.json").read_text())


# --- the adapter -------------------------------------------------------------------------------


def test_lora_is_on_the_language_model_and_the_projector_is_trained_in_full(tiny_llava):
    model = adapted(open_base(tiny_llava, (), torch.float32).model, QUICK, init_seed=0)
    lora = {n for n, p in model.named_parameters() if p.requires_grad and "lora_" in n}
    full = {n for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n}
    assert len(lora) == 2 * 2 * 7  # two layers: q, k, v, o, gate, up, down; A and B
    assert all("language_model.layers." in name for name in lora)
    assert {name.partition("modules_to_save.default.")[2] for name in full} == {
        "linear_1.weight",
        "linear_1.bias",
        "linear_2.weight",
        "linear_2.bias",
    }
    config = model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (2, 4, 0.05)


def test_a_language_model_gets_lora_on_everything_but_its_head(tiny_llama):
    model = open_base(tiny_llama, (), torch.float32).model
    assert targets(model).startswith(r".*model\.(layers\.\d+\.")
    adapter = adapted(model, QUICK, init_seed=0)
    trained = {n for n, p in adapter.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 7
    assert not any("lm_head" in name for name in trained)


@pytest.mark.parametrize(
    "kind, layers",
    [
        ("Qwen2VL", 80 * 7),
        ("Idefics3", 32 * 7),
        ("Gemma3", 26 * 7),
        ("GPT2", 12 * 4),  # of another type than nn.Linear
    ],
)
def test_other_models_are_adapted_in_their_language_model_alone(kind, layers):
    import re

    import transformers

    ending = "LMHeadModel" if kind == "GPT2" else "ForConditionalGeneration"
    with torch.device("meta"):  # as large as they are, without a weight
        model = getattr(transformers, kind + ending)(getattr(transformers, f"{kind}Config")())
    pattern = targets(model)
    assert isinstance(pattern, str)
    hit = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    assert len(hit) == layers
    assert not any("visi" in name or "lm_head" in name for name in hit)


@pytest.mark.parametrize("rank", [16, 128])
def test_both_ranks_of_the_paper_scale_by_two(tiny_llama, rank):
    base = open_base(tiny_llama, (), torch.float32).model
    model = adapted(base, TrainRecipe(rank=rank), init_seed=0)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.lora_A["default"].weight.shape[0] == rank
    assert layer.scaling["default"] == 2


def test_the_same_seed_begins_with_the_same_a_and_another_does_not(tiny_llama):
    def first(seed):
        model = adapted(open_base(tiny_llama, (), torch.float32).model, QUICK, init_seed=seed)
        return model.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"].weight

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


# --- the samples -------------------------------------------------------------------------------


def checked(base, samples, **changes):
    one = task("vqa", samples)
    reader = open_base(base, [one], torch.float32).reader
    given = {"max_length": 2048, "seed": 0, **changes}
    return Source(reader, (one,), "pad", **given).check(Ranks())


def test_every_sample_is_used_or_named_with_its_reason(tiny_llava):
    survey = checked(
        tiny_llava,
        [
            sample(0),
            sample(1, images=(broken,)),
            sample(2, references=()),
            sample(3, references=(" ",)),
            sample(4, question="How many dogs are there? " * 200),
            sample(5, images=()),
            sample(6, further=(("Which letter?", "B"),)),
            sample(7, further=(("Which letter?", ""),)),
        ],
        max_length=600,
    )
    assert [(x.id, x.why) for x in survey.skipped] == [
        ("s1", "picture"),
        ("s2", "answer"),
        ("s3", "answer"),
        ("s4", "length"),
        ("s7", "answer"),
    ]
    counts = survey.counts()["vqa"]
    assert counts["samples"] == 8 and counts["used"] == 3
    assert counts["skipped"] == {"picture": 1, "answer": 3, "length": 1}
    assert counts["text_only"] == 1 and counts["several_turns"] == 1
    assert "bus.jpg: not there" in survey.skipped[0].reason


def test_tokens_are_counted_as_the_model_reads_them(tiny_llava):
    """Pictures included: one token in the text, and as many as there are patches in the batch."""
    samples = [sample(0), sample(1, images=()), sample(2, images=(picture(0, 20, 90),))]
    survey = checked(tiny_llava, samples)
    one = task("vqa", samples)
    reader = open_base(tiny_llava, [one], torch.float32).reader
    batch = Collator(reader, "pad")([(one, each) for each in samples])
    assert [x.tokens for x in survey.used] == batch["attention_mask"].sum(1).tolist()
    assert [x.learned for x in survey.used] == (batch["labels"] >= 0).sum(1).tolist()


def test_a_limit_of_length_is_met_to_the_token(tiny_llava):
    tokens = checked(tiny_llava, [sample(0)]).used[0].tokens
    assert checked(tiny_llava, [sample(0)], max_length=tokens).skipped == []
    with pytest.raises(SuiteError, match=f"first: s0: its {tokens} tokens are more than"):
        checked(tiny_llava, [sample(0)], max_length=tokens - 1)


def test_pictures_for_a_model_without_eyes_are_refused(tiny_llama, tmp_path):
    with pytest.raises(SuiteError, match="'s0' has an image, but the base reads text only"):
        train_suite(order_of(tiny_llama, tmp_path / "zoo"))


def test_a_picture_that_vanished_since_stops_training_and_says_how_to_go_on(tiny_llava, tmp_path):
    there = []

    def now_and_then():
        there.append(True)
        return picture(0) if len(there) == 1 else broken()

    one = task("vqa", [sample(0, images=(now_and_then,))])
    with pytest.raises(CopamergeError, match="it was there when training began"):
        train_suite(order_of(tiny_llava, tmp_path / "zoo", one))
    assert not (tmp_path / "zoo" / "shared" / "vqa").exists()


# --- the zoo -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo(tiny_llava, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "zoo"
    train_suite(order_of(tiny_llava, out))
    train_suite(order_of(tiny_llava, out, mtl=True))
    return out


def test_a_zoo_of_sets_and_a_multi_task_adapter_opens(zoo):
    found = open_zoo(zoo)
    assert found.sets == ("shared",)
    assert list(found.adapters("shared")) == ["science", "vqa"]
    assert found.mtl == zoo / "mtl"
    assert sorted(p.name for p in zoo.iterdir()) == ["manifest.json", "mtl", "shared"]
    assert sorted(p.name for p in (zoo / "shared").iterdir()) == ["science", "vqa"]


def test_the_record_says_what_was_trained_on_and_how(zoo, tiny_llava):
    record = record_of(zoo / "shared" / "science")
    assert record["made_by"]["recipe"]["rank"] == 2
    assert record["made_by"]["frame"] == "pad"  # though the task is asked with a crop
    assert record["made_by"]["data_digests"] == {"science": "digest of science"}
    assert len(record["made_by"]["base_digest"]) == 64
    assert record["counts"]["science"]["used"] == 8
    assert record["counts"]["science"]["text_only"] == 4
    assert record["batch"] == {"per_device": 4, "accumulated": 1, "world": 1, "together": 4}
    assert [step for step, _ in record["losses"]] == [1, 2, 3, 4]
    assert record["trained_in_full"] == ["multi_modal_projector"]
    assert record["example"]["learned"] == " red</s>"
    assert {"copamerge", "torch", "transformers", "peft", "accelerate"} <= set(record["versions"])
    assert record_of(zoo / "mtl")["made_by"]["tasks"] == ["vqa", "science"]
    assert sum(x["used"] for x in record_of(zoo / "mtl")["counts"].values()) == 16


def test_training_changes_lora_and_projector_and_lowers_the_loss(tiny_llava, tmp_path):
    recipe = QUICK.model_copy(update={"steps": 30, "rate": 3e-2, "projector_rate": 1e-2})
    (one,) = train_suite(order_of(tiny_llava, tmp_path, two_tasks()[0], recipe=recipe))
    losses = [loss for _, loss in one.record["losses"]]
    assert losses[-1] < 0.85 * losses[0]
    base = load_file(tiny_llava / "model.safetensors")
    trained = tensors(one.path)
    projector = [name for name in trained if "multi_modal_projector" in name]
    assert len(projector) == 4
    for name in projector:
        (own,) = [n for n in base if n.endswith(name.partition("base_model.model.model.")[2])]
        assert not torch.equal(trained[name], base[own]), name
    assert all(value.any() for name, value in trained.items() if "lora_B" in name)


def test_the_projector_has_its_own_rate(tiny_llava, tmp_path):
    """A rate of almost nothing leaves it where it began, while LoRA moves."""
    recipe = QUICK.model_copy(update={"projector_rate": 1e-30})
    (one,) = train_suite(order_of(tiny_llava, tmp_path, two_tasks()[0], recipe=recipe))
    base = load_file(tiny_llava / "model.safetensors")
    for name, value in tensors(one.path).items():
        if "multi_modal_projector" in name:
            (own,) = [n for n in base if n.endswith(name.partition("base_model.model.model.")[2])]
            torch.testing.assert_close(value, base[own], rtol=0, atol=1e-20)
        elif "lora_B" in name:
            assert value.any(), name


def test_adapters_of_a_shared_start_share_their_first_a_and_own_ones_do_not(tiny_llava, tmp_path):
    still = QUICK.model_copy(update={"steps": 1, "rate": 1e-30})
    first = {}
    for init in ("shared", "own"):
        made = train_suite(order_of(tiny_llava, tmp_path, recipe=still, init=init))
        first[init] = [
            {n: v for n, v in tensors(one.path).items() if "lora_A" in n} for one in made
        ]
    assert same(*first["shared"])
    assert not same(*first["own"])
    assert open_zoo(tmp_path).sets == ("own", "shared")


def test_what_was_trained_is_left_and_other_settings_are_refused(zoo, tiny_llava):
    before = (zoo / "mtl" / "adapter_model.safetensors").stat().st_mtime_ns
    again = train_suite(order_of(tiny_llava, zoo, mtl=True))
    assert [one.is_new for one in again] == [False]
    assert (zoo / "mtl" / "adapter_model.safetensors").stat().st_mtime_ns == before
    other = QUICK.model_copy(update={"rank": 4, "rate": 1e-3})
    with pytest.raises(OutputError, match=r"mtl: was trained with other settings \(rank, rate\)"):
        train_suite(order_of(tiny_llava, zoo, mtl=True, recipe=other))


@pytest.mark.parametrize("kind", ["llava", "llama"])
def test_a_killed_run_ends_where_it_would_have(kind, tiny_llava, tiny_llama, tmp_path):
    base = tiny_llava if kind == "llava" else tiny_llama
    tasks = two_tasks()[1:] if kind == "llava" else (task("letters", TEXT_ONLY, template="chat"),)
    recipe = QUICK.model_copy(update={"steps": 5})  # with dropout: its draws go on as well
    ways = Ways(per_device=2, save_every=2)
    (straight,) = train_suite(
        order_of(base, tmp_path / "straight", *tasks, recipe=recipe, ways=ways)
    )

    def kill(what, step, of, loss):
        if loss is not None and step == 3:
            raise KeyboardInterrupt

    order = order_of(base, tmp_path / "zoo", *tasks, recipe=recipe, ways=ways)
    with pytest.raises(KeyboardInterrupt):
        train_suite(order, kill)
    assert not (tmp_path / "zoo" / "shared" / tasks[0].name).exists()
    with pytest.raises(OutputError, match=r"other settings was interrupted here \(seed"):
        train_suite(replace(order, recipe=recipe.model_copy(update={"seed": 1})))
    steps = []
    (resumed,) = train_suite(
        order, lambda what, step, of, loss: steps.append(step) if loss is not None else None
    )
    assert steps == [3, 4, 5]
    assert same(tensors(straight.path), tensors(resumed.path))
    assert straight.record["losses"] == resumed.record["losses"]
    assert sorted(p.name for p in (tmp_path / "zoo" / "shared").iterdir()) == [tasks[0].name]


def test_a_checkpoint_that_was_being_written_is_not_gone_on_from(tmp_path):
    for step, state in ((8, "{}"), (90, "{"), (100, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-8"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-8"]
    assert last_checkpoint(tmp_path / "none") is None


def test_processes_that_read_pictures_change_nothing(tiny_llava, tmp_path):
    one = two_tasks()[0]
    made = [
        train_suite(order_of(tiny_llava, tmp_path / str(n), one, ways=Ways(workers=n)))[0]
        for n in (0, 1)
    ]
    assert same(*(tensors(x.path) for x in made))


def test_activations_that_are_computed_again_change_nothing(tiny_llava, tmp_path):
    one = two_tasks()[1]
    made = [
        train_suite(order_of(tiny_llava, tmp_path / str(x), one, ways=Ways(recompute=x)))[0]
        for x in (False, True)
    ]
    assert same(*(tensors(x.path) for x in made), atol=1e-6)


def test_a_base_in_bfloat16_trains_an_adapter_in_float32(tiny_llava, tmp_path):
    """What a GPU does, on a CPU."""
    ways = Ways(bfloat16=True, recompute=True)
    (one,) = train_suite(order_of(tiny_llava, tmp_path, two_tasks()[1], ways=ways))
    assert one.record["device"] == "cpu, bfloat16"
    assert {value.dtype for value in tensors(one.path).values()} == {torch.float32}
    exact = tmp_path / "exact"
    (other,) = train_suite(order_of(tiny_llava, exact, two_tasks()[1]))
    pairs = zip(one.record["losses"], other.record["losses"], strict=True)
    assert all(abs(low - high) < 0.05 for (_, low), (_, high) in pairs)


def test_a_trained_model_makes_room_for_the_next(tiny_llama, tmp_path, monkeypatch):
    alive, before = [], jobs.adapted

    def watched(*given, **options):
        assert not [one for one in alive if one() is not None]
        model = before(*given, **options)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr(jobs, "adapted", watched)
    tasks = [task(name, TEXT_ONLY, template="chat") for name in ("letters", "words")]
    train_suite(order_of(tiny_llama, tmp_path, *tasks))
    assert len(alive) == 2


def test_passes_that_are_added_up_are_the_step_they_replace(tiny_llava, tmp_path):
    recipe = QUICK.model_copy(update={"dropout": 0.0})
    one = two_tasks()[1]
    made = [
        train_suite(
            order_of(tiny_llava, tmp_path / str(n), one, recipe=recipe, ways=Ways(per_device=n))
        )[0]
        for n in (4, 1)
    ]
    assert made[1].record["batch"]["accumulated"] == 4
    assert same(*(tensors(x.path) for x in made), atol=2e-5)


def test_the_rate_warms_up_and_falls_to_zero(tiny_llama, tmp_path, monkeypatch):
    from copamerge.training.suite import fit

    rates = []

    class Noted(fit._Watch):
        def on_log(self, args, state, control, logs=None, **rest):
            if logs and "learning_rate" in logs:
                rates.append(logs["learning_rate"])

    monkeypatch.setattr(fit, "_Watch", Noted)
    recipe = TrainRecipe(rank=2, batch=1, steps=40, warmup=0.1)
    one = task("letters", TEXT_ONLY, template="chat")
    train_suite(order_of(tiny_llama, tmp_path, one, recipe=recipe))
    # The log of a step names the rate with which the next is done... of 4 warm-up steps of 40.
    rise = [2e-4 * step / 4 for step in range(4)]
    fall = [2e-4 * (1 + math.cos(math.pi * (step - 4) / 36)) / 2 for step in range(4, 40)]
    assert rates == pytest.approx([*rise, *fall])


def test_a_single_step_that_trains_nothing_is_noted(tiny_llama, tmp_path):
    one = task("letters", TEXT_ONLY, template="chat")

    def made(name, **recipe):
        return train_suite(
            order_of(tiny_llama, tmp_path / name, one, recipe=TrainRecipe(rank=2, **recipe))
        )

    idle, warm, two = made("idle"), made("warm", warmup=0), made("two", batch=4)

    (said,) = notes(idle)
    assert "trained for a single step" in said and "one of 128 samples" in said
    assert not any(x.any() for name, x in tensors(idle[0].path).items() if "lora_B" in name)
    for other in (warm, two):
        assert notes(other) == []
        assert any(x.any() for name, x in tensors(other[0].path).items() if "lora_B" in name)


def test_text_only_training_writes_an_adapter_that_peft_opens(tiny_llama, tmp_path):
    import warnings

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    (one,) = train_suite(
        order_of(tiny_llama, tmp_path, task("letters", TEXT_ONLY, template="chat"))
    )
    assert one.record["trained_in_full"] == []
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UserWarning)  # a tensor that PEFT does not find is a warning
        model = PeftModel.from_pretrained(base, one.path)
    weight = model.base_model.model.model.layers[1].mlp.up_proj.lora_B["default"].weight
    assert weight.any()


def test_another_image_text_model_trains_through_its_own_template(tmp_path, one_thread):
    """Its pictures become more tokens the larger they are; they are counted all the same."""
    from tiny_bases import LLAVA_HF, llama_tokenizer, save_llava_next

    base = save_llava_next(tmp_path / "base", llama_tokenizer(LLAVA_HF))
    sides = [(30, 90), (90, 30), (90, 90), (30, 30)]
    samples = [sample(i, images=(picture(i, *side),)) for i, side in enumerate(sides)]
    one = task("vqa", [*samples, sample(4, images=())], template="chat", frame="processor")
    (made,) = train_suite(order_of(base, tmp_path / "zoo", one))
    assert made.record["made_by"]["frame"] == "processor"
    assert made.record["counts"]["vqa"]["used"] == 5
    assert made.record["trained_in_full"] == ["multi_modal_projector"]
    reader = open_base(base, [one], torch.float32).reader
    batch = Collator(reader, "processor")([(one, each) for each in samples])
    survey = Source(reader, (one,), "processor", 2048, 0).check(Ranks())
    assert [x.tokens for x in survey.used][:4] == batch["attention_mask"].sum(1).tolist()
    assert len(set(batch["attention_mask"].sum(1).tolist())) > 1


def test_left_out_samples_are_noted_and_make_the_training_incomplete(tiny_llava, tmp_path):
    bad = [sample(i, images=(broken,)) for i in range(5)]
    one = task("vqa", [*bad, *(sample(i) for i in range(5, 9))])
    made = train_suite(order_of(tiny_llava, tmp_path, one))
    assert is_incomplete(made)
    said = notes(made)
    assert said[0].startswith("vqa s0: image bus.jpg: not there")
    assert "2 more samples left out" in said[3]
    assert said[-1].endswith("5 of 9 train samples were left out; train.json names them all")
    assert len(record_of(made[0].path)["skipped"]) == 5
    again = train_suite(order_of(tiny_llava, tmp_path, one))
    assert is_incomplete(again) and notes(again) == said


# --- refusals ----------------------------------------------------------------------------------


def test_an_unseen_task_and_a_bad_set_name_are_refused_together(tiny_llava, tmp_path):
    tasks = (task("vqa", [sample(0)]), task("screens", [], seen=False))
    order = order_of(tiny_llava, tmp_path / "zoo", *tasks, set_name="mtl")
    with pytest.raises(SuiteError) as refused:
        train_suite(order)
    assert len(refused.value.problems) == 2
    assert "'screens': an unseen task has no train samples" in refused.value.problems[0]
    assert not (tmp_path / "zoo").exists()


def test_what_is_wrong_with_a_later_task_is_told_before_the_first_is_trained(tiny_llava, tmp_path):
    tasks = (task("vqa", [sample(0)]), task("ocr", []), task("science", [sample(0)]))
    (tmp_path / "zoo" / "shared" / "science").mkdir(parents=True)
    with pytest.raises(CopamergeError) as refused:
        train_suite(order_of(tiny_llava, tmp_path / "zoo", *tasks))
    assert len(refused.value.problems) == 2
    assert "'ocr': its train split has no samples" in refused.value.problems[0]
    assert "science: already exists and has no train.json" in refused.value.problems[1]
    assert not (tmp_path / "zoo" / "shared" / "vqa").exists()


def test_an_adapter_that_was_removed_is_trained_anew_into_the_zoo(tiny_llama, tmp_path):
    tasks = [task(name, TEXT_ONLY, template="chat") for name in ("letters", "words")]
    train_suite(order_of(tiny_llama, tmp_path, *tasks))
    shutil.rmtree(tmp_path / "shared" / "words")
    again = QUICK.model_copy(update={"rank": 4})
    train_suite(order_of(tiny_llama, tmp_path, tasks[1], recipe=again))
    assert len(open_zoo(tmp_path).adapters("shared")) == 2


def test_a_task_without_train_samples_and_a_base_that_is_none(tiny_llava, tmp_path):
    empty = task("vqa", [])
    with pytest.raises(SuiteError, match="its train split has no samples"):
        train_suite(order_of(tiny_llava, tmp_path / "zoo", empty))
    with pytest.raises(SuiteError, match="not a model folder"):
        train_suite(order_of(tmp_path, tmp_path / "zoo"))
    (tmp_path / "config.json").write_text('{"model_type": "none"}')
    with pytest.raises(SuiteError, match="transformers cannot load this"):
        train_suite(order_of(tmp_path, tmp_path / "zoo"))


def test_a_suite_that_is_answered_by_labels_has_no_text_to_learn(tiny_llava, tmp_path):
    order = order_of(tiny_llava, tmp_path / "zoo")
    with pytest.raises(SuiteError, match="choose labels and write no answers"):
        train_suite(replace(order, suite=replace(order.suite, answers="labels")))


def test_tasks_that_frame_pictures_differently_are_not_mixed_unasked(tiny_llava, tmp_path):
    tasks = [task(x, [sample(0)], template="chat", frame=x) for x in ("crop", "pad")]
    order = order_of(tiny_llava, tmp_path / "zoo", *tasks, mtl=True)
    with pytest.raises(SuiteError, match=r"differently \(crop, pad\); say one .* `frame: pad`"):
        train_suite(order)


def test_out_of_memory_suggests_smaller_passes(tiny_llama, tmp_path, monkeypatch):
    from copamerge.training.suite import fit

    def full(self, **_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fit._AdapterTrainer, "train", full)
    one = task("letters", TEXT_ONLY, template="chat")
    with pytest.raises(CopamergeError, match="4 samples at once; try --batch-per-device 2: a step"):
        train_suite(order_of(tiny_llama, tmp_path, one))


def test_a_loss_that_is_no_number_stops_the_run(tiny_llama, tmp_path):
    recipe = QUICK.model_copy(update={"rate": 1e30, "warmup": 0.0, "steps": 8, "clip": 1e30})
    one = task("letters", TEXT_ONLY, template="chat")
    with pytest.raises(CopamergeError, match="training went astray; lower the rate by --rate"):
        train_suite(order_of(tiny_llama, tmp_path, one, recipe=recipe))


@pytest.mark.parametrize(
    "batch, per_device, world, expected",
    [
        (128, None, 8, (16, 1, 8)),  # LLaVA's own
        (128, None, 1, (16, 8, 1)),
        (128, 4, 2, (4, 16, 2)),
        (12, None, 1, (12, 1, 1)),
        (34, None, 1, (2, 17, 1)),
        (128, None, 128, (1, 1, 128)),
    ],
)
def test_how_a_batch_is_divided(batch, per_device, world, expected):
    assert division(batch, per_device, world) == expected


def test_what_cannot_be_divided_says_what_can():
    with pytest.raises(RecipeError, match=r"by 3 processes alike; .* 3 by --batch, as 129"):
        division(128, None, 3)
    with pytest.raises(RecipeError, match=r"are 64 on each, no multiple of 12; 8 would do"):
        division(128, 12, 2)


def test_a_clip_model_is_refused_before_anything_is_read(copamerge_cli, tmp_path):
    base = tmp_path / "clip"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "clip"}')

    ran = copamerge_cli("train", "--suite", "mini", "--base", base, "-o", tmp_path / "zoo")

    assert ran.code == 2 and "a CLIP model chooses among labels" in ran.err
    assert not (tmp_path / "zoo").exists()
