"""The language model at work: it plans under the grammar, carries an object through its looks, and writes the words.

Decoding is greedy and runs on one key-value cache. Forced tokens go through in chunks; after each object's block the cache is
cut back to the plan, so that objects do not see each other.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache

from ctreasoner.model import grammar
from ctreasoner.model.eyes import Sight
from ctreasoner.model.language import Language, pooled_tokens, token_places
from ctreasoner.model.processor import CTReasonerProcessor, Question

MOST_WORDS = 160


@dataclass
class Thought:
    """A plan with what the heads need: codes at each <DET>, the words each refers to, and the cache after <GO>."""
    plan: grammar.Plan
    codes: dict[int, Tensor]                    # object number -> code [128] at its <DET>
    asked: dict[int, tuple[int, int]]           # object number -> first and last prompt piece
    cache: DynamicCache
    length: int
    tokens: list[int] = field(default_factory=list)
    block: tuple[int, str | None] | None = None  # number and key of the object whose block is open
    looked: bool = False                        # whether that block holds a look


class Speaker:
    """`calls` counts forward passes; `origin_mm` of a conversation is the centre of view 0."""

    def __init__(self, language: Language, processor: CTReasonerProcessor, whole_tokens: int = 4, look_tokens: int = 3):
        self.language, self.processor = language, processor
        self.t = processor.ids
        self.whole_tokens, self.look_tokens = whole_tokens, look_tokens
        self._objects = [self.t[text] for text in grammar.OBJECT_TOKENS]
        self._plain = grammar.plain_tokens(processor.pieces, processor.slots)

    @torch.inference_mode()
    def think(self, question: Question, whole: Sight, points: list[tuple[Tensor, Tensor]], known: dict[int, str | None],
              most_objects: int) -> Thought:
        """Reads the question and decodes its plan. `points` are (features [192], place [4]) of the prompt tokens."""
        logits, states, cache = self._read(question, whole, points)
        words = states[0, slice(*question.words)]
        machine = grammar.PlanGrammar(self.t, self.processor.name_ids, known=known, pointer=bool(points), most_objects=most_objects)
        codes, asked = {}, {}
        while not machine.finished:
            token = self._choice(logits[0, -1], machine.allowed())
            number = machine.earlier() if token == self.t["<DET>"] else None
            if number is not None:
                cache.crop(-machine.unname())
                token = self.t[grammar.REFERENCE_TOKENS[number - 1]]
            machine.advance(token)
            logits, states, cache = self.language(self.language.embed(torch.tensor([[token]])), cache=cache)
            if token == self.t["<DET>"]:
                number = machine.plan.objects[-1].number
                codes[number] = self.language.code(states[0, -1])
                if len(words):
                    first, last = self.language.pointer(states[0, -1:], words)[0].argmax(-1).tolist()
                    asked[number] = (first, max(first, last))
        return Thought(machine.plan, codes, asked, cache, cache.get_seq_length(), [*question.ids, *machine.plan.tokens])

    @torch.inference_mode()
    def given(self, question: Question, whole: Sight, points: list[tuple[Tensor, Tensor]], key: str) -> Thought:
        """Reads the question and a plan that is not its own choice: to segment one object with this key. The codes are its own."""
        _, _, cache = self._read(question, whole, points)
        machine = grammar.PlanGrammar(self.t, self.processor.name_ids, pointer=bool(points))
        for token in self.processor.plan(["segment"], [(1, key, False)]):
            machine.advance(token)
        tokens = machine.plan.tokens
        _, states, cache = self.language(self.language.embed(torch.tensor([tokens])), cache=cache)
        code = self.language.code(states[0, tokens.index(self.t["<DET>"])])
        return Thought(machine.plan, {1: code}, {}, cache, cache.get_seq_length(), [*question.ids, *tokens])

    def _read(self, question: Question, whole: Sight, points: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, DynamicCache]:
        """Logits, hidden states and cache of the language model behind a question."""
        embeds = self.language.embed(torch.tensor([question.ids])).clone()
        embeds[0, 1:1 + self.whole_tokens ** 3] = self._visual(whole, self.whole_tokens, whole)[0]
        for position, (features, place) in zip(question.points, points, strict=True):
            embeds[0, position] += self.language.point_tokens(features[None], place[None])[0]
        return self.language(embeds, cache=DynamicCache())

    def _choice(self, logits: Tensor, allowed: list[int]) -> int:
        """The likeliest of the allowed tokens. That an object is new is the model's choice, its number is the grammar's count:
        the one legal <obj:n> stands for all of them."""
        scores = logits[allowed].clone()
        for place, token in enumerate(allowed):
            if token in self._objects:
                scores[place] = logits[self._objects].logsumexp(0)
        return allowed[int(scores.argmax())]

    @torch.inference_mode()
    def begin(self, thought: Thought, number: int, key: str | None) -> Tensor:
        """Opens the block of a present object; the code at its first <BOX>."""
        self._back(thought)
        thought.block, thought.looked = (number, key), False
        return self._feed(thought, [*self.processor.block(number, key, "present"), self.t["<BOX>"]])

    @torch.inference_mode()
    def look(self, thought: Thought, sight: Sight, whole: Sight) -> Tensor:
        """Reads the tokens of a look; the code at the <BOX> behind it.

        A further look writes the block anew: the model learned blocks that hold one look, the last.
        """
        if thought.looked:
            self.begin(thought, *thought.block)
        thought.looked = True
        tokens = self._visual(sight, self.look_tokens, whole)
        look, box = (self.language.embed(torch.tensor([[self.t[t]]])) for t in ("<LOOK>", "<BOX>"))
        return self._run(thought, torch.cat([look, tokens, box], 1))

    @torch.inference_mode()
    def segment(self, thought: Thought) -> Tensor:
        """The code at <SEG>."""
        return self._feed(thought, [self.t["<SEG>"]])

    @torch.inference_mode()
    def categories(self, thought: Thought, key: str, region: Tensor) -> list[tuple[str, str, float]]:
        """The model's choice for each attribute of an object, from region features [3, 120]: (attribute, value, probability)."""
        logits, _, thought.cache = self.language(self.language.region_tokens(region)[None], cache=thought.cache)
        out = []
        for attribute, choices in grammar.category_choices(self.t, key):
            p = logits[0, -1, [token for _, token in choices]].softmax(-1)
            best = int(p.argmax())
            out.append((attribute, choices[best][0], float(p[best])))
            logits, _, thought.cache = self.language(self.language.embed(torch.tensor([[choices[best][1]]])), cache=thought.cache)
        return out

    @torch.inference_mode()
    def say(self, thought: Thought, told: list[tuple[str | None, str, dict[str, str]]], slots: list[set[str]]) -> str:
        """The words of the answer with their slots, from (key, state, categories) of its objects.

        `slots` holds, for each object, the names of the slots that say something of it (of the scan, where there is no object).
        That a category is said, and how, is chosen here; which one was chosen in the object's block.
        """
        self._back(thought)
        machine = grammar.WordGrammar(self.t, self.processor.pieces, self._plain, slots, [c for _, _, c in told])
        out: list[int] = []
        scores = [self._next(thought, self.processor.told(told))]               # one more than there are words
        while len(out) < MOST_WORDS:
            allowed = machine.tokens()
            token = allowed[int(scores[-1][allowed].argmax())]
            back = machine.unsaid(token)
            if back is not None:                                                # another way to go on behind the verb
                if back:
                    token = out[-back]
                    del out[-back:], scores[-back:]
                    machine.take_back(back)
                    thought.cache.crop(-back)
                scores[-1][token] = -torch.inf
                continue
            if token == self.t["<end>"]:
                break
            machine.advance(token)
            out.append(token)
            scores.append(self._next(thought, [token]))
        return self.processor.decode(out)

    def _next(self, thought: Thought, ids: list[int]) -> Tensor:
        """Scores of every token behind these."""
        logits, _, thought.cache = self.language(self.language.embed(torch.tensor([ids])), cache=thought.cache)
        return logits[0, -1].clone()

    @staticmethod
    def _back(thought: Thought) -> None:
        """Cuts the cache back to the plan."""
        surplus = thought.cache.get_seq_length() - thought.length
        if surplus > 0:
            thought.cache.crop(-surplus)

    def _feed(self, thought: Thought, ids: list[int]) -> Tensor:
        return self._run(thought, self.language.embed(torch.tensor([ids])))

    def _run(self, thought: Thought, embeds: Tensor) -> Tensor:
        _, states, thought.cache = self.language(embeds, cache=thought.cache)
        return self.language.code(states[0, -1])

    def _visual(self, sight: Sight, per_axis: int, whole: Sight) -> Tensor:
        view = sight.view
        places = token_places(torch.tensor(view.lo, dtype=torch.float32), torch.tensor(view.size_mm, dtype=torch.float32),
                              view.spacing_mm[0], per_axis, torch.tensor(whole.view.centre_ras, dtype=torch.float32))
        return self.language.visual_tokens(pooled_tokens(sight.features, per_axis), places[None])


def point_place(voxel: Tensor, view) -> Tensor:
    """The place [4] of a point given in voxels of view 0: relative to its centre, in units of 200 mm, and the log spacing."""
    shape = torch.tensor(view.shape, dtype=torch.float32)
    mm = (voxel - (shape - 1) / 2) * view.spacing_mm[0] / 200.0
    return torch.cat([mm, torch.tensor([view.spacing_mm[0]], dtype=torch.float32).log()])
