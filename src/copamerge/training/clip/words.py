"""The tokenizer of a small CLIP: one token a word of the captions, other words letter by letter."""

from collections.abc import Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from copamerge.suites import Classes

PAD, START, UNKNOWN, END = "<pad>", "<s>", "<unk>", "</s>"
SPECIAL = (PAD, START, UNKNOWN, END)
"""END is not the third: transformers reads CLIPs whose end token is 2 in an older way."""
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MARKS = "!\"#$%&'()*+,-./:;<=>?@[]^_`|~"
LENGTH = 32
"""Tokens of a text at most."""


def build_tokenizer(classes: Sequence[Classes]) -> PreTrainedTokenizerFast:
    """Of all words in the classes' names and templates; capitals are no difference."""
    splitter = pre_tokenizers.BertPreTokenizer()
    words = set[str]()
    for each in classes:
        for text in (*each.names, *(template.replace("{}", " ") for template in each.templates)):
            words.update(piece for piece, _ in splitter.pre_tokenize_str(text.lower()))
    pieces = dict.fromkeys([*SPECIAL, *sorted(words), *LETTERS, *MARKS])
    pieces.update(dict.fromkeys(f"##{letter}" for letter in LETTERS))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="right",
        model_max_length=LENGTH,
    )
