"""The transcript on the screen: drawn anew at most once a tick, scrolled to the end unless a person scrolled up."""

from __future__ import annotations

from typing import Any

import qt

from ..vocabulary import Vocabulary
from . import pages
from .case import Case
from .turns import Conversation

DARK_BELOW = 128        # lightness of the ground, 0 to 255


class ChatView:
    """Shows a conversation and the suggestions for a CT."""

    def __init__(self, ui: Any, vocabulary: Vocabulary) -> None:
        self._ui, self._vocabulary = ui, vocabulary
        self._case: Case | None = None
        self._is_stale, self._chips = True, ""
        self._notice: tuple[str, str] = ("", "")
        self._greeting = ""
        self._ticks_to_end = 0

    @property
    def greeting(self) -> str:
        """What stands where there is no conversation; "" for the words for a newcomer."""
        return self._greeting

    @greeting.setter
    def greeting(self, sentence: str) -> None:
        self._greeting = sentence
        self.changed()

    def show_case(self, case: Case | None) -> None:
        """Show the conversation about a CT."""
        self._case = case
        self._notice = ("", "")
        self.changed()

    def changed(self) -> None:
        """Draw at the next tick."""
        self._is_stale = True

    def tell(self, sentence: str, hint: str = "") -> None:
        """Show a sentence below the transcript until the next one."""
        self._notice = (sentence, hint)
        self._is_stale = True

    def step(self) -> None:
        """Draw what changed; a long document is laid out after it was set, so the end is gone to twice."""
        if self._ticks_to_end:
            self._ticks_to_end -= 1
            self._ui.chatBrowser.verticalScrollBar().value = self._ui.chatBrowser.verticalScrollBar().maximum
        if not self._is_stale:
            return
        self._is_stale = False
        browser, colours = self._ui.chatBrowser, self.colours()
        conversation = self._case.conversation if self._case is not None else Conversation()
        bar = browser.verticalScrollBar()
        at, is_at_end = bar.value, bar.value >= bar.maximum - 4 or self._ticks_to_end > 0
        browser.setHtml(pages.transcript(conversation, colours, welcome=self._greeting or pages.WELCOME, notice=self._notice))
        bar.value = bar.maximum if is_at_end else min(at, bar.maximum)
        self._ticks_to_end = 2 if is_at_end else 0
        self._show_suggestions(conversation, colours)

    def colours(self) -> pages.Colours:
        """Those for the present theme of Slicer."""
        ground = self._ui.chatBrowser.palette.color(qt.QPalette.Base)
        return pages.DARK if ground.lightness() < DARK_BELOW else pages.LIGHT

    def hover(self, href: str) -> None:
        """Let the tip of the chips be that of the one under the mouse ("ask:key", "" for none): a label has one tip only."""
        key = href.partition(":")[2]
        told = self._case.conversation.told() if self._case is not None else {}
        self._ui.suggestionsLabel.toolTip = pages.chip_tip(told.get(key), self._estimated().get(key))

    def _estimated(self) -> dict[str, tuple[str, float]]:
        estimate = self._case.estimate if self._case is not None else None
        return estimate.states if estimate is not None else {}

    def _show_suggestions(self, conversation: Conversation, colours: pages.Colours) -> None:
        label = self._ui.suggestionsLabel
        text = ""
        if self._case is not None:
            text = pages.suggestions(self._vocabulary, conversation.told(), self._estimated(), colours)
        if text != self._chips:
            self._chips = text
            label.text = text
            self.hover("")
        if label.visible != bool(text):
            label.visible = bool(text)
