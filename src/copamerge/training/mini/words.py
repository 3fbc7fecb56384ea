"""The tokenizer of the small LLaVA: one token a word, made from what the tasks can say."""

from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from copamerge.suites import Split
from copamerge.suites.mini import MINI
from copamerge.suites.mini._made import made
from copamerge.suites.mini.draw import SIDE, STEP, coordinate
from copamerge.suites.mini.lessons import LESSONS

IMAGE, PAD, START, END, UNKNOWN = "<image>", "<pad>", "<s>", "</s>", "<unk>"
SPECIAL = (PAD, START, END, UNKNOWN, IMAGE)
PIECE = r"<image>|\d\.\d{3}|[A-Za-z]+|\d+|[^\w\s]"
"""A box coordinate, a word, a number, or a mark."""
CHAT = (
    "{% for message in messages %}"
    "{{ message['role'] | upper }} : "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %} "
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT :{% endif %}"
)
"""The chat template: `USER : <image> what is this ? ASSISTANT :`."""
DRAWS = 600
"""Samples of each task and lesson from which the words are gathered."""


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of the tasks and lessons, sorted, after the special tokens."""
    splitter = _splitter()
    words = {"USER", "ASSISTANT", ":"}
    words.update(coordinate(step) for step in range(SIDE // STEP + 1))
    words.update(str(number) for number in range(19))
    split: Split = "train"
    for task in MINI.tasks:
        for sample in task.samples(split, DRAWS, seed=1):
            for text in (sample.question, *sample.references):
                words.update(piece for piece, _ in splitter.pre_tokenize_str(text))
    for lesson in LESSONS:
        for index in range(DRAWS):
            one = made(lesson, lesson.__name__, index, split, 1)
            for text in (
                one.question,
                *one.references,
                *(text for turn in one.more for text in turn),
            ):
                words.update(piece for piece, _ in splitter.pre_tokenize_str(text))
    return (*SPECIAL, *sorted(words - set(SPECIAL)))


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "removed"),
            pre_tokenizers.Split(Regex(PIECE), "isolated"),
        ]
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer whose decoded boxes read `[0.083, 0.000, 0.417, 0.333]`."""
    words = {word: index for index, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace("[ ", "["),
            decoders.Replace(" ]", "]"),
            decoders.Replace(" ,", ","),
        ]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT,
        model_max_length=256,
    )
