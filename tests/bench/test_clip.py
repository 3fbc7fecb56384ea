"""Choosing labels with CLIP: the head by numpy, batches, adapters on and off, heads on disk."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clip_model import CLASSES, OTHERS, add_adapter, make_clip, task, two_sets
from copamerge.errors import AdapterError, SuiteError
from copamerge.suites import Asking, Classes, Sample

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory, one_thread):
    return make_clip(tmp_path_factory.mktemp("clip") / "base")


@pytest.fixture
def answerer(base):
    from copamerge.bench.executors import load_answerer

    return load_answerer(base, "labels")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return task(tmp_path_factory.mktemp("set")).samples("train", 23)


def scores_by_numpy(answerer, images, classes):
    """What the model gives for each text and picture alone, put together by numpy."""
    model, processor = answerer.model, answerer.processor
    rows = []
    for name in classes.names:
        each = []
        for template in classes.templates:
            read = processor.tokenizer(template.replace("{}", name), return_tensors="pt")
            with torch.no_grad():
                text = model.text_model(**read).pooler_output
                each.append(model.text_projection(text)[0].double().numpy())
        each = [vector / np.sqrt((vector**2).sum()) for vector in each]
        mean = np.sum(each, axis=0) / len(each)
        rows.append(mean / np.sqrt((mean**2).sum()))
    seen = []
    for image in images:
        # Already of the model's size: what the processor does is no more than this.
        plain = (image.astype(np.float32) / 255 - 0.5) / 0.5
        with torch.no_grad():
            pixels = torch.tensor(plain).permute(2, 0, 1)[None]
            out = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        vector = out[0].double().numpy()
        seen.append(vector / np.sqrt((vector**2).sum()))
    return np.array(seen) @ np.array(rows).T


def test_the_head_and_the_labels_are_those_of_plain_numpy(answerer, samples):
    from copamerge.suites.pictures import pixels

    images = [pixels(sample.images[0]) for sample in samples]
    scores = scores_by_numpy(answerer, images, CLASSES)

    answers = answerer.answer(samples, Asking(classes=CLASSES), 8)

    found = answerer.features(images) @ answerer.head(CLASSES).T
    np.testing.assert_allclose(found.numpy(), scores, atol=2e-6)
    for row, answer in zip(scores, answers, strict=True):
        best = [CLASSES.names[i] for i in np.argsort(-row)[:5]]
        assert answer.split("\n") == best
    assert len(set(answers)) > 1


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_the_batch_size_changes_no_answer(answerer, samples, batch):
    asking = Asking(classes=CLASSES)

    assert answerer.answer(samples, asking, batch) == answerer.answer(samples, asking, 7)


def test_five_labels_or_as_many_as_there_are(answerer, samples):
    few = Classes(("one", "two"), ("{}",))

    assert [len(x.split("\n")) for x in answerer.answer(samples, Asking(classes=few), 9)] == [
        2
    ] * len(samples)


def test_equal_scores_are_in_the_order_of_the_classes(answerer, samples):
    # The tokenizer knows no capitals, so these classes are one to the model.
    alike = Classes(("Two", "two", "TWO"), ("a {}",))

    assert set(answerer.answer(samples, Asking(classes=alike), 9)) == {"Two\ntwo\nTWO"}


def test_an_adapter_changes_answers_and_leaves_the_bits(answerer, base, samples, tmp_path):
    asking = Asking(classes=CLASSES)
    add_adapter(base, tmp_path / "a", size=3.0)
    before = {name: value.clone() for name, value in answerer.model.state_dict().items()}
    answers = answerer.answer(samples, asking, 8)
    head = answerer.head(CLASSES).clone()

    with answerer.use(tmp_path / "a") as warned:
        assert not warned
        changed = answerer.answer(samples, asking, 8)
        assert torch.equal(answerer.head(CLASSES), head)

    assert changed != answers
    after = answerer.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert answerer.answer(samples, asking, 8) == answers


def test_an_adapter_of_the_vision_tower_gives_the_head_of_the_bare_base(
    answerer, base, tmp_path, samples
):
    """Made while the adapter is on, it is the same to the bit."""
    add_adapter(base, tmp_path / "a", size=3.0)
    with answerer.use(tmp_path / "a"):
        with_it = answerer.head(OTHERS)
    answerer._heads.clear()

    assert torch.equal(answerer.head(OTHERS), with_it)


def test_an_adapter_of_the_text_tower_makes_its_own_heads_and_says_so(
    answerer, base, tmp_path, samples
):
    add_adapter(base, tmp_path / "a", size=3.0, targets=r"text_model\..*\.q_proj")
    head = answerer.head(CLASSES)

    with answerer.use(tmp_path / "a") as warned:
        assert "outside the vision tower" in warned[0]
        assert not torch.equal(answerer.head(CLASSES), head)

    assert answerer.head(CLASSES) is head


def test_an_adapter_of_another_base_is_named(answerer, tmp_path):
    other = make_clip(tmp_path / "other", width=24)
    add_adapter(other, tmp_path / "a")

    with (
        pytest.raises(AdapterError, match="made for another base model"),
        answerer.use(tmp_path / "a"),
    ):
        pass


def test_large_heads_are_kept_on_disk(base, tmp_path, monkeypatch):
    from copamerge.bench import clip

    monkeypatch.setenv("COPAMERGE_CACHE", str(tmp_path))
    monkeypatch.setattr(clip, "KEPT_FROM", 3)
    head = clip.load_clip(base).head(CLASSES)
    (file,) = (tmp_path / "heads").iterdir()
    monkeypatch.setattr(clip, "zero_shot_head", None)

    again = clip.load_clip(base).head(CLASSES)

    assert torch.equal(again, head)
    monkeypatch.undo()
    monkeypatch.setenv("COPAMERGE_CACHE", str(tmp_path))
    monkeypatch.setattr(clip, "KEPT_FROM", 3)
    file.write_bytes(file.read_bytes()[:10])
    assert torch.equal(clip.load_clip(base).head(CLASSES), head)
    clip.load_clip(base).head(replace(CLASSES, templates=("so {}",)))
    assert len(list((tmp_path / "heads").iterdir())) == 2


def test_small_heads_are_not_kept(base, tmp_path, monkeypatch):
    from copamerge.bench import clip

    monkeypatch.setenv("COPAMERGE_CACHE", str(tmp_path))
    clip.load_clip(base).head(CLASSES)

    assert not list(tmp_path.iterdir())


def test_texts_that_are_too_long_are_named(answerer):
    long = Classes(("short", "x" * 50), ("a {}", "the {}"))

    with pytest.raises(SuiteError, match=r"is 5. tokens and the model reads 32; shorten it"):
        answerer.head(long)


def test_a_task_without_labels_and_samples_without_a_picture(answerer, samples):
    with pytest.raises(SuiteError, match="list the names of its classes"):
        answerer.answer(samples, Asking(), 8)
    bare = Sample("bare", (), "what?", ("x",))
    with pytest.raises(SuiteError, match="'bare': one picture is needed"):
        answerer.answer([bare], Asking(classes=CLASSES), 8)


def test_pictures_of_any_form_are_read_by_pillow(answerer):
    from transformers import CLIPImageProcessorPil

    wide = np.zeros((20, 60, 3), dtype=np.uint8)

    assert isinstance(answerer.processor.image_processor, CLIPImageProcessorPil)
    assert answerer.features([wide, wide[:, :20]]).shape == (2, 16)
    padded = Asking(classes=CLASSES, frame="pad")
    assert answerer.answer([Sample("a", (wide,), "", ("x",))], padded, 1)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda x: (x / "config.json").write_text('{"model_type": "llama"}'), "of type 'llama'"),
        (lambda x: (x / "config.json").write_text("{"), "of type None"),
        (lambda x: (x / "config.json").unlink(), "not a model folder"),
        (lambda x: (x / "model.safetensors").write_bytes(b"x"), "cannot load this as a CLIP"),
        (lambda x: (x / "tokenizer.json").write_text("{"), "cannot load this as a CLIP"),
        (lambda x: (x / "preprocessor_config.json").unlink(), "preprocessor_config.json"),
    ],
)
def test_a_base_that_is_no_clip(base, tmp_path, damage, sentence):
    import shutil

    from copamerge.bench.clip import load_clip

    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    (broken / "processor_config.json").unlink(missing_ok=True)
    damage(broken)

    with pytest.raises(SuiteError, match=sentence):
        load_clip(broken)


def test_a_picture_that_does_not_open_is_wrong_and_the_run_goes_on(base, tmp_path, copamerge_cli):
    file = two_sets(tmp_path)
    (tmp_path / "two" / "test" / "dark" / "000.png").write_bytes(b"no picture")

    ran = copamerge_cli("evaluate", "--suite", file, "--base", base, "-o", tmp_path / "run")

    assert ran.code == 2
    assert "dark/000.png: not a picture that Pillow can read" in ran.err
    import json

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["suite"] == "shades"
    assert record["suite_file"] == str(file)
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert {(row["task"], row["unasked"], row["items"]) for row in rows} == {
        ("one", 0, 12),
        ("two", 1, 12),
    }


def test_the_same_command_finds_its_answers_again(base, tmp_path, copamerge_cli):
    file = two_sets(tmp_path)
    words = ("evaluate", "--suite", file, "--base", base, "-o", tmp_path / "run")
    assert copamerge_cli(*words).code == 0
    answers = {x: x.stat().st_mtime_ns for x in (tmp_path / "run" / "answers").iterdir()}

    assert copamerge_cli(*words).code == 0

    assert answers == {x: x.stat().st_mtime_ns for x in (tmp_path / "run" / "answers").iterdir()}


def test_a_run_of_a_suite_file_can_be_reported(base, tmp_path, copamerge_cli):
    file = two_sets(tmp_path)
    copamerge_cli("evaluate", "--suite", file, "--base", base, "-o", tmp_path / "run")

    ran = copamerge_cli("report", tmp_path / "run", "-o", tmp_path / "report")

    assert ran.code == 0, ran.err
    pages = "".join(page.read_text() for page in (tmp_path / "report").rglob("*.html"))
    assert str(file) in pages


def test_a_base_that_cannot_answer_the_suite_is_refused_before_anything_is_merged(
    base, tmp_path, copamerge_cli
):
    from copamerge.bench.zoo import write_manifest

    suite = two_sets(tmp_path)
    for name, folder in (("one", base), ("two", base)):
        add_adapter(folder, tmp_path / "zoo" / "shared" / name)
    write_manifest(tmp_path / "zoo")
    other = tmp_path / "llava"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "llava"}')
    given = ("--zoo", tmp_path / "zoo", "-o", tmp_path / "out")

    labels = copamerge_cli("bench", suite, "--base", other, *given)
    texts = copamerge_cli("bench", "mini", "--base", base, "-o", tmp_path / "out")

    assert labels.code == texts.code == 2
    assert "labels are chosen by a CLIP model, and this is of type 'llava'" in labels.err
    assert "a CLIP model chooses among labels, and the suite 'mini' asks for texts" in texts.err
    assert not (tmp_path / "out").exists()


def test_a_table_of_another_suite_is_refused(tmp_path, copamerge_cli):
    """Its page would call other sets by the names of the paper's table."""
    ran = copamerge_cli(
        *("bench", two_sets(tmp_path), "--experiment", "table4", "--zoo", tmp_path / "none"),
        *("-o", tmp_path / "out"),
    )

    assert ran.code == 2
    assert "--experiment table4: is a table of the suite 'clip8', and this is 'shades'" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_run_of_another_suite_is_not_replaced(base, tmp_path, copamerge_cli):
    suite = two_sets(tmp_path)
    adapter = add_adapter(base, tmp_path / "adapter")
    given = ("--base", base, "--adapter", adapter, "-o", tmp_path / "out")
    assert copamerge_cli("evaluate", "--suite", suite, *given).code == 0
    before = (tmp_path / "out" / "results.json").read_bytes()
    other = tmp_path / "other.yaml"
    other.write_text(suite.read_text().replace("name: shades", "name: other"))

    ran = copamerge_cli("evaluate", "--suite", other, *given)

    assert ran.code == 2
    assert "holds a run of the suite 'shades', whose results one of 'other'" in ran.err
    assert (tmp_path / "out" / "results.json").read_bytes() == before
    assert copamerge_cli("evaluate", "--suite", suite, *given).code == 0
