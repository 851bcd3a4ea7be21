"""Composes the panel: widgets, engine, scene. One timer applies what the engine says; nothing here waits for anything."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import CTReasonerError
from ..events import Event, Look
from ..scene import show_only
from ..scene.observing import Observers
from ..vocabulary import Vocabulary
from . import pages, placing
from .actions import OTHERS, Actions
from .asking import Asking, Job
from .case import Case
from .chat import ChatView
from .engine_box import EngineBox
from .export import Exporter
from .findings import FindingsTable
from .hints import hint_for
from .inside import Inside
from .keys import CLICK_KEY, PromptKeys, WindowKeys
from .log import Log
from .showing import Showing
from .turns import Turn
from .views import ViewWatch

TICK_MS = 33            # a frame of the views' motion; also how long an event waits at most
BUSY_S = 0.012          # of a tick for messages: each may bring a mask into the scene, and no two masks shall hold the window up
EDIT_CHECK_S = 1.0
EDIT_QUIET_S = 2.0      # so long after the last stroke an edited mask is measured again


class Controller(Actions):
    """The panel at work; what its buttons and links do stands in `Actions`.

    Parameters
    ----------
    ui : the widgets of CTReasoner.ui by name.
    logics : module logics by name ("segmentations", "markups").
    resources : the module's folder Resources.
    """

    def __init__(self, ui: Any, logics: Mapping[str, Any], resources: Path) -> None:
        self.ui, self._logics = ui, logics
        self.vocabulary = Vocabulary.load()
        self.cases: dict[str, Case] = {}
        self.case: Case | None = None
        self.log = Log(ui)
        self.keys = WindowKeys()
        self.asking = Asking(self._on_event, self._on_end)
        self.engine_box = EngineBox(ui, resources / "Recordings", self._engine_exchanged, self.log)
        self.exporter = Exporter(ui, self.log)
        self.chat = ChatView(ui, self.vocabulary)
        self.inside = Inside(self._inside_known, self.log)
        self.table = FindingsTable(ui.findingsTable, self._finding_chosen, self._finding_visible)
        self.showing = Showing(ui)
        self.watch = ViewWatch(self._user_took_the_views)
        self.placing = placing.Placing({placing.POINT: ui.clickButton, placing.BOX: ui.boxButton,
                                        placing.SCRIBBLE: ui.scribbleButton}, self.keys, self._placed, self.tell_error)
        self._prompt_keys = PromptKeys(ui.promptLineEdit)
        self._observers, self._ct_observers = Observers(), Observers()
        self._next_edit_check, self._is_stale = 0.0, False
        self._edited_at: float | None = None
        self._has_waited = False
        self._connect()
        self._observe_scene()
        self.timer = qt.QTimer()
        self.timer.setInterval(TICK_MS)
        self.timer.connect("timeout()", self.tick)
        self.timer.start()
        self.set_ct(None)
        self.engine_box.show()

    def _connect(self) -> None:
        ui = self.ui
        for name, action in {
            "ask": self.ask, "stop": self.stop, "undo": self.undo, "redo": self.redo, "resume": self.resume,
            "restoreView": self.restore_view, "accept": self.accept, "reject": self.reject, "copyFindings": self.copy_findings,
            "click": self.click, "box": self.box, "scribble": self.scribble, "dropDrawn": self.drop_drawn, "export": self.export,
            "import": self.import_dicom,
        }.items():
            getattr(ui, f"{name}Button").connect("clicked()", action)
        ui.promptLineEdit.connect("returnPressed()", self.ask)
        ui.chatBrowser.connect("anchorClicked(QUrl)", self._link)
        ui.suggestionsLabel.connect("linkActivated(QString)", self._suggestion)
        ui.suggestionsLabel.connect("linkHovered(QString)", self.chat.hover)
        ui.looksSlider.connect("valueChanged(int)", self._look_chosen)
        ui.findingsTable.connect("itemSelectionChanged()", self.refresh_buttons)
        ui.othersComboBox.connect("currentIndexChanged(int)", self._others_chosen)
        ui.followCheckBox.connect("toggled(bool)", self._follow_toggled)

    def _observe_scene(self) -> None:
        scene = slicer.mrmlScene
        self._observers.add(scene, scene.StartCloseEvent, self._scene_closing)
        self._observers.add(scene, scene.EndCloseEvent, self._scene_closed)
        self._observers.add(scene, scene.EndImportEvent, self._scene_imported)
        self._observers.add_with_node(scene, scene.NodeAboutToBeRemovedEvent, self._node_going)

    # ------------------------------------------------------------ coming and going
    def enter(self) -> None:
        """The panel is shown: bind its key, watch the views."""
        if not self.keys.add(CLICK_KEY, self._click_by_key):
            self.log.add(f"{CLICK_KEY} is taken by another part of Slicer, or there is no main window; use the button.")
        self.watch.attach()
        self.chat.changed()

    def exit(self) -> None:
        """Another module is shown: its keys are its own, and no place mode is left behind."""
        self.placing.cancel()
        self.keys.clear()
        self.watch.detach()

    def close(self) -> None:
        """Take back everything that outlives the widgets: timer, observers, keys, the engine's process."""
        self.timer.stop()
        self.timer.disconnect("timeout()", self.tick)
        self.exit()
        self._observers.clear()
        self._ct_observers.clear()
        self.asking.fail_all(_("The panel was closed."), "")
        self.engine_box.close()
        self.engine_box.install.close()
        for case in self.cases.values():
            case.close()
        self.cases.clear()
        self.case = None

    def use_engine(self, engine: Any) -> None:
        """Answer with an engine that the caller made (anything with the methods of `client.LocalEngine`)."""
        self.engine_box.use(engine)

    def _engine_exchanged(self, engine: Any) -> None:
        """Another engine was chosen: what the old one was asked ends here."""
        self.asking.fail_all(_("Another engine was chosen."), _("Ask again."))
        self.inside.forget()
        for case in self.cases.values():
            case.estimate = None
            case.held.clear()
        self.exporter.show_plan(self.case, self.engine_box.is_elsewhere)
        self.chat.changed()
        self.asking.engine = engine

    # ------------------------------------------------------------ the CT
    def set_ct(self, node: Any) -> None:
        """Talk about this CT from now on; None for no CT."""
        self.placing.cancel()
        self._ct_observers.clear()
        if node is None and self.case is None and self.chat.greeting:
            return                      # the selector follows a CT that was removed: why it is gone stays to be read
        self.case = None
        if node is not None:
            try:
                self.case = self._case_of(node)
                self._observe_ct(node)
                _show_in_views(node)
            except CTReasonerError as error:
                self.chat.greeting = pages.cannot_ask(error)
                self.log.add_problem("panel", error.code)
            else:
                self.chat.greeting = ""
            show_only(slicer.mrmlScene, node)
        else:
            self.chat.greeting = ""
        self.chat.show_case(self.case)
        self.showing.show_case(self.case)
        self.refresh()

    def _case_of(self, node: Any) -> Case:
        key = node.GetID()
        if key not in self.cases:
            self.cases[key] = Case(slicer.mrmlScene, node, self.vocabulary, self._logics)
            self.cases[key].writer.on_change = self._scene_changed
            self.cases[key].writer.others = OTHERS[self.ui.othersComboBox.currentIndex]
        return self.cases[key]

    def _observe_ct(self, node: Any) -> None:
        self._ct_observers.add(node, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, self._ct_touched)
        self._ct_observers.add(node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._ct_touched)

    def _ct_touched(self, _node: Any, _event: str) -> None:
        job = self.asking.running
        if job is not None and job.case.has_changed:
            self.asking.abandon(job.case, _("The CT was changed or moved while it was being answered; the answer was stopped."),
                                _("Ask again about the CT as it is now."))
            self.refresh()

    # ------------------------------------------------------------ asking
    def ask(self) -> None:
        """Send what stands in the prompt line with what was drawn."""
        text = self.ui.promptLineEdit.text.strip()
        if self._put(text):
            self._prompt_keys.history.add(text)
            self.ui.promptLineEdit.clear()

    def _put(self, text: str, *, target: str | None = None, shown: str = "") -> bool:
        """Ask; returns whether the question was taken. shown : what stands in the transcript where there are no words."""
        case = self.case
        if case is None:
            self.tell(_("No CT is chosen that can be asked about."), _("Choose a volume at the top of the panel."))
            return False
        if not self._engine_ready():
            return False
        try:
            drawn = placing.drawn(case)
            fields = {"text": text, "clicks": case.prompts.clicks(), "boxes": case.prompts.boxes(), "target": target,
                      "scribbles": case.prompts.scribbles(), "edited": self._edited(case, target), "conversation": case.id}
            if not (text or drawn or fields["edited"]):
                self.tell(_("There is no question yet."), _("Type one, click an organ, or draw a box."))
                return False
            turn = Turn(len(case.conversation.turns) + 1, text or shown, drawn, "recording" if self.engine_box.is_recorded else "")
            self.asking.put(case, turn, **fields)
        except CTReasonerError as error:
            self.tell_error(error)
            return False
        case.conversation.turns.append(turn)
        case.prompts.clear()
        case.writer.clear_evidence()
        self.chat.tell("")
        self.refresh()
        return True

    def _engine_ready(self) -> bool:
        if not self.engine_box.is_there:
            self.engine_box.start()
            self.tell(*self.engine_box.lack)
            return False
        try:
            self.asking.engine = self.engine_box.engine
        except CTReasonerError as error:
            self.tell_error(error)
            return False
        return True

    def _edited(self, case: Case, target: str | None = None) -> dict[str, str]:
        """Masks that the engine does not have: changed by hand, and that of a target out of a saved scene or after an undo."""
        engine = self.engine_box.running
        case.writer.check_edits()
        if engine is None or self.engine_box.is_recorded:
            return {}
        folder = Path(engine.session) / "edited"
        other = case.writer.mask_file(target, folder) if target and target not in case.held else {}
        return {**other, **case.writer.edited_masks(folder)}

    def stop(self) -> None:
        """Stop the running answer and drop what waits."""
        self.asking.stop()
        self.refresh()

    def tell(self, sentence: str, hint: str = "") -> None:
        """Say something beside the conversation."""
        self.chat.tell(sentence, hint)
        self.log.add(f"{sentence} {hint}".strip())

    def tell_error(self, error: CTReasonerError) -> None:
        """Say what went wrong beside the conversation; the log gets its code alone."""
        self.chat.tell(str(error), hint_for(error.code, error.hint))
        self.log.add_problem("panel", error.code)

    # ------------------------------------------------------------ the timer
    def tick(self) -> None:
        """Everything that happens by itself: messages, motion of the views, flashes, edits."""
        now = time.monotonic()
        engine = self.engine_box.running
        while engine is not None and (messages := engine.poll(1)):
            self._take(messages)
            if time.monotonic() - now > BUSY_S:
                break
        if time.monotonic() - now > 3 * BUSY_S and not self._has_waited:
            self._has_waited = True         # a mask came: what it changed in the panel is shown at the next tick
            return
        self._has_waited = False
        self.asking.step()
        self.exporter.step()
        self.engine_box.step()
        self.placing.step()
        self.showing.step(now, idle=not self.asking.is_busy)
        if now >= self._next_edit_check:
            self._next_edit_check = now + EDIT_CHECK_S
            self._check_edits()
            self._use_the_pause(engine)
        if self._is_stale:
            self.refresh()
        self._show_progress()
        self.chat.step()
        self.log.step(engine)

    def _take(self, messages: list) -> None:
        """Take every message; an error in one is told when all have been taken, so that no end of an answer is lost."""
        failed: list[Exception] = []
        for message in messages:
            try:
                self._message(message)
            except Exception as error:
                self.log.add_problem(f"panel: {type(error).__name__}", getattr(error, "code", ""))
                failed.append(error)
        if failed:
            raise failed[0]

    def _message(self, message: Any) -> None:
        if message.kind == "state":
            self.engine_box.state_message(message.facts)
        elif message.kind == "exported":
            self.exporter.done(message.ask, message.facts)
        elif message.kind == "pushing":
            self.exporter.sender.progress(message.ask, message.facts)
        elif message.kind == "pushed":
            self.exporter.sender.done(message.ask, message.facts)
        elif message.kind == "inside":
            self.inside.done(message.ask, message.facts)
        elif message.kind == "event":
            self.log.add_event(message.event)
            self.asking.event(message.ask, message.event)

    def _on_event(self, job: Job, event: Event) -> None:
        if isinstance(event, Look) and self.ui.followCheckBox.checked:
            job.case.follower.look(event)
            self.refresh_buttons()
        if job.case is self.case:
            self.chat.changed()
        elif self.case is not None:
            show_only(slicer.mrmlScene, self.case.node)     # nor is what comes in while another CT is chosen

    def _inside_known(self, case: Case) -> None:
        if case is self.case:
            self.chat.changed()

    def _on_end(self, job: Job) -> None:
        job.case.brought_back.clear()
        self.inside.again(job.case)
        self.refresh()

    def _check_edits(self) -> None:
        case = self.case
        if case is None or self.asking.is_busy:
            return
        if case.writer.check_edits():
            self.refresh()
        quiet = self._edited_at is not None and time.monotonic() - self._edited_at > EDIT_QUIET_S
        engine = self.engine_box.running
        if quiet and case.outdated and engine is not None and engine.state == "ready" and not self.engine_box.is_recorded:
            self._edited_at = None
            self._put("", shown=_("Measure again what was edited"))

    def _use_the_pause(self, engine: Any) -> None:
        """What can be done ahead for the chosen CT once an engine is warm, while nothing else goes on."""
        idle = not self.asking.is_busy
        self.inside.step(engine, self.case, idle=idle)
        if self.case is not None and idle and engine is not None and engine.state == "ready":
            self.case.writer.make_ready()

    def _show_progress(self) -> None:
        job = self.asking.running
        ui, is_shown = self.ui, job is not None
        if ui.progressBar.visible != is_shown:
            ui.progressBar.visible = ui.progressLabel.visible = is_shown
        if job is None:
            return
        turn = job.turn
        if turn.of > 0 and ui.progressBar.maximum != turn.of:
            ui.progressBar.maximum = turn.of
        elif turn.of <= 0 and ui.progressBar.maximum != 0:
            ui.progressBar.maximum = 0
        ui.progressBar.value = turn.step
        stage = turn.stage if job.ask is not None else _("handing over the CT")
        if job.stopping:
            stage = _("stopping")
        steps = f" {turn.step}/{turn.of}" if turn.of > 0 else ""
        waiting = _(", {n} waiting").format(n=len(self.asking.waiting)) if self.asking.waiting else ""
        ui.progressLabel.text = f"{stage or _('starting')}{steps}, {job.seconds:.0f} s{waiting}"

    # ------------------------------------------------------------ what is shown
    def refresh(self) -> None:
        """Bring table, buttons and transcript up to date."""
        self._is_stale = False
        findings = self.case.writer.findings() if self.case is not None else []
        self._note_outdated(findings)
        self.table.show(findings)
        self.chat.changed()
        self.showing.refresh()
        self.exporter.show_plan(self.case, self.engine_box.is_elsewhere)
        self.refresh_buttons()

    def _note_outdated(self, findings: list) -> None:
        """What was said about a mask before a person changed it is marked in the conversation, and stays so."""
        if self.case is None:
            return
        now = {f.id for f in findings if f.outdated}
        for key in now - self.case.outdated:
            self.case.conversation.outdate(key)
        self.case.outdated = now

    def refresh_buttons(self) -> None:
        """Enable what can be done now."""
        ui, case, busy = self.ui, self.case, self.asking.is_busy
        chosen = bool(self.table.selected) if case is not None else False
        ui.stopButton.enabled = busy
        ui.undoButton.enabled = case is not None and not busy and case.writer.can_undo()
        ui.redoButton.enabled = case is not None and not busy and case.writer.can_redo()
        ui.acceptButton.enabled = ui.rejectButton.enabled = chosen and not busy
        ui.copyFindingsButton.enabled = case is not None and bool(case.writer.findings())
        ui.resumeButton.enabled = case is not None and case.follower.suspended and ui.followCheckBox.checked
        ui.restoreViewButton.enabled = case is not None and case.follower.has_saved_view
        for button in (ui.clickButton, ui.boxButton, ui.scribbleButton):
            button.enabled = case is not None
        shown = placing.drawn(case)
        ui.drawnLabel.text = _("With the next question: {what}").format(what=shown) if shown else ""
        ui.drawnLabel.visible = ui.dropDrawnButton.visible = bool(shown)

    def _scene_changed(self, what: str) -> None:
        if what == "edited":
            self._edited_at, self._next_edit_check = time.monotonic(), 0.0
        if what == "removed" and self.asking.running is not None:
            self.tell(_("The segmentation was removed from the scene; the answer goes on in words."))
        self._is_stale = True               # many of these come in a row: the next tick shows them


def _show_in_views(node: Any) -> None:
    """Show a CT in the slice views where none of them shows it: looks at what cannot be seen would mean nothing."""
    shown = [c.GetBackgroundVolumeID() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
    if node.GetID() not in shown:
        node.CreateDefaultDisplayNodes()
        slicer.util.setSliceViewerLayers(background=node, fit=True)
