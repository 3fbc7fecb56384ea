"""The small LLaVA's words and batches: nothing unknown, nothing trained that was not said."""

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from copamerge.suites.mini import MINI
from copamerge.suites.mini._made import made
from copamerge.suites.mini.draw import GRID, SIDE
from copamerge.suites.mini.lessons import LATE, LESSONS
from copamerge.training.mini.base import BaseRecipe, late_mixture, mixture
from copamerge.training.mini.model import Size, build_model, build_processor
from copamerge.training.mini.questions import IGNORED, Collator, Questions, encoded, prompt_text
from copamerge.training.mini.vision import Pictures, collate, pixel_values
from copamerge.training.mini.words import IMAGE, UNKNOWN, build_tokenizer, vocabulary


def said(split):
    for task in MINI.tasks:
        for sample in task.samples(split, 150, seed=7):
            yield sample.question, sample.references
    for lesson in (*LESSONS, *LATE):
        for index in range(100):
            one = made(lesson, lesson.__name__, index, split, 7)
            yield one.question, one.references
            yield from ((question, (answer,)) for question, answer in one.more)


def test_every_word_of_every_task_and_lesson_is_known(tokenizer):
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    for split in ("train", "validation", "test"):
        for question, references in said(split):
            for text in (question, *references):
                assert unknown not in tokenizer(text)["input_ids"], text


def test_every_reference_survives_the_tokenizer(tokenizer):
    for _, references in said("test"):
        for text in references:
            assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_two_tokenizers_are_the_same(tokenizer):
    vocabulary.cache_clear()
    assert build_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_training_inputs_are_what_the_processor_makes(tokenizer):
    processor = build_processor(tokenizer)
    for task in MINI.tasks:
        (sample,) = task.samples("test", 1)
        text = prompt_text(tokenizer, sample.question, pictured=True)
        made_by_processor = processor(images=sample.images[0], text=text, return_tensors="pt")
        row = encoded(tokenizer, sample.images[0], (sample.question, sample.references[0]))
        prompt = [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label < 0]
        assert made_by_processor["input_ids"][0].tolist() == prompt
        torch.testing.assert_close(
            pixel_values([sample.images[0]]), made_by_processor["pixel_values"], atol=1e-6, rtol=0
        )


def test_labels_say_the_answer_and_the_end_and_nothing_else(tokenizer):
    for task in MINI.tasks:
        for sample in task.samples("train", 10):
            row = encoded(tokenizer, sample.images[0], (sample.question, sample.references[0]))
            learned = [label for label in row["labels"] if label != IGNORED]
            assert learned[-1] == tokenizer.eos_token_id
            assert tokenizer.decode(learned[:-1]) == sample.references[0]


TURNS = (("what color is the star ?", "red"), ("add 3 and 4 .", "7"), ("is it off ?", "no"))


def test_further_turns_add_answers_but_no_second_picture(tokenizer):
    picture = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    row = encoded(tokenizer, picture, *TURNS)
    text = tokenizer.decode(row["input_ids"])
    assert text.count(IMAGE) == GRID * GRID
    assert text.count("USER") == 1
    assert text.count("ASSISTANT") == 3
    learned = tokenizer.decode([label for label in row["labels"] if label != IGNORED])
    assert learned.replace(" </s>", "</s>") == "red</s> 7</s> no</s>"


@pytest.mark.parametrize("pictured", [True, False])
def test_every_turn_of_a_row_is_asked_as_if_alone(tokenizer, pictured):
    """The same logits as in rows of their own; a mutant that shows turns to each other fails."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8) if pictured else None
    model = build_model(tokenizer, Size(), seed=0).eval()
    together = encoded(tokenizer, picture, *TURNS)
    batch = Collator(tokenizer)([together, encoded(tokenizer, None, *TURNS, *TURNS)])
    with torch.no_grad():
        logits = model(**batch).logits[0]
    turn = torch.tensor(together["turn"])
    for place, question in enumerate(TURNS, 1):
        alone = Collator(tokenizer)([encoded(tokenizer, picture, question)])
        with torch.no_grad():
            expected = model(**alone).logits[0]
        mine = (turn == 0) | (turn == place)
        torch.testing.assert_close(logits[: len(turn)][mine], expected, atol=1e-5, rtol=0)
    seeing_all = (torch.arange(len(turn))[:, None] >= torch.arange(len(turn)))[None, None]
    with torch.no_grad():
        wrong = model(**{**Collator(tokenizer)([together]), "attention_mask": seeing_all}).logits[0]
    assert (wrong[-1] - logits[len(turn) - 1]).abs().max() > 1e-3


def test_a_batch_pads_on_the_right_and_keeps_samples_without_a_picture(tokenizer):
    picture = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    rows = [
        encoded(tokenizer, picture, ("what color is the star ?", "red")),
        encoded(tokenizer, None, ("add 3 and 4 .", "3 plus 4 makes 7 .")),
    ]
    batch = Collator(tokenizer)(rows)
    assert batch["pixel_values"].shape == (1, 3, SIDE, SIDE)
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    assert (batch["input_ids"] == image).sum(1).tolist() == [GRID * GRID, 0]
    short = len(rows[1]["input_ids"])
    assert batch["attention_mask"][1].tolist() == [1] * short + [0] * (
        batch["input_ids"].shape[1] - short
    )
    assert (batch["labels"][1, short:] == IGNORED).all()


def test_row_i_of_a_mixture_is_always_the_same(tokenizer):
    rows, again = (Questions(tokenizer, mixture(0.1), 100, seed=3) for _ in range(2))
    for index in (0, 7, 99):
        assert rows[index]["input_ids"] == again[index]["input_ids"]


def test_the_share_of_forms_is_the_share_of_seen_tasks(tokenizer):
    shares = mixture(0.06, 0.02)
    assert sum(shares.values()) == pytest.approx(1)
    assert sum(shares[task] for task in MINI.seen) == pytest.approx(0.06)
    assert sum(shares[task] for task in MINI.unseen) == pytest.approx(0.02)
    assert not any(task in mixture() for task in MINI.tasks)


def test_the_last_stage_has_every_lesson_and_its_own():
    shares = late_mixture(BaseRecipe())
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {*LESSONS, *LATE, *MINI.tasks}


def test_pictures_for_the_tower_come_with_labels_for_every_patch():
    batch = collate([Pictures(50, seed=1)[i] for i in range(5)])
    assert batch.pop("pixel_values").shape == (5, 3, SIDE, SIDE)
    assert all(labels.shape == (5, GRID * GRID) for labels in batch.values())
