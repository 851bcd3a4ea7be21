"""The answer's structure: which token may come next. Pure Python; logits are masked with what `allowed` returns.

    plan    := (<DECLINE> | <NEED_CLICK> | route+ object+) <GO>          routes in the order detect, segment, describe
    route   := <DETECT> | <SEGMENT> | <DESCRIBE>
    object  := <obj:n> name <DET> | <REF:m>                              n counts through the conversation
    name    := pieces of a name that the model learned | <ASKED> | <THING>

A name that the conversation has already is written as its <REF:m>: there is one heart in a scan, and its corrections stay.

After the plan every new object has a block of its own that sees the plan but not the other blocks, and the words come last:

    block   := <obj:n> name state <BOX> (<LOOK> [27 visual tokens] (<BOX> | <LOST>))? (<SEG> [3 region tokens] category*)?
    words   := <WORDS> (<obj:n> name state category*)* <SAY> (word | <obj:n> | <slot:..>)* <end>

A further look writes the block anew with that look in it. `<ASKED>` stands for something that has no learned name; the words
it refers to are pointed at in the prompt. `<THING>` is legal only with a click, box or scribble. Numbers cannot be written:
pieces with a digit are never allowed, and a slot only where it says something of the object that was named last. Of the words
for a category only those are allowed that say what its block holds: what the model chose, before anything was measured.
"""
from __future__ import annotations

from dataclasses import dataclass, field

from ctreasoner.appearance.attributes import ATTRIBUTES, attributes_for, values_for
from ctreasoner.appearance.phrases import PHRASES

ROUTES = ("detect", "segment", "describe")
ROUTE_TOKENS = {"detect": "<DETECT>", "segment": "<SEGMENT>", "describe": "<DESCRIBE>"}
STATE_TOKENS = {"present": "<PRESENT>", "absent": "<ABSENT>", "outside": "<OUTSIDE>", "unsupported": "<UNSUPPORTED>",
                "lost": "<LOST>"}
MOST_OBJECTS = 12
OBJECT_TOKENS = tuple(f"<obj:{n}>" for n in range(1, MOST_OBJECTS + 1))
REFERENCE_TOKENS = tuple(f"<REF:{n}>" for n in range(1, MOST_OBJECTS + 1))
CATEGORY_TOKENS = tuple(f"<cat:{a}={v}>" for a, values in ATTRIBUTES.items() for v in values)
PROMPT_TOKENS = ("<click+>", "<click->", "<region>", "<scribble+>", "<scribble->")
STRUCTURE = ("<pad>", "<scan>", "<vis>", "<roi>", "<user>", "<answer>", *PROMPT_TOKENS, *ROUTE_TOKENS.values(), "<DECLINE>",
             "<NEED_CLICK>", "<DET>", "<ASKED>", "<THING>", "<GO>", *STATE_TOKENS.values(), "<BOX>", "<LOOK>", "<SEG>",
             "<WORDS>", "<SAY>", "<end>", *OBJECT_TOKENS, *REFERENCE_TOKENS, *CATEGORY_TOKENS)
PREDICATES = tuple((" " + text, "size" if attribute == "width" else attribute, value)
                   for attribute, values in PHRASES.items() for value, texts in values.items() for text in texts)
VERBS = frozenset(" " + text.split()[0] for text, _, _ in PREDICATES)
# how predicates begin that say no category; a verb alone has a slot behind it
OPENINGS = (" is", " has", " contains", " shows", " holds", " lies", " is here", " is in", " is there", " is outlined",
            " is marked", " is absent", " is covered", " is outside", " is found", " is the", " is a structure", " is or",
            " is not there", " is not an object", " is not among", " is not a question", " is beyond", " has a volume",
            " has a mean", " has a median", " has a largest", " has a diameter", " has axes", " has values",
            " lies in", " lies between", " lies outside", " shows a mean")
COMPARED = ("<slot:larger>", "<slot:denser>")        # "is larger" behind these compares two numbers


def special_tokens(slots: list[str]) -> list[str]:
    """All tokens with a meaning of their own, in the order of their ids; `slots` are the names of measured values."""
    return [*STRUCTURE, *(f"<slot:{name}>" for name in slots)]


@dataclass
class PlannedObject:
    """One object of a plan: `number` in the conversation; `key` a vocabulary key, "thing", or None for something unknown;
    `reference` true when it was answered before. `det` is the position of its <DET> in the plan's tokens."""
    number: int
    key: str | None
    reference: bool = False
    det: int = -1


@dataclass
class Plan:
    routes: list[str] = field(default_factory=list)          # of ROUTES, or ["decline"], ["need_click"]
    objects: list[PlannedObject] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)


class PlanGrammar:
    """State machine of a plan. `names` maps each key to its pieces; `ids` maps token text to id."""

    def __init__(self, ids: dict[str, int], names: dict[str, tuple[int, ...]], *, known: dict[int, str | None] | None = None,
                 pointer: bool = False, most_objects: int = MOST_OBJECTS):
        self.ids, self.names, self.pointer = ids, names, pointer
        self.known = dict(known or {})                        # number -> key of the objects answered before
        self.most = min(most_objects, MOST_OBJECTS - max(self.known, default=0))
        self.plan, self.spelled, self.state = Plan(), (), "route"
        self._text = {i: t for t, i in ids.items()}

    @property
    def finished(self) -> bool:
        return self.state == "end"

    def allowed(self) -> list[int]:
        """Token ids that may come next."""
        ids, plan = self.ids, self.plan
        if self.state == "route":
            reached = ROUTES.index(plan.routes[-1]) + 1 if plan.routes else 0
            later = [ids[ROUTE_TOKENS[r]] for r in ROUTES[reached:]]
            return [*later, *(self._objects() if plan.routes else [ids["<DECLINE>"], ids["<NEED_CLICK>"]])]
        if self.state == "object":
            return [*(self._objects() if len(plan.objects) < self.most else []), ids["<GO>"]]
        if self.state == "name":
            return self._pieces()
        return [ids["<GO>"]] if self.state == "go" else [ids["<DET>"]]

    def earlier(self) -> int | None:
        """The number under which the name that was just spelled stands in the conversation already. `lung_nodule` is excepted:
        there may be several; and so is everything where something was clicked."""
        key = next((k for k, name in self.names.items() if self.state == "name" and name == self.spelled), None)
        if self.pointer or key in (None, "lung_nodule"):
            return None
        return next((number for number, k in self.known.items() if k == key), None)

    def unname(self) -> int:
        """Takes back the object that is being spelled; how many tokens that are."""
        count = 1 + len(self.spelled)
        del self.plan.tokens[-count:]
        self.plan.objects.pop()
        self.spelled, self.state = (), "object" if self.plan.objects else "route"
        return count

    def _objects(self) -> list[int]:
        used, named = {o.number for o in self.plan.objects}, self._named()
        free = [self.ids[REFERENCE_TOKENS[n - 1]] for n, key in self.known.items() if n not in used and key not in named]
        return [*free, *([self.ids[OBJECT_TOKENS[self._next() - 1]]] if self._next() <= MOST_OBJECTS else [])]

    def _named(self) -> set[str]:
        """Keys that the plan names already: nothing is planned twice."""
        return {o.key for o in self.plan.objects if o.key in self.names}

    def _next(self) -> int:
        return max([0, *self.known, *(o.number for o in self.plan.objects)]) + 1

    def _pieces(self) -> list[int]:
        n, named = len(self.spelled), self._named()
        found = {name[n] if len(name) > n else self.ids["<DET>"] for key, name in self.names.items()
                 if name[:n] == self.spelled and key not in named}
        if n == 0:
            found.add(self.ids["<ASKED>"])
            if self.pointer:
                found.add(self.ids["<THING>"])
        return sorted(found)

    def advance(self, token: int) -> None:
        """Takes the next token; it must be one of `allowed()`."""
        text, plan = self._text.get(token, ""), self.plan
        plan.tokens.append(token)
        if text in ("<DECLINE>", "<NEED_CLICK>"):
            plan.routes, self.state = [text.strip("<>").lower()], "go"
        elif self.state == "route" and text in ROUTE_TOKENS.values():
            plan.routes.append(next(r for r, t in ROUTE_TOKENS.items() if t == text))
        elif text == "<GO>":
            self.state = "end"
        elif text in REFERENCE_TOKENS:
            number = REFERENCE_TOKENS.index(text) + 1
            plan.objects.append(PlannedObject(number, self.known[number], reference=True))
            self.state = "object"
        elif text in OBJECT_TOKENS:
            plan.objects.append(PlannedObject(OBJECT_TOKENS.index(text) + 1, None))
            self.spelled, self.state = (), "name"
        elif text == "<DET>":
            plan.objects[-1].det = len(plan.tokens) - 1
            if self.state == "name":
                plan.objects[-1].key = next(k for k, name in self.names.items() if name == self.spelled)
            self.state = "object"
        elif text in ("<ASKED>", "<THING>"):
            plan.objects[-1].key = "thing" if text == "<THING>" else None
            self.state = "det"
        else:
            self.spelled += (token,)


class WordGrammar:
    """State machine of the words. `plain` are the `plain_tokens`. `slots` and `categories` hold, for each object of the answer, the
    names of the slots that say something of it, and attribute -> value of its block; without an object `slots` has one entry."""

    def __init__(self, ids: dict[str, int], pieces: dict[int, str], plain: list[int], slots: list[set[str]],
                 categories: list[dict[str, str]]):
        self._pieces, self._plain = pieces, frozenset(plain)
        self._objects = {ids[text]: n for n, text in enumerate(OBJECT_TOKENS[:len(categories)])}
        self._tokens = [plain + spoken_tokens(ids, len(categories), mine) for mine in slots]
        self._known = [(*OPENINGS, *(t for t, a, v in PREDICATES if mine.get(a) == v)) for mine in categories or [{}]]
        self._current, self._compares = 0, False
        self._said: list[str] = []                             # pieces since the last token that is none

    def tokens(self) -> list[int]:
        """Ids that may come next, some of which `unsaid` may still rule out."""
        return self._tokens[self._current]

    def unsaid(self, token: int) -> int | None:
        """None where a token may follow. Where it makes a predicate say a category that the block of the object spoken of does not
        hold: how many pieces before it stand behind the predicate's verb already and are to be taken back with it."""
        if token not in self._plain:
            return None
        pieces = [*self._said, self._text(token)]
        said = "".join(pieces)
        for start in (n for n, letter in enumerate(said) if letter == " " and (n or not self._compares)):
            if self._wrong(said[start:]):
                verb = said.find(" ", start + 1)
                begins = [sum(map(len, pieces[:n])) for n in range(len(pieces) - 1)]
                return sum(place >= verb for place in begins) if verb > 0 else 0
        return None

    def _text(self, token: int) -> str:
        return self._pieces[token].replace("\u0120", " ")                      # a byte-level piece writes its space so

    def _wrong(self, said: str) -> bool:
        """Whether a predicate that begins like this is none of those known; other verbs than theirs begin none."""
        verb, _, more = said[1:].partition(" ")
        if " " + verb not in VERBS or (not more and said.endswith(" ")):       # a slot is to stand behind it
            return False
        return not any(text.startswith(said) or (" " in text[1:] and said.startswith(text)) for text in self._known[self._current])

    def advance(self, token: int) -> None:
        if token in self._plain:
            self._said.append(self._text(token))
            return
        self._current = self._objects.get(token, self._current)
        self._said, self._compares = [], self._pieces[token] in COMPARED

    def take_back(self, pieces: int) -> None:
        del self._said[len(self._said) - pieces:]


def category_choices(ids: dict[str, int], key: str) -> list[tuple[str, list[tuple[str, int]]]]:
    """For each attribute of an object, in order: its values with their token ids."""
    return [(attribute, [(v, ids[f"<cat:{attribute}={v}>"]) for v in values_for(key, attribute)])
            for attribute in attributes_for(key)]


def plain_tokens(pieces: dict[int, str], slots: list[str]) -> list[int]:
    """Ids of the pieces that words are made of: none with a meaning of its own, none with a digit."""
    special = set(special_tokens(slots))
    return sorted(i for i, text in pieces.items() if text not in special and not any(c.isdigit() for c in text))


def spoken_tokens(ids: dict[str, int], objects: int, slots: set[str]) -> list[int]:
    """Ids beside the plain pieces that may stand in the words of an answer with so many objects: `slots` of the one spoken of."""
    return sorted(ids[t] for t in (*OBJECT_TOKENS[:objects], *(f"<slot:{name}>" for name in slots), "<end>"))
