"""What the buttons, links and keys of the panel do with a CT that was asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import CTReasonerError
from ..scene import hardened_copy
from . import pages, placing
from .case import Case
from .findings import as_text
from .preflight import dicom_files
from .turns import Turn, split_link

OTHERS = ("keep", "overwrite", "lock")      # rows of the box "Your own segments", as `SceneWriter.others` has them
STRAIGHTEN = "straighten:ct"


class Actions:
    """The half of `Controller` that answers to clicks; it uses what the controller composes."""

    # ------------------------------------------------------------ prompts
    def click(self) -> None:
        """Place one point, or give it up when the button is clicked again."""
        self._place(placing.POINT)

    def box(self) -> None:
        """Draw a box for the next question."""
        self._place(placing.BOX)

    def scribble(self) -> None:
        """Draw a line for the next question."""
        self._place(placing.SCRIBBLE)

    def drop_drawn(self) -> None:
        """Take the drawn prompts away."""
        if self.case is not None:
            self.case.prompts.clear()
        self.refresh_buttons()

    def _click_by_key(self) -> None:
        self._place(placing.POINT)

    def _place(self, kind: str) -> None:
        if self.placing.kind == kind or self.case is None:
            self.placing.cancel()
            return
        means, chosen = self.ui.clickMeansComboBox.currentIndex, self.table.selected
        if means != placing.ASK and not chosen and kind != placing.BOX:
            self.placing.cancel()
            self.tell(_("No finding is selected."), _("Select a row of the findings to add to it or to remove from it."))
            return
        target = chosen if means != placing.ASK and kind != placing.BOX else None
        self.placing.start(self.case, kind, positive=means != placing.REMOVE, target=target)

    def _placed(self, case: Case, kind: str) -> None:
        """A click asks at once, with what is typed; a box and a line wait for words."""
        self.refresh_buttons()
        if kind != placing.POINT or case is not self.case:
            return
        text = self.ui.promptLineEdit.text.strip()
        correcting = self.ui.clickMeansComboBox.currentIndex != placing.ASK
        if self._put(text, target=self.table.selected if correcting else None):
            self.ui.promptLineEdit.clear()
        else:
            case.prompts.clear()

    def _suggestion(self, href: str) -> None:
        key = href.partition(":")[2]
        text = pages.prompt_for(self.vocabulary, key)
        if text:
            self.ui.promptLineEdit.text = text
            self.ask()
        else:
            self._place(placing.POINT)

    # ------------------------------------------------------------ links
    def _link(self, url: Any) -> None:
        kind, ref = split_link(url.toString())
        if url.toString() == STRAIGHTEN:
            self._straighten()
            return
        case = self.case
        if not kind or case is None:
            return
        case.writer.clear_evidence()
        if kind == "object":
            self.go_to(ref)
        elif kind == "measurement":
            self.show_measurement(ref)
        elif kind == "look":
            self.showing.show_look(ref)
        else:
            self._show_statement(ref)
        self.refresh_buttons()

    def go_to(self, key: str) -> None:
        """Move the views to a finding and let its segment flash."""
        centre = self.case.writer.centre_of(key)
        if centre is None:
            self.tell(_("This object has no place in the scene any more."))
            return
        self._hold_views()
        finding = self.case.writer.finding(key)
        if self.case.follower.has_saved_view and finding is not None and finding.box is not None:
            self.case.follower.focus(centre, finding.box[1], finding.box[2])    # the views are where a look left them
        else:
            self.case.follower.jump(centre)                                     # at the user's own zoom
        self.showing.flash(self.case, key)
        self.table.select(key)

    def show_measurement(self, key: str) -> None:
        """Draw a measurement in its own plane; one that has no line leads to its object."""
        place = self.case.writer.evidence(key)
        measured = self.case.conversation.measurement(key)
        if place is not None:
            self._hold_views()
            plane = self.case.writer.plane_of(key)
            if plane is not None:
                self.case.follower.show_plane(*plane)
            else:
                self.case.follower.jump(place)
        if measured is not None:
            if place is None:
                self.go_to(measured.object)
            else:
                self.showing.flash(self.case, measured.object)
            self.chat.tell(f"{measured.name}: {measured.value:.4g} {measured.unit}.", measured.method)

    def _show_statement(self, key: str) -> None:
        statement = self.case.conversation.statement(key)
        if statement is None:
            return
        claim = statement.claim if isinstance(statement.claim, dict) else {}
        evidence = statement.evidence if isinstance(statement.evidence, dict) else {}
        self.chat.tell(pages.tip(statement))
        if evidence.get("measurement"):
            self.show_measurement(str(evidence["measurement"]))
            self.chat.tell(pages.tip(statement))
        elif claim.get("object"):
            self.go_to(str(claim["object"]))

    # ------------------------------------------------------------ findings
    def _finding_chosen(self, key: str) -> None:
        if self.case is not None:
            self.case.writer.clear_evidence()
            self.go_to(key)
            self.refresh_buttons()

    def _finding_visible(self, key: str, is_visible: bool) -> None:
        if self.case is not None:
            self.case.writer.set_visible(key, is_visible)

    def accept(self) -> None:
        """Mark the selected finding as accepted."""
        if self.case is not None and self.table.selected:
            self.case.writer.accept(self.table.selected)
            self.refresh()

    def reject(self) -> None:
        """Take the selected finding away; undo brings it back."""
        key = self.table.selected
        if self.case is not None and key and self.case.writer.reject(key):
            self.case.rejected.append(key)
            self.case.brought_back.clear()
            self.refresh()

    def copy_findings(self) -> None:
        """Copy the findings as plain text."""
        if self.case is not None:
            qt.QApplication.clipboard().setText(as_text(self.case.writer.findings(), self.case.name))
            self.chat.tell(_("The findings are in the clipboard."))

    def export(self) -> None:
        """Write report, masks and DICOM objects."""
        if self.case is not None and self._engine_ready():
            self.exporter.start(self.engine_box.engine, self.case)
        elif self.case is None:
            self.exporter.start(None, None)

    def import_dicom(self) -> None:
        """Have a person choose a SEG or RTSTRUCT, and make its segments findings of the CT."""
        path = qt.QFileDialog.getOpenFileName(self.ui.importButton, _("Import a DICOM segmentation or contours"),
                                              self.ui.exportFolderButton.directory, _("DICOM or zip (*)"))
        if path:
            self.bring(path)

    def bring(self, path: str) -> None:
        """Make the segments of a DICOM object (a file, a folder or a zip) findings of the CT, as an answer of the engine."""
        case = self.case
        if case is None:
            self.tell(_("No CT is chosen that it could belong to."), _("Choose a volume at the top of the panel."))
        elif self.engine_box.is_elsewhere or self.engine_box.is_recorded:
            self.tell(_("This engine does not import DICOM objects."), _("Choose the engine on this computer."))
        elif self._engine_ready():
            words = _("Import {name}").format(name=Path(path).name)
            turn = Turn(len(case.conversation.turns) + 1, words)
            self.asking.put(case, turn, dicom={"dicom": path, "source": dicom_files(case.node)}, text=words, conversation=case.id)
            case.conversation.turns.append(turn)
            self.refresh()

    # ------------------------------------------------------------ undo
    def undo(self) -> None:
        """Take back the last answer or rejection; asks before manual strokes go with it."""
        case = self.case
        if case is None or self.asking.is_busy:
            return
        if case.writer.needs_asking_before_undo() and not slicer.util.confirmYesNoDisplay(
                _("You have changed segments by hand since this answer. Undo takes those changes, too. Undo all the same?"),
                windowTitle=_("Undo answer")):
            return
        answer = case.writer.undo_answer
        if case.writer.undo():
            self._stepped(case, answer or "", is_undone=True)

    def redo(self) -> None:
        """Bring back what undo took."""
        case = self.case
        if case is None or self.asking.is_busy:
            return
        answer = case.writer.redo_answer
        if case.writer.redo():
            self._stepped(case, answer or "", is_undone=False)

    def _stepped(self, case: Case, answer: str, *, is_undone: bool) -> None:
        """Say in the conversation what undo or redo did; "" is a rejection."""
        case.held.clear()
        turn = case.conversation.turn_of_answer(answer) if answer else None
        if turn is not None:
            turn.undone = is_undone
            case.transcript.mark(answer, "undone" if is_undone else "done")
        elif is_undone and case.rejected:
            case.brought_back.append(case.rejected.pop())
        elif not is_undone and case.brought_back:
            case.rejected.append(case.brought_back.pop())
        self.refresh()

    # ------------------------------------------------------------ views
    def resume(self) -> None:
        """Let the views follow again."""
        if self.case is not None:
            self.case.follower.resume()
            self.refresh_buttons()

    def restore_view(self) -> None:
        """Bring back the user's own layout, zoom and window."""
        if self.case is not None:
            self._hold_views()
            self.case.follower.restore_view()
            self.case.writer.clear_evidence()
            self.refresh_buttons()

    def _follow_toggled(self, is_on: bool) -> None:
        case = self.case
        if case is None:
            return
        if is_on:
            case.follower.resume()
        else:
            case.follower.suspend()
        self.refresh_buttons()

    def _user_took_the_views(self) -> None:
        for case in self.cases.values():
            if not case.follower.suspended and (case.follower.moving or self._is_answering(case)):
                case.follower.suspend()
                self.refresh_buttons()

    def _hold_views(self) -> None:
        """A person goes somewhere else while an answer runs: its next looks shall not pull them away."""
        if self._is_answering(self.case):
            self.case.follower.suspend()

    def _is_answering(self, case: Case) -> bool:
        return self.asking.running is not None and self.asking.running.case is case

    def _look_chosen(self, index: int) -> None:
        self.showing.slide(index)

    # ------------------------------------------------------------ the scene
    def _others_chosen(self, row: int) -> None:
        for case in self.cases.values():
            case.writer.others = OTHERS[row]

    def _straighten(self) -> None:
        """Work on a copy with the transform applied for good; the original is left as it is."""
        node = self.ui.ctSelector.currentNode()
        if node is not None:
            try:
                self.ui.ctSelector.setCurrentNode(hardened_copy(slicer.mrmlScene, node))
            except CTReasonerError as error:
                self.tell_error(error)

    def _node_going(self, _scene: Any, _event: str, node: Any) -> None:
        case = self.cases.pop(node.GetID() or "", None) if node.IsA("vtkMRMLScalarVolumeNode") else None
        if case is None:
            return
        if self.placing.kind:
            self.placing.cancel()
        self.asking.abandon(case, _("The CT was removed from the scene; its answer was stopped."))
        self._leave(case, _("The CT of this conversation was removed from the scene."))

    def _leave(self, case: Case, sentence: str) -> None:
        if self.case is case:
            self._ct_observers.clear()
            self.case = None
            self.showing.show_case(None)
            self.chat.show_case(None)
            if case.conversation.turns:
                self.chat.greeting = sentence
        case.close()
        self.refresh()

    def _scene_closing(self, _scene: Any, _event: str) -> None:
        self.placing.cancel()
        for case in list(self.cases.values()):
            self.asking.abandon(case, _("The scene was closed; the answer was stopped."))
            self.cases.pop(case.id, None)
            self._leave(case, "")

    def _scene_closed(self, _scene: Any, _event: str) -> None:
        self.chat.greeting = ""
        self.refresh()

    def _scene_imported(self, _scene: Any, _event: str) -> None:
        """A saved conversation may have come with the scene."""
        if self.asking.is_busy:
            return
        for case in self.cases.values():
            case.close()
        self.cases.clear()
        self.case = None
        self.set_ct(self.ui.ctSelector.currentNode())
