"""A click on a mask that the engine did not make itself: imported, drawn by hand, or of a conversation that another process began.

The model looks at the object as if it had found it there: a view round mask and clicks, the code from the hidden state of its own
<SEG> in a plan that names the object, or calls it a thing where the model has no name for it, and the mask as the prompt's earlier
mask. Of what it then draws only the change that a click asks for is taken, the connected one under the click: a person's outline
stays voxel for voxel where nobody pointed. (Taking all of it made masks of unknown objects worse: docs/log.md.)
"""
from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ctreasoner.components import Components
from ctreasoner.conversation import Known
from ctreasoner.events import Event, Warning_
from ctreasoner.geometry import View, Volume, sample
from ctreasoner.looking import Seeker
from ctreasoner.model import closer, prompting
from ctreasoner.model.eyes import Sight
from ctreasoner.model.language import point_features
from ctreasoner.model.speaker import point_place

MARGIN_MM = 10.0
UNKNOWN_SPACING_MM = 2.0        # at which the model learned to take clicks on things without a name

Clicks = Sequence[tuple[tuple[float, float, float], bool]]


def refine_given(seeker: Seeker, known: Known, whole: Sight, clicks: Clicks) -> Iterator[Event]:
    """Look at a given mask and correct it by `clicks`, the new ones of (RAS point, positive); `known.clicks` holds all of them."""
    if not known.number:                    # no answer of this conversation has named it
        yield seeker.existence_event(known, None)
    key = model_name(seeker, known)
    view = _view(seeker, known, key)
    on_view = _on_view(known, view, seeker.volume)
    if known.logits is None or known.sight.view != view:
        known.sight, known.looks = seeker.eyes.see(seeker.volume, view), known.looks + 1
        yield seeker.look_event(known.sight, known.id, known.looks, "object", known.key)
        known.code = _code(seeker, known.sight, whole, key, on_view)
    prompt = seeker.prompt(known, view)
    prompting.set_mask(prompt, torch.from_numpy(on_view))
    context, pixels = seeker.eyes.context(known.sight, known.code[None], prompt)
    logits, _ = seeker.eyes.masks(known.sight, context, pixels, known.code[None], prompt)
    known.logits = logits[0].numpy()
    mask, first, unheard = _changed(known, *closer.on_grid(known.logits, view, seeker.volume), clicks, seeker.volume)
    if unheard:
        yield seeker.stream.emit(Warning_, code="click_without_effect", hint="Click deeper into the error, or draw it by hand.",
                                 sentence=f"The model sees nothing to change at {_points(unheard)}.")
    yield seeker.placed(known, mask, first, "refined")


def model_name(seeker: Seeker, known: Known) -> str:
    """What the model calls an object: its key, or "thing" where it has no name for it."""
    return known.model_key if known.model_key in seeker.speaker.processor.names else "thing"


def _view(seeker: Seeker, known: Known, key: str) -> View:
    """The view round a mask and the points that are to be added to it; that of the mask drawn last, as long as it shows them."""
    lower = known.first_voxel - 0.5
    corners = itertools.product(*zip(lower, lower + known.mask.shape, strict=True))
    points = np.array([*seeker.volume.index_to_world(list(corners)), *(p for p, positive in known.clicks if positive)])
    lowest, highest = points.min(0), points.max(0)
    if known.logits is not None and (lowest >= known.sight.view.lo).all() and (highest <= known.sight.view.hi).all():
        return known.sight.view
    floor = UNKNOWN_SPACING_MM if key == "thing" else seeker.floor(key)
    return View.around(lowest, highest, MARGIN_MM, spacing_floor=floor, native=seeker.volume.spacing)


def _on_view(known: Known, view: View, volume: Volume) -> np.ndarray:
    """The mask's share, 0 to 1, of each voxel of a view."""
    affine = np.array(volume.affine)
    affine[:3, 3] = volume.index_to_world([known.first_voxel - 1])[0]
    return np.clip(sample(Volume(np.pad(known.mask > 0, 1).astype(np.int16), affine), view), 0.0, 1.0)


def _code(seeker: Seeker, sight: Sight, whole: Sight, key: str, on_view: np.ndarray) -> Tensor:
    """The code at <SEG>, in an answer to "segment the ..." or, without words for it, to a click into the middle of the mask."""
    speaker, names, points = seeker.speaker, [], []
    item = seeker.vocabulary.get(key)
    if item is not None and not item.clickable_only:
        text = f"segment the {speaker.processor.names[key]}"
    else:
        text, names = "segment this", ["<click+>"]
        middle = view_to_whole(_deepest(on_view), sight.view, whole.view)
        with torch.inference_mode():
            points = [(point_features(whole.features, middle[None], whole.view.shape)[0], point_place(middle, whole.view))]
    thought = speaker.given(speaker.processor.question(text, names), whole, points, key)
    speaker.begin(thought, 1, key)
    speaker.look(thought, sight, whole)
    return speaker.segment(thought)


def _deepest(share: np.ndarray) -> np.ndarray:
    """The voxel [x, y, z] of a view that lies deepest in a mask."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(share > 0.5) if (share > 0.5).any() else share
    return np.array(np.unravel_index(int(depth.argmax()), depth.shape))


def view_to_whole(voxel: np.ndarray, view: View, whole: View) -> Tensor:
    """A voxel of one view as fractional voxel [3] of another."""
    point = view.lo + (voxel + 0.5) * np.array(view.spacing_mm)
    return torch.tensor((point - whole.lo) / np.array(whole.spacing_mm) - 0.5, dtype=torch.float32)


def _points(clicks: Clicks) -> str:
    return "; ".join(", ".join(f"{v:.0f}" for v in point) for point, _ in clicks) + " (RAS mm)"


def _changed(known: Known, values: np.ndarray, start: np.ndarray, clicks: Clicks,
             volume: Volume) -> tuple[np.ndarray, np.ndarray, Clicks]:
    """(mask, first voxel, clicks without effect): the given mask with the connected change under each click.

    values [i, j, k] are logits on the CT's grid from voxel `start` on.
    """
    drawn = values > 0
    corners = [(known.first_voxel, known.mask.shape), *([(start, drawn.shape)] if drawn.size else [])]
    first = np.min([a for a, _ in corners], 0)
    shape = np.max([np.add(a, n) for a, n in corners], 0) - first
    old, new = (_laid(m, a - first, shape) for m, a in ((known.mask > 0, known.first_voxel), (drawn, start)))
    unheard = []
    for point, positive in clicks:
        change = new & ~old if positive else old & ~new
        index = tuple(round(float(v)) for v in volume.world_to_index([point])[0] - first)
        parts = Components(change) if change.any() else None
        part = parts.part_at(index) if parts is not None else None
        if part is None:
            unheard.append((point, positive))
            continue
        old = old ^ parts.keep([part])
    return old, first, unheard


def _laid(mask: np.ndarray, at: np.ndarray, shape: np.ndarray) -> np.ndarray:
    out = np.zeros(tuple(shape), bool)
    out[tuple(slice(a, a + n) for a, n in zip(at, mask.shape, strict=True))] = mask
    return out
