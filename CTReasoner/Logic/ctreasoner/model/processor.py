"""Text in, token ids out: the tokenizer, the learned names of objects, and the layout of a question."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from transformers import PreTrainedTokenizerFast, ProcessorMixin

from ctreasoner.errors import ModelError, UsageError
from ctreasoner.model import grammar

LONGEST_QUESTION = 600            # characters
WHOLE_TOKENS, REGION_TOKENS = 64, 3


@dataclass
class Turn:
    """An earlier question of a conversation: its words and the tokens of its plan."""
    text: str
    plan: list[int]


@dataclass
class Question:
    """A question as ids. `words` are the positions of the prompt's pieces in `ids`, `offsets` their characters in the text;
    `points` the positions of click tokens."""
    ids: list[int]
    words: tuple[int, int]
    offsets: list[tuple[int, int]]
    points: list[int] = field(default_factory=list)


class CTReasonerProcessor(ProcessorMixin):
    """Tokenizer (byte-level BPE, trained for this model) and `names`: key -> the words that name it in an answer."""

    attributes: ClassVar = ["tokenizer"]
    tokenizer_class = "PreTrainedTokenizerFast"

    def __init__(self, tokenizer: PreTrainedTokenizerFast | None = None, names: dict[str, str] | None = None,
                 slots: list[str] | None = None, **kwargs):
        super().__init__(tokenizer)
        self.names, self.slots = dict(names or {}), list(slots or [])
        self.ids: dict[str, int] = tokenizer.get_vocab()
        missing = [t for t in grammar.special_tokens(self.slots) if t not in self.ids]
        if missing:
            raise ModelError(f"The tokenizer does not know {missing[0]}: it belongs to another version of the model.",
                             code="CTR-MODEL-004")
        self.pieces: dict[int, str] = {i: t for t, i in self.ids.items()}
        self.name_ids = {key: tuple(self.encode(" " + words)) for key, words in self.names.items()}

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        """Pieces back to text; special tokens keep their written form."""
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def question(self, text: str, points: list[str] = (), history: list[Turn] = ()) -> Question:
        """<scan> 64 x <vis>, earlier turns, <user> words and prompt tokens <answer>.

        `points` are prompt tokens ("<click+>", "<region>", ...) in order. Raises UsageError when the text is too long.
        """
        if len(text) > LONGEST_QUESTION:
            raise UsageError(f"The question has {len(text)} characters; at most {LONGEST_QUESTION} are read.",
                             code="CTR-ASK-002", hint="Ask one thing at a time.")
        ids = [self.ids["<scan>"]] + [self.ids["<vis>"]] * WHOLE_TOKENS
        for turn in history:
            ids += [self.ids["<user>"], *self.encode(turn.text.lower().strip()), self.ids["<answer>"], *turn.plan]
        ids.append(self.ids["<user>"])
        first = len(ids)
        encoded = self.tokenizer(text.lower(), add_special_tokens=False, return_offsets_mapping=True)
        offsets = [tuple(o) for o in encoded["offset_mapping"]]
        ids += [i if self.pieces[i] not in _RESERVED else self.ids["<pad>"] for i in encoded["input_ids"]]
        last = len(ids)
        places = [len(ids) + n for n in range(len(points))]
        ids += [self.ids[p] for p in points] + [self.ids["<answer>"]]
        return Question(ids, (first, last), offsets, places)

    def block(self, number: int, key: str | None, state: str) -> list[int]:
        """The beginning of an object's block: number, name, state."""
        return [self.ids[f"<obj:{number}>"], *self.name(key), self.ids[grammar.STATE_TOKENS[state]]]

    def name(self, key: str | None) -> list[int]:
        if key in self.name_ids:
            return list(self.name_ids[key])
        return [self.ids["<THING>" if key == "thing" else "<ASKED>"]]

    def plan(self, routes: list[str], objects: list[tuple[int, str | None, bool]]) -> list[int]:
        """The tokens of a plan: objects are (number, key, reference)."""
        if routes and routes[0] in ("decline", "need_click"):
            return [self.ids[f"<{routes[0].upper()}>"], self.ids["<GO>"]]
        out = [self.ids[grammar.ROUTE_TOKENS[r]] for r in grammar.ROUTES if r in routes]
        for number, key, reference in objects:
            out += [self.ids[f"<REF:{number}>"]] if reference else [self.ids[f"<obj:{number}>"], *self.name(key), self.ids["<DET>"]]
        return [*out, self.ids["<GO>"]]

    def told(self, objects: list[tuple[str | None, str, dict[str, str]]]) -> list[int]:
        """<WORDS>, then per object (key, state, categories) what the words may rest on, then <SAY>."""
        out = [self.ids["<WORDS>"]]
        for n, (key, state, categories) in enumerate(objects[:grammar.MOST_OBJECTS], 1):
            out += self.block(n, key, state) + [self.ids[f"<cat:{a}={v}>"] for a, v in categories.items()]
        return [*out, self.ids["<SAY>"]]


_RESERVED = frozenset(grammar.STRUCTURE)      # a prompt that spells "<SEG>" must not become the token


def train_tokenizer(texts, slots: list[str], size: int = 1536) -> PreTrainedTokenizerFast:
    """Byte-level BPE of `size` pieces, special tokens first (so <pad> is 0)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = grammar.special_tokens(slots)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", clean_up_tokenization_spaces=False)
