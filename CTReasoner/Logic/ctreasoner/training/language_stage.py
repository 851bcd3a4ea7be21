"""Stage 2: the language model learns to plan, name, point, code and speak on a cache of scenes; vision is frozen."""
from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctreasoner.appearance.wording import SLOTS
from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.model import grammar
from ctreasoner.model.config import CTReasonerConfig
from ctreasoner.model.language import Language
from ctreasoner.model.processor import CTReasonerProcessor, train_tokenizer
from ctreasoner.model.vision import VisionModel
from ctreasoner.training import common, prompts
from ctreasoner.training.dialogues import NAMES, Composer, Dialogue
from ctreasoner.training.sampling import CODES, Sampler
from ctreasoner.training.scenes import Scene, SceneMaker, Seen, read_scenes, write_scenes
from ctreasoner.training.views import training_cases
from ctreasoner.training.vision_stage import IDENTITY, CodeTable

IGNORE = -100
BLIND = 0.6                  # share of questions without the scan's tokens: a plan is read from words, in half the time
POOL = 4                     # batches drawn at once and sorted by length, so that little is padded


@dataclass
class LanguageStage:
    """Settings of stage 2; seconds are wall-clock time of the training, the cache of scenes comes before."""
    data: str = "runs/data"
    vision: str = "runs/vision/vision.pt"
    out: str = "runs/language"
    scenes: int = 200
    seconds: float = 600.0
    rate: float = 2e-3
    warm_up: int = 60
    decay: float = 0.05
    batch: int = 32
    seed: int = 2
    threads: int = 2
    start: str = ""                   # an earlier language.pt (its processor beside it) or a model folder to warm-start from


@dataclass
class Sequence:
    """One training sequence: ids, targets (IGNORE where forced), what replaces placeholder embeddings, and where codes are read.

    `codes` are (position, row of the code table or None for something unknown); `pointers` (position of <DET>, first and last
    word position in the sequence)."""
    ids: list[int]
    targets: list[int]
    visual: list[tuple[int, Tensor, Tensor]]        # first position, features [n, 224], places [n, 4]
    points: list[tuple[int, Tensor, Tensor]]        # position, features [192], place [4]
    regions: list[tuple[int, Tensor]]               # first position, [3, 120]
    codes: list[tuple[int, int | None]]
    pointers: list[tuple[int, int, int]]
    words: tuple[int, int]


class SequenceMaker:
    """Puts dialogues and scenes together."""

    def __init__(self, processor: CTReasonerProcessor, composer: Composer, rng: random.Random):
        self.processor, self.composer, self.rng = processor, composer, rng
        self.t = processor.ids

    def draw(self, scene: Scene) -> Sequence:
        """A third of the sequences end with words, the others with an object's block; three in ten start from a click."""
        rng = self.rng
        if rng.random() < 0.3 and (scene.objects or len(scene.things[0])):
            return self._from_click(scene)
        dialogue = self.composer.draw()
        sequence = self.plan(dialogue, scene, sighted=rng.random() >= BLIND)
        fresh = [o for o in dialogue.objects if not o[2] and o[1] in scene.objects and o[1] != "lung_nodule"]
        if fresh and rng.random() < 0.5:
            number, key, _ = fresh[rng.randrange(len(fresh))]
            self.block(sequence, dialogue, number, key, scene.objects[key])
        else:
            self._words(sequence, dialogue)
        return sequence

    def _from_click(self, scene: Scene) -> Sequence:
        rng = self.rng
        nodules = ["lung_nodule"] * 3 if "lung_nodule" in scene.objects else []
        keys = [*scene.objects, *nodules, *([None, None] if len(scene.things[0]) else [])]
        key = rng.choice(keys)
        seen = scene.objects.get(key) if key else None
        features, places = (seen.points, seen.point_places) if seen else scene.things
        dialogue = self.composer.clicked(key, named=key is not None and rng.random() < 0.35)
        sequence = self.plan(dialogue, scene)
        for position in dialogue.question.points:
            n = rng.randrange(len(features))
            sequence.points.append((position, features[n], places[n]))
        if seen and rng.random() < 0.5:
            self.block(sequence, dialogue, dialogue.objects[0][0], key, seen)
        else:
            self._words(sequence, dialogue)
        return sequence

    def plan(self, dialogue: Dialogue, scene: Scene, sighted: bool = True) -> Sequence:
        """The question and its plan, with the whole scan's tokens before it or without them."""
        question, plan = dialogue.question, dialogue.plan
        ids, words = question.ids, question.words
        if not sighted:
            ids = [i for i in ids if i != self.t["<vis>"]]
            hidden = len(question.ids) - len(ids)
            words = (words[0] - hidden, words[1] - hidden)
        start = len(ids)
        sequence = Sequence([*ids, *plan], [IGNORE] * start + list(plan), [(1, scene.whole, scene.places)] if sighted else [],
                            [], [], [], [], words)
        dets = [start + i for i, token in enumerate(plan) if token == self.t["<DET>"]]
        fresh = [(n, o) for n, o in enumerate(dialogue.objects) if not o[2]]
        for position, (n, (_, key, _)) in zip(dets, fresh, strict=True):
            sequence.codes.append((position, CODES.index(key) if key in CODES else None))
            span = dialogue.mentions[n]
            if span is not None:
                sequence.pointers.append((position, words[0] + span[0], words[0] + span[1]))
        return sequence

    def block(self, s: Sequence, dialogue: Dialogue, number: int, key: str, seen: Seen) -> tuple[int, int, int]:
        """Adds the block of a present object with one look; returns the positions of both <BOX> and of <SEG>."""
        t, row = self.t, CODES.index(key)
        s.ids += self.processor.block(number, key, "present")
        first = self._code(s, "<BOX>", row)
        s.ids.append(t["<LOOK>"])
        s.visual.append((len(s.ids), seen.look, seen.look_places))
        s.ids += [t["<vis>"]] * 27
        second = self._code(s, "<BOX>", row)
        third = self._code(s, "<SEG>", row)
        s.regions.append((len(s.ids), seen.region))
        s.ids += [t["<roi>"]] * 3
        s.targets += [IGNORE] * (len(s.ids) - len(s.targets))
        for attribute, choices in grammar.category_choices(t, key):
            value = seen.categories.get(attribute)
            token = dict(choices).get(value)
            s.ids.append(token if token is not None else self.rng.choice(choices)[1])
            s.targets.append(token if token is not None else IGNORE)
        return first, second, third

    def _code(self, s: Sequence, token: str, row: int) -> int:
        s.ids.append(self.t[token])
        s.codes.append((len(s.ids) - 1, row))
        return len(s.ids) - 1

    def _words(self, s: Sequence, dialogue: Dialogue) -> None:
        told, said = self.composer.words(dialogue)
        s.ids += [*told, *said]
        s.targets += [IGNORE] * len(told) + said


def embeds_of(language: Language, sequences: list[Sequence], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """(embeddings [b, n, hidden], attention mask [b, n], targets [b, n]) with every placeholder filled."""
    n = max(len(s.ids) for s in sequences)
    ids = torch.tensor([s.ids + [pad] * (n - len(s.ids)) for s in sequences])
    targets = torch.tensor([s.targets + [IGNORE] * (n - len(s.targets)) for s in sequences])
    mask = torch.tensor([[1] * len(s.ids) + [0] * (n - len(s.ids)) for s in sequences])
    rows, columns, values = [], [], []

    def put(row: int, first: int, tokens: Tensor) -> None:
        rows.extend([row] * len(tokens))
        columns.extend(range(first, first + len(tokens)))
        values.append(tokens)

    base = language.embed(ids)
    for row, s in enumerate(sequences):
        for first, features, places in s.visual:
            put(row, first, language.visual_tokens(features, places))
        for position, features, place in s.points:
            put(row, position, language.point_tokens(features[None], place[None]) + base[row, position][None])
        for first, features in s.regions:
            put(row, first, language.region_tokens(features))
    if values:
        base = base.index_put((torch.tensor(rows), torch.tensor(columns)), torch.cat(values))
    return base, mask, targets


def text_loss(language: Language, sequences: list[Sequence], pad: int, identities: Tensor):
    """(loss, parts, (where, codes, states) of all (sequence, position) pairs in order)."""
    embeds, mask, targets = embeds_of(language, sequences, pad)
    logits, states, _ = language(embeds, mask)
    token = F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORE)
    where = [(row, position, code) for row, s in enumerate(sequences) for position, code in s.codes]
    read = states[[w[0] for w in where], [w[1] for w in where]]
    codes = language.code(read)
    rows = [w[2] for w in where]
    match = code_loss(codes, rows, identities) + 0.5 * disturbed_loss(language, read.detach(), rows, identities)
    pointing = pointer_loss(language, states, sequences)
    parts = {"token": token.item(), "code": match.item(), "pointer": pointing.item()}
    return token + match + 0.5 * pointing, parts, (where, codes, read)


def code_loss(codes: Tensor, rows: list[int | None], identities: Tensor) -> Tensor:
    """The identity half towards the table (1 - cosine, InfoNCE at 0.1); something unknown stays away from every row."""
    directions = F.normalize(identities.detach(), dim=1)
    similar = F.normalize(codes[:, :IDENTITY], dim=1) @ directions.T
    known = torch.tensor([r is not None for r in rows])
    total = codes.sum() * 0
    if known.any():
        target = torch.tensor([r for r in rows if r is not None])
        total = total + (1 - similar[known, target]).mean() + 0.5 * F.cross_entropy(similar[known] / 0.1, target)
    if (~known).any():
        total = total + F.relu(similar[~known] - 0.2).amax(1).mean()
    return total


def disturbed_loss(language: Language, states: Tensor, rows: list[int | None], identities: Tensor) -> Tensor:
    """A state under noise of at most 0.3 of its length still names its object; one that drowns in twice to four times as much
    names nothing. Only the code's own layers learn from it."""
    def noisy(low: float, high: float) -> Tensor:
        noise = F.normalize(torch.randn_like(states), dim=1) * states.norm(dim=1, keepdim=True)
        return language.code(states + noise * torch.empty(len(states), 1).uniform_(low, high))

    return code_loss(noisy(0.0, 0.3), rows, identities) + code_loss(noisy(2.0, 4.0), [None] * len(rows), identities)


def pointer_loss(language: Language, states: Tensor, sequences: list[Sequence]) -> Tensor:
    losses = []
    for row, s in enumerate(sequences):
        if not s.pointers:
            continue
        a, b = s.words
        logits = language.pointer(states[row, [p[0] for p in s.pointers]], states[row, a:b])      # [m, 2, n]
        for side in (1, 2):
            losses.append(F.cross_entropy(logits[:, side - 1], torch.tensor([p[side] - a for p in s.pointers])))
    return torch.stack(losses).mean() if losses else states.sum() * 0


def make_processor(seed: int, texts: int = 60000) -> CTReasonerProcessor:
    """Trains the tokenizer on drawn questions and wordings."""
    rng = random.Random(seed)
    slots = list(SLOTS)
    bare = CTReasonerProcessor(train_tokenizer([], slots, 700), NAMES, slots)
    composer = Composer(bare, seed)

    def corpus():
        for _ in range(texts):
            yield prompts.draw(rng).text.lower()
        for _ in range(texts // 4):
            dialogue = composer.draw()
            yield bare.decode(composer.words(dialogue)[1])
        for words in NAMES.values():
            yield from [" " + words] * 50

    return CTReasonerProcessor(train_tokenizer(corpus(), slots), NAMES, slots)


def load_vision(path: str) -> tuple[VisionModel, Tensor]:
    """The averaged vision model of stage 1 (or of a model folder) and its code table's identities [objects, 64]."""
    both = nn.ModuleDict({"vision": VisionModel(), "codes": CodeTable()})
    both.load_state_dict(common.start_of(path, ("vision.", "codes.")))
    return both["vision"].eval(), both["codes"].identities().detach()


def make_scenes(data: str, vision: VisionModel, count: int, seed: int, path: Path) -> list[Scene]:
    """A cache of scenes of the training patients, three fifths thorax; read from `path` where they lie there already."""
    if path.is_file():
        return read_scenes(path)
    sampler = Sampler(training_cases(data), seed)
    known = json.loads((Path(data) / "categories.json").read_text())
    maker, out = SceneMaker(vision, sampler, known), []
    for n in range(count):
        pool = sampler.neck if n % 5 < 2 else sampler.thorax
        out.append(maker.make(pool[int(sampler.rng.integers(len(pool)))]))
        if n % 40 == 0:
            print(json.dumps({"scenes": n}), flush=True)
    write_scenes(out, path)
    return out


def drawn_batches(maker: SequenceMaker, cache: list[Scene], size: int, rng: random.Random) -> list[list[Sequence]]:
    """POOL batches of sequences of similar length, in random order."""
    drawn = sorted((maker.draw(cache[rng.randrange(len(cache))]) for _ in range(POOL * size)), key=lambda s: len(s.ids))
    batches = [drawn[n * size:(n + 1) * size] for n in range(POOL)]
    rng.shuffle(batches)
    return batches


def run(settings: LanguageStage) -> Path:
    """Trains until the time is over; resumes from its own checkpoint. Returns the path of the averaged weights."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    start = Path(settings.start) if settings.start else None
    beside = start and (start if start.is_dir() else start.parent / "processor")
    processor = CTReasonerProcessor.from_pretrained(beside) if beside else make_processor(settings.seed)
    processor.save_pretrained(out / "processor")
    vision, identities = load_vision(settings.vision)
    cache = make_scenes(settings.data, vision, settings.scenes, settings.seed, out / "scenes.pt")
    config = CTReasonerConfig(objects=list(OBJECTS))
    config.text_config.vocab_size = len(processor.tokenizer)
    language = Language(config)
    if start:
        language.load_state_dict(common.start_of(settings.start, ("language.",)))
    training = common.Training("language", language, settings, every=25)
    rng = random.Random(settings.seed + training.step)
    maker = SequenceMaker(processor, Composer(processor, settings.seed + training.step), rng)
    pool: list[list[Sequence]] = []
    for _ in training.steps():
        pool = pool or drawn_batches(maker, cache, settings.batch, rng)
        loss, parts, _ = text_loss(language, pool.pop(), processor.ids["<pad>"], identities)
        training.learn(loss, parts)
    return training.path
