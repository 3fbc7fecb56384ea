"""What is learned is the answer and its end, read back by decoding the labels."""

import pytest

pytest.importorskip("transformers")

import torch
from tiny_bases import (
    CHATML,
    LLAVA_HF,
    QUESTION,
    llama_tokenizer,
    llava_processor,
    picture,
    sample,
    task,
)

from copamerge.bench.prompting import VICUNA_SYSTEM, TextProcessor, read_by
from copamerge.errors import SuiteError
from copamerge.suites import Asking
from copamerge.training.suite.conversation import Reader
from copamerge.training.suite.rows import IGNORED, Collator

VICUNA, CHAT = Asking(template="vicuna_v1"), Asking()
TURNS = (("Which letter?", "B"), ("How many dogs are there?", "two three"))

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def llava():
    return reader(llava_processor(llama_tokenizer(LLAVA_HF)))


def reader(processor, *ends):
    processor.tokenizer.padding_side = "right"
    return Reader(processor, ("</s>", *ends))


def batch_of(reader, samples, template="vicuna_v1", frame="pad", **options):
    one = task("vqa", samples, template=template)
    return Collator(reader, frame, **options)([(one, each) for each in samples])


def learned(reader, batch, row=0):
    """The decoded labels of a row, one text for each stretch of them."""
    stretches, open_ = [], False
    for label in batch["labels"][row].tolist():
        if label == IGNORED:
            open_ = False
            continue
        if not open_:
            stretches.append([])
            open_ = True
        stretches[-1].append(label)
    return [reader.tokenizer.decode(stretch) for stretch in stretches]


@pytest.mark.parametrize("template", ["vicuna_v1", "chat"])
def test_labels_of_pictured_and_text_only_samples_say_the_answer_and_the_end(llava, template):
    samples = [sample(0), sample(1, images=()), sample(2, references=("two three four.", "no"))]
    batch = batch_of(llava, samples, template)
    assert [learned(llava, batch, row) for row in range(3)] == [
        ["red</s>"],
        ["blue</s>"],
        ["two three four.</s>"],
    ]
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
    assert batch["pixel_values"].shape[0] == 2


@pytest.mark.parametrize("template", ["vicuna_v1", "chat"])
def test_what_is_not_learned_is_what_the_sample_is_asked_with(llava, template):
    """Token by token, the picture's included: a prompt that differed would be another task."""
    one = sample(0)
    batch = batch_of(llava, [one], template, frame="pad")
    asked = read_by(llava.processor, [one], Asking(template=template, frame="pad"))
    prompt = batch["input_ids"][batch["labels"] == IGNORED]
    assert prompt.tolist() == asked["input_ids"][0].tolist()
    torch.testing.assert_close(batch["pixel_values"], asked["pixel_values"])


@pytest.mark.parametrize("images", [1, 0])
def test_tokens_and_labels_are_those_of_the_original_code(llava, images):
    """LLaVA cuts the text at the picture and gives each part to the tokenizer alone; it masks what
    comes before the blank after `ASSISTANT:`."""
    tokenizer = llava.tokenizer
    one = sample(0, images=(picture(0),) * images)
    head = f"{VICUNA_SYSTEM} USER: "
    tail = f"{QUESTION} ASSISTANT: red</s>"

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    token = tokenizer.convert_tokens_to_ids("<image>")
    batch = batch_of(llava, [one])
    got = batch["input_ids"][0].tolist()
    if images:
        (places,) = [got.count(token)]
        expected = [
            tokenizer.bos_token_id,
            *ids(head),
            *[token] * places,
            *ids("\n" + tail),
        ]
    else:
        expected = [tokenizer.bos_token_id, *ids(head + tail)]
    assert got == expected
    marks = batch["labels"][0].tolist()
    # A blank before every text makes `red` alone what it is after `ASSISTANT:`.
    assert [x for x in marks if x != IGNORED] == [*ids("red"), tokenizer.eos_token_id]


def test_every_answer_of_a_conversation_is_learned_and_no_question(llava):
    batch = batch_of(llava, [sample(0, further=TURNS)])
    assert learned(llava, batch) == ["red</s>", "B</s>", "two three</s>"]
    text = llava.tokenizer.decode(batch["input_ids"][0])
    assert "ASSISTANT: red</s>" in text and text.count("USER:") == 3
    assert text.count(VICUNA_SYSTEM) == 1


@pytest.mark.parametrize("template", [LLAVA_HF, CHATML])
def test_conversations_through_a_chat_template(template):
    tokenizer = llama_tokenizer(template, more=("<|im_start|>", "<|im_end|>"))
    ends = ("<|im_end|>",) if template == CHATML else ()
    one = reader(llava_processor(tokenizer), *ends)
    batch = batch_of(one, [sample(0, further=TURNS), sample(1, images=())], "chat")
    end = ends[0] if ends else "</s>"
    told = [text.strip() for text in learned(one, batch)]
    assert told == [f"red{end}", f"B{end}", f"two three{end}"]
    assert [text.strip() for text in learned(one, batch, 1)] == [f"blue{end}"]


def test_a_language_model_without_a_template_learns_the_answer_after_the_question():
    one = reader(TextProcessor(llama_tokenizer()))
    batch = batch_of(one, [sample(0, images=(), question="Which letter?")], "chat")
    assert one.tokenizer.decode(batch["input_ids"][0]) == "<s> Which letter?\nred</s>"
    assert learned(one, batch) == ["\nred</s>"]


def test_a_template_that_prints_pythons_lists_is_refused():
    template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    one = reader(llava_processor(llama_tokenizer(template)))
    with pytest.raises(SuiteError, match="does not show the question as it is"):
        batch_of(one, [sample(0, question="Which letter?")], "chat")


def test_an_answer_that_the_tokenizer_joins_to_its_prompt_is_learned_from_the_joint_token_on():
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    one = reader(TextProcessor(llama_tokenizer(template)))
    batch = batch_of(one, [sample(0, images=(), question="r", references=("ed",))], "chat")
    assert learned(one, batch) == ["red</s>"]


def test_a_picture_that_only_keeps_devices_together_changes_no_logit_before_it(llava, tmp_path):
    from tiny_bases import save_llava
    from transformers import LlavaForConditionalGeneration

    save_llava(tmp_path, llava.tokenizer)
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path).eval()
    samples = [sample(0, images=()), sample(1, images=(), question="Which letter?")]
    plain, more = (batch_of(llava, samples, always_pictured=x) for x in (False, True))
    assert "pixel_values" not in plain and more["pixel_values"].shape[0] == 1
    assert [learned(llava, more, i) for i in (0, 1)] == [["red</s>"], ["blue</s>"]]
    with torch.no_grad():
        torch.testing.assert_close(model(**plain).loss, model(**more).loss)
