"""Stage 3: the heads read the language model's hidden states; mask, box and existence train both halves.

A step is a step of stage 1 whose codes are not a table's but those of routing tokens in a sequence that asks for the object:
<DET>, either <BOX>, or <SEG>. Words and plans keep training beside it. The table stays as the anchor of the identities.
"""
from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.model.config import CTReasonerConfig
from ctreasoner.model.language import Language
from ctreasoner.model.processor import CTReasonerProcessor
from ctreasoner.model.vision import VisionModel
from ctreasoner.training import common
from ctreasoner.training.dialogues import Composer
from ctreasoner.training.language_stage import Sequence, SequenceMaker, drawn_batches, make_scenes, text_loss
from ctreasoner.training.sampling import QUERIES, Sample, Sampler
from ctreasoner.training.scenes import Scene
from ctreasoner.training.views import training_cases
from ctreasoner.training.vision_stage import CodeTable, batch, step_loss

INTENTS = ("segment", "segment", "describe", "mixed", "detect")


@dataclass
class JointStage:
    """Settings of stage 3; seconds are wall-clock time of the training."""
    data: str = "runs/data"
    vision: str = "runs/vision/vision.pt"
    language: str = "runs/language/language.pt"
    processor: str = "runs/language/processor"
    out: str = "runs/joint"
    scenes: str = "runs/language/scenes.pt"     # the cache of stage 2; made here where it is missing
    seconds: float = 1500.0
    rate: float = 5e-4
    warm_up: int = 60
    decay: float = 0.03
    batch: int = 2
    asks: int = 4                     # queries of a step that take their code from a routing token; the others keep the table's
    texts: int = 16                   # text sequences beside them
    seed: int = 3
    threads: int = 2
    start: str = ""                   # an earlier joint.pt to warm-start from


class Asker:
    """Writes, for each query of a sample, a sequence that asks for it, and remembers where its code is read."""

    def __init__(self, maker: SequenceMaker, scenes: list[Scene], rng: random.Random):
        self.maker, self.scenes, self.rng = maker, scenes, rng
        self.holding: dict[str, list[Scene]] = defaultdict(list)
        for scene in scenes:
            for key in scene.objects:
                self.holding[key].append(scene)

    def ask(self, key: str | None, visible: bool) -> tuple[Sequence, int] | None:
        """(sequence, position of the code), or None where a table's code must do (false codes, things)."""
        rng, composer = self.rng, self.maker.composer
        if key is None:
            if rng.random() < 0.5:
                return None
            dialogue = composer.draw(objects=[None], intent=rng.choice(INTENTS))
            sequence = self.maker.plan(dialogue, rng.choice(self.scenes))
            return sequence, sequence.codes[0][0]
        if key not in OBJECTS or not self.holding[key] or key == "lung_nodule":
            return None
        scene = rng.choice(self.holding[key] if visible else self.scenes)
        others = [k for k in scene.objects if k not in (key, "lung_nodule")]
        asked = [key, *rng.sample(others, min(len(others), rng.choice((0, 0, 0, 1, 2))))]
        rng.shuffle(asked)
        dialogue = composer.draw(objects=asked, intent=rng.choice(INTENTS))
        place = next((n for n, o in enumerate(dialogue.objects) if o[1] == key), None)
        if place is None:
            return None
        sequence = self.maker.plan(dialogue, scene)
        positions = [sequence.codes[place][0]]
        if visible:
            positions += self.maker.block(sequence, dialogue, dialogue.objects[place][0], key, scene.objects[key])
        return sequence, rng.choice(positions)


def joint_codes(samples: list[Sample], asker: Asker, language: Language, table: CodeTable, pad: int, generator: torch.Generator,
                asks: int) -> tuple[Tensor, Tensor]:
    """(codes [b, k, 128], loss of the sequences that ask for them); up to `asks` codes are read from routing tokens.

    Half of the false codes are read from such a state under noise of about three times its length: nothing that was asked for.
    """
    codes = table(samples, generator).flatten(0, 1)
    queries = [(row, key, int(s.state[i]) == 0) for row, (s, i, key) in enumerate(
        (s, i, key) for s in samples for i, key in enumerate(s.keys))]
    asker.rng.shuffle(queries)
    asked, loss = [], codes.sum() * 0
    for row, key, visible in queries:
        if len(asked) < asks and (found := asker.ask(key, visible)) is not None:
            asked.append((row, found))
    if asked:
        loss, _, (where, read, states) = text_loss(language, [sequence for _, (sequence, _) in asked], pad, table.identities())
        index = {(row, position): n for n, (row, position, _) in enumerate(where)}
        picks = [index[n, position] for n, (_, (_, position)) in enumerate(asked)]
        codes = codes.index_put((torch.tensor([row for row, _ in asked]),), read[picks])
        taken = {row for row, _ in asked}
        drowned = [row for row, key, _ in queries if key is None and row not in taken and asker.rng.random() < 0.5]
        if drowned:
            state = states[[asker.rng.choice(picks) for _ in drowned]].detach()
            noise = torch.randn(state.shape, generator=generator)
            size = 2.0 + 2.0 * torch.rand(len(drowned), 1, generator=generator)
            noise = noise * size * state.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
            codes = codes.index_put((torch.tensor(drowned),), language.code(state + noise))
    return codes.view(len(samples), QUERIES, -1), loss


def run(settings: JointStage) -> Path:
    """Trains until the time is over; resumes from its own checkpoint. Returns the path of the averaged weights."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    processor = CTReasonerProcessor.from_pretrained(settings.processor)
    config = CTReasonerConfig(objects=list(OBJECTS))
    config.text_config.vocab_size = len(processor.tokenizer)
    model = nn.ModuleDict({"vision": VisionModel(), "language": Language(config), "codes": CodeTable()})
    _warm_start(model, settings)
    scenes = make_scenes(settings.data, model["vision"], 200, settings.seed, Path(settings.scenes))
    model["vision"].to(memory_format=torch.channels_last_3d)
    training = common.Training("joint", model, settings, every=25)
    cases, seed = training_cases(settings.data), settings.seed + training.step
    sampler, rng = Sampler(cases, seed + 1000), random.Random(seed)
    maker = SequenceMaker(processor, Composer(processor, seed), rng)
    asker, pad = Asker(maker, scenes, rng), processor.ids["<pad>"]
    generator = torch.Generator().manual_seed(seed)
    pool: list[list[Sequence]] = []
    for _ in training.steps():
        samples = sampler.batch(settings.batch)
        pool = pool or drawn_batches(maker, scenes, settings.texts, rng)
        codes, asked = joint_codes(samples, asker, model["language"], model["codes"], pad, generator, settings.asks)
        said, parts, _ = text_loss(model["language"], pool.pop(), pad, model["codes"].identities())
        seen, more = step_loss(model["vision"], batch(samples), codes)
        training.learn(seen + 0.5 * (asked + said), {**parts, **more})
    return training.path


def _warm_start(model: nn.ModuleDict, settings: JointStage) -> None:
    """From an earlier joint checkpoint, or from the averages of stages 1 and 2."""
    if settings.start:
        model.load_state_dict(torch.load(settings.start, weights_only=True)["average"])
        return
    vision = common.start_of(settings.vision, ("vision.", "codes."))
    language = common.start_of(settings.language, ("language.",))
    model.load_state_dict({**vision, **{f"language.{k}": v for k, v in language.items()}})
