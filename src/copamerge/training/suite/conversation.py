"""Which text a sample becomes, and which tokens of it are learned: answers and their end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from copamerge.bench.prompting import IMAGE, prompt, vicuna_prompt
from copamerge.errors import SuiteError
from copamerge.suites import Asking, Sample


class Piece(NamedTuple):
    """A part of a conversation's text."""

    text: str
    learned: bool


@dataclass(frozen=True)
class Learned:
    """The tokens of a text that cost loss, counted from its end: pictures, which become many
    tokens, stand before all of them."""

    tokens: int
    """Of the whole text, each picture being one."""
    spans: tuple[tuple[int, int], ...]
    """(first, after the last) as tokens that follow: (3, 0) are the last three."""

    @property
    def count(self) -> int:
        return sum(first - last for first, last in self.spans)


@dataclass(frozen=True)
class Reader:
    """A processor, and the texts of the tokens with which an answer may end."""

    processor: Any
    ends: tuple[str, ...]
    """The tokenizer's own first: it ends answers whose template writes no end."""
    added: dict[tuple[tuple[int, ...], ...], int] = field(default_factory=dict, compare=False)
    """Shapes of a sample's framed pictures -> tokens they add; filled as they are met."""

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    def pieces(self, sample: Sample, asking: Asking) -> list[Piece]:
        """The conversation, prompts exactly as they are when the sample is asked.

        Raises:
            SuiteError: the chat template does not show what it is given.
        """
        turns = [(sample.question, sample.references[0]), *sample.further]
        if asking.template == "vicuna_v1":
            token = getattr(self.processor, "image_token", IMAGE)
            first = vicuna_prompt(sample.question, len(sample.images), token)
            # LLaVA's next turn follows the end token without a blank.
            prompts = [first, *(f"USER: {question} ASSISTANT:" for question, _ in sample.further)]
            return [
                piece
                for text, (_, answer) in zip(prompts, turns, strict=True)
                for piece in (Piece(text, False), Piece(f" {answer.strip()}{self.ends[0]}", True))
            ]
        return self._templated(sample, asking, turns)

    def _templated(
        self, sample: Sample, asking: Asking, turns: Sequence[tuple[str, str]]
    ) -> list[Piece]:
        pictures = [{"type": "image"}] * len(sample.images)
        messages: list[dict[str, Any]] = []
        pieces: list[Piece] = []
        written = ""  # by the template so far
        for i, (question, answer) in enumerate(turns):
            text = {"type": "text", "text": question}
            messages.append({"role": "user", "content": [*(() if i else pictures), text]})
            asked = prompt(self.processor, sample, asking) if i == 0 else self._rendered(messages)
            if question.strip() not in asked or ("'type'" in asked and "'type'" not in question):
                raise SuiteError(
                    f"sample {sample.id!r}: the base's chat template does not show the question "
                    "as it is; give the base a template that takes lists of parts"
                )
            if not asked.startswith(written):
                raise SuiteError(
                    f"sample {sample.id!r}: the base's chat template writes earlier turns "
                    "differently when another follows, so its later turns cannot be trained on"
                )
            pieces.append(Piece(asked[len(written) :], False))
            answer = answer.strip()
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
            said, ended = self._answer(messages, asked, answer)
            pieces.append(Piece(said if ended else said + self.ends[0], True))
            written = asked + said
        return pieces

    def _rendered(self, messages: Sequence[dict[str, Any]], *, asking: bool = True) -> str:
        return str(
            self.processor.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=asking
            )
        )

    def _answer(
        self, messages: Sequence[dict[str, Any]], asked: str, answer: str
    ) -> tuple[str, bool]:
        """What the template makes of the answer, and whether it ends it."""
        plain = "" if asked[-1:].isspace() else " "
        try:
            whole = self._rendered(messages, asking=False)
        except Exception:  # whatever a template raises that takes no answers
            return plain + answer, False
        rest = whole[len(asked) :]
        lead, found, tail = rest.partition(answer)
        if not whole.startswith(asked) or not found or lead.strip():
            return plain + answer, False
        blank = len(tail) - len(tail.lstrip())
        for end in self.ends:
            if tail[blank:].startswith(end):
                return lead + answer + tail[: blank + len(end)], True
        return lead + answer, False

    def learned(self, pieces: Sequence[Piece]) -> Learned:
        """Which tokens cost loss, in a text in which each picture is one token."""
        whole = self._ids("".join(piece.text for piece in pieces))
        text, borders = "", [0]
        for piece in pieces[:-1]:
            text += piece.text
            borders.append(_shared(self._ids(text), whole))
        borders.append(len(whole))
        spans = tuple(
            (len(whole) - first, len(whole) - last)
            for piece, first, last in zip(pieces, borders, borders[1:], strict=False)
            if piece.learned
        )
        return Learned(len(whole), spans)

    def _ids(self, text: str) -> list[int]:
        start = self.tokenizer.bos_token
        special = not (start and text.startswith(start))
        ids: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return ids


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with. A text that goes on may be cut elsewhere at its end: such a
    token is learned with the answer."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def answer_ends(model: Any, tokenizer: Any) -> tuple[str, ...]:
    """The tokenizer's end token, and the others at which the model stops writing."""
    own = model.generation_config.eos_token_id if model.generation_config else None
    ids = [tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return tuple(dict.fromkeys(tokenizer.convert_ids_to_tokens(i) for i in ids if i is not None))
