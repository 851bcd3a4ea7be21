"""The host cannot lie: wrong uses of Slicer's Python raise, right ones run."""

from __future__ import annotations

import textwrap

import host
import pytest
from host.errors import NotInSlicer, WrongUse

NotThere, Wrong, Missing = NotInSlicer, WrongUse, NotImplementedError

# (what Slicer would do) -> code that must raise
WRONG = [
    # names: only those of the index
    ("C++ has setNodeTypes, Python has not", "slicer.qMRMLNodeComboBox().setNodeTypes(['vtkMRMLNode'])", NotThere),
    ("C++ getter without Q_INVOKABLE", "slicer.qMRMLNodeComboBox().noneDisplayed()", NotThere),
    ("a protected slot", "slicer.qMRMLNodeComboBox().refreshIfCurrentNodeHidden()", NotThere),
    ("a class that is not there", "slicer.qMRMLChatWidget()", NotThere),
    ("a ctk class under slicer", "slicer.ctkCollapsibleButton()", NotThere),
    ("a slicer class under ctk", "ctk.qMRMLNodeComboBox()", NotThere),
    ("a Qt class that is not there", "qt.QChatView()", NotThere),
    ("an unknown attribute is read", "ctk.ctkPathLineEdit().path", NotThere),
    ("an unknown attribute is written", "ctk.ctkPathLineEdit().path = '/tmp'", NotThere),
    ("an unknown attribute of a Qt object is written", "qt.QLabel().caption = 'x'", NotThere),
    ("a newer slot", "slicer.qMRMLTransformDisplayNodeWidget.updateInteractionHandleOpacity", NotThere),
    ("a newer MRML method", "slicer.vtkMRMLModelDisplayNode().SetShowInAllViewsByDefault(1)", NotThere),
    ("a newer MRML constant", "slicer.vtkMRMLInteractionNode.Scroll", NotThere),
    ("a snake_case spelling of the wheel", "slicer.vtkMRMLTextNode().text", NotThere),
    ("a snake_case spelling is written", "slicer.vtkMRMLTextNode().text = 'x'", NotThere),
    ("a function of slicer.util on slicer", "slicer.getNode('x')", NotThere),
    ("None for a text", "qt.QLabel().setText(None)", Wrong),
    ("None for a text property", "qt.QLineEdit().text = None", Wrong),
    ("a number for a text property", "qt.QLineEdit().text = 5", Wrong),
    ("a newer helper", "slicer.util.LazyImport('numpy')", AttributeError),
    ("an enum value that is not there", "ctk.ctkComboBox.SometimesScroll", NotThere),
    ("a static that is not there", "qt.QTimer.twoShots", NotThere),
    # members that exist and that the host does not have
    ("a member that the host lacks", "slicer.qMRMLNodeComboBox().sortFilterProxyModel()", Missing),
    ("a class that the host lacks", "slicer.qMRMLSubjectHierarchyTreeView()", Missing),
    ("a property that the host lacks", "slicer.qMRMLNodeComboBox().interactionNodeSingletonTag", Missing),
    ("a module that the host lacks", "slicer.modules.dicom", Missing),
    # constructors
    ("no constructor from Python", "slicer.qSlicerApplication()", Wrong),
    ("a text for the constructor of a ctk widget", "ctk.ctkCollapsibleButton('Inputs')", Wrong),
    ("keyword arguments in a constructor", "ctk.ctkCollapsibleButton(parent=None)", Wrong),
    ("keyword arguments in a Qt constructor", "qt.QPushButton(text='Ask')", Wrong),
    ("keyword arguments in a method", "qt.QLabel().setText(text='x')", Wrong),
    # properties are values
    ("a property is called: currentNodeID", "slicer.qMRMLNodeComboBox().currentNodeID()", TypeError),
    ("a property is called: text", "qt.QLineEdit().text()", TypeError),
    ("a property is called: value", "qt.QSlider().value()", TypeError),
    ("a property is called: checked", "qt.QCheckBox().checked()", TypeError),
    ("a property is called: layoutManager's layout", "slicer.app.layoutManager().layout()", TypeError),
    ("a read-only property is written", "slicer.app.layoutManager().threeDViewCount = 2", Wrong),
    ("a read-only Qt property is written", "qt.QLineEdit().hasSelectedText = True", Wrong),
    ("a property of another kind", "ctk.ctkPathLineEdit().currentPath = 5", Wrong),
    ("nodeTypes is a list", "slicer.qMRMLNodeComboBox().nodeTypes = 'vtkMRMLNode'", Wrong),
    ("a bool property gets a text", "slicer.qMRMLNodeComboBox().noneEnabled = 'yes'", Wrong),
    ("a method is overwritten", "qt.QLabel().setText = print", Wrong),
    ("a class attribute is set", "qt.QLabel.hello = 1", Wrong),
    # PyQt5 is not PythonQt
    ("pyqtSignal", "qt.pyqtSignal", NotThere),
    ("pyqtSlot", "qt.pyqtSlot", NotThere),
    ("sip", "qt.sip", NotThere),
    ("a callable for addAction", "qt.QMenu().addAction('Open', print)", Wrong),
    ("a callable as QShortcut's keyword", "qt.QShortcut(qt.QKeySequence('F9'), slicer.util.mainWindow(), activated=print)", Wrong),
    ("output arguments", "qt.QVBoxLayout().getContentsMargins()", Missing),
    ("signal.emit", "qt.QPushButton().clicked.emit(True)", NotThere),
    ("the decorator form of connect", "qt.QPushButton().clicked[bool]", TypeError),
    ("singleShot is no property", "qt.QTimer().singleShot = True", Wrong),
    # connections
    ("a signal that is not there", "qt.QPushButton().connect('pressed(bool)', print)", NotThere),
    ("a signal without types", "qt.QPushButton().connect('clicked', print)", (NotThere, ValueError)),
    ("spaces in a signal", "slicer.qMRMLNodeComboBox().connect('currentNodeChanged( vtkMRMLNode* )', print)", NotThere),
    ("a const reference in a signal", "ctk.ctkPathLineEdit().connect('currentPathChanged(const QString&)', print)", NotThere),
    ("another class's signal", "ctk.ctkPathLineEdit().connect('textChanged(QString)', print)", NotThere),
    ("what is connected cannot be called", "qt.QPushButton().connect('clicked()', None)", Wrong),
    ("a slot that is not there", "qt.QPushButton().connect('clicked()', qt.QLabel(), 'shout()')", NotThere),
    ("an ambiguous signal attribute", "slicer.qMRMLNodeComboBox().currentNodeChanged.connect(lambda node: None)", Wrong),
    # overloads
    ("too many arguments", "slicer.qMRMLNodeComboBox().setCurrentNodeID('a', 'b')", Wrong),
    ("another kind of argument", "slicer.qMRMLNodeComboBox().setCurrentNodeIndex('first')", Wrong),
    ("a float for an int", "slicer.app.layoutManager().setLayout(3.0)", Wrong),
    ("not a scene", "slicer.qMRMLNodeComboBox().setMRMLScene(slicer.app)", Wrong),
    ("too few arguments", "slicer.app.layoutManager().sliceWidget()", Wrong),
    # subclasses
    ("a method of a qMRML widget is overridden", """
        class Quiet(slicer.qMRMLNodeComboBox):
            def setCurrentNode(self, node):
                pass
        """, Wrong),
    ("a virtual method of a ctk widget is overridden", """
        class Big(ctk.ctkCollapsibleButton):
            def sizeHint(self):
                return qt.QSize(500, 500)
        """, Wrong),
    ("a subclass without the base's __init__", """
        class Empty(qt.QObject):
            def __init__(self):
                pass
        Empty().objectName
        """, RuntimeError),
    # modules, isinstance, util
    ("a module that does not exist", "slicer.modules.chatmodule", NotThere),
    ("a module by its title", "slicer.modules.SegmentEditor", NotThere),
    ("isinstance of a Slicer widget against a Qt class", "isinstance(slicer.qMRMLNodeComboBox(), qt.QWidget)", Wrong),
    ("PyQt5 objects in module code", "import PyQt5.QtWidgets as w; qt.QVBoxLayout().addWidget(w.QLabel('x'))", Wrong),
    ("slicer.packaging with a wrong keyword", "slicer.packaging.pip_install('torch', constraint='c.txt')", TypeError),
    ("a wrong keyword for sample data", """
        import SampleData
        SampleData.SampleDataLogic.registerCustomSampleDataSource(category='x', sampleName='y', urls='z')
        """, TypeError),
    # parameter node wrapper: exact types
    ("connectGui takes no QPlainTextEdit", "connect_gui(str, qt.QPlainTextEdit())", RuntimeError),
    ("connectGui takes no QToolButton", "connect_gui(bool, qt.QToolButton())", RuntimeError),
    ("connectGui takes no subclass", """
        class Line(qt.QLineEdit):
            pass
        connect_gui(str, Line())
        """, RuntimeError),
    ("connectGui wants bounds for a slider", "connect_gui(float, ctk.ctkSliderWidget())", RuntimeError),
    ("connectGui wants choices for a combo box", "connect_gui(str, qt.QComboBox())", RuntimeError),
    ("a part of the parameter node wrapper that the host lacks", "from slicer.parameterNodeWrapper import FloatRange", Missing),
    ("a list of C++ is a tuple", "slicer.app.layoutManager().sliceViewNames().append('Blue')", AttributeError),
    ("a value outside its range", """
        @parameterNodeWrapper
        class Parameters:
            threshold: Annotated[float, WithinRange(0, 10)] = 5.0
        Parameters(node()).threshold = 11.0
        """, ValueError),
    ("a value of another type", """
        @parameterNodeWrapper
        class Parameters:
            name: str
        Parameters(node()).name = 5
        """, TypeError),
]

RIGHT = [
    ("a label's text", "w = qt.QLabel('a'); w.text = 'b'; assert w.text == 'b'"),
    ("setText is still there", "w = qt.QLabel(); w.setText('b'); assert w.text == 'b'"),
    ("isChecked is a method, checked a value", "w = qt.QCheckBox(); w.checked = True; assert w.isChecked() and w.checked is True"),
    ("objectName is a value", "w = qt.QWidget(); w.objectName = 'x'; assert w.objectName == 'x' and w.name == 'x'"),
    ("enabled", "w = qt.QPushButton(); w.enabled = False; assert not w.isEnabled()"),
    ("a bool property takes a node or None", """
        b = qt.QPushButton(); s = selector(['vtkMRMLTextNode'], none=True)
        b.enabled = s.currentNode(); assert b.enabled is False
        s.setCurrentNode(add('vtkMRMLTextNode')); b.enabled = s.currentNode(); assert b.enabled is True
        """),
    ("a slider's value", "w = qt.QSlider(); w.maximum = 10; w.value = 7; assert w.value == 7"),
    ("a spin box", "w = qt.QSpinBox(); w.setRange(0, 5); w.value = 9; assert w.value == 5"),
    ("a combo box", "w = qt.QComboBox(); w.addItems(['a', 'b']); w.currentIndex = 1; assert w.currentText == 'b'"),
    ("a line edit", """
        w = qt.QLineEdit()
        w.placeholderText = 'Ask'
        w.text = 'liver'
        assert w.text == 'liver' and not w.hasSelectedText
        """),
    ("a plain text edit", "w = qt.QPlainTextEdit(); w.setPlainText('x'); assert w.toPlainText() == 'x' and w.plainText == 'x'"),
    ("a text browser", """
        w = qt.QTextBrowser()
        w.openLinks = False
        w.setHtml('<a href="x">y</a>')
        assert 'y' in w.toPlainText()
        """),
    ("a progress bar", "w = qt.QProgressBar(); w.maximum = 5; w.value = 2; assert w.value == 2"),
    ("enums of Qt", "assert qt.Qt.AlignRight | qt.Qt.AlignVCenter and qt.QFrame.HLine == 4"),
    ("a font", "w = qt.QLabel(); f = w.font; f.setBold(True); w.font = f; assert w.font.bold()"),
    ("a colour", "c = qt.QColor(1, 2, 3); assert c.red() == 1 and c.name() == '#010203'"),
    ("values compare", "assert qt.QSize(1, 2) == qt.QSize(1, 2) and qt.QPoint(1, 2) + qt.QPoint(1, 1) == qt.QPoint(2, 3)"),
    ("a style sheet", "w = qt.QWidget(); w.styleSheet = 'color: red'; assert w.styleSheet == 'color: red'"),
    ("layouts", """
        w = qt.QWidget()
        l = qt.QVBoxLayout(w)
        l.addWidget(qt.QLabel('x'))
        assert l.count() == 1 and l.itemAt(0).widget().text == 'x'
        """),
    ("a form layout", "w = qt.QWidget(); l = qt.QFormLayout(w); l.addRow('Name', qt.QLineEdit()); assert l.rowCount() == 1"),
    ("widget.layout() is a method", "w = qt.QWidget(); w.setLayout(qt.QVBoxLayout()); assert w.layout() is not None"),
    ("the same object twice", "w = qt.QWidget(); l = qt.QLabel('x', w); assert l.parent() == w and w.children()[0] is l"),
    ("findChild with type and name", """
        w = qt.QWidget()
        l = qt.QLabel('x', w)
        l.objectName = 'n'
        assert w.findChild(qt.QLabel, 'n') == l
        """),
    ("findChildren", """
        w = qt.QWidget()
        [qt.QLabel('x', w).setObjectName('l') for i in range(3)]
        assert len(w.findChildren(qt.QLabel)) == 3
        """),
    ("a named child is an attribute", "w = qt.QWidget(); l = qt.QLabel('x', w); l.objectName = 'child'; assert w.child == l"),
    ("dynamic properties", "w = qt.QWidget(); w.setProperty('Tag', 'x'); assert w.property('Tag') == 'x' and w.Tag == 'x'"),
    ("property() of a real property", "w = qt.QLabel('x'); assert w.property('text') == 'x'"),
    ("className and inherits", """
        w = slicer.qMRMLNodeComboBox()
        assert w.className() == 'qMRMLNodeComboBox' and w.inherits('QWidget')
        """),
    ("isWidgetType", "assert slicer.qMRMLNodeComboBox().isWidgetType()"),
    ("a trailing underscore", "assert callable(qt.QDialog().exec_) and callable(qt.QLabel().clear_)"),
    ("connect by string", """
        b = qt.QPushButton()
        heard = []
        assert b.connect('clicked()', lambda: heard.append(1))
        b.click()
        assert heard == [1]
        """),
    ("connect with the argument", """
        b = qt.QPushButton()
        heard = []
        b.connect('clicked(bool)', heard.append)
        b.click()
        assert heard == [False]
        """),
    ("extra arguments are dropped", """
        b = qt.QPushButton()
        heard = []
        b.connect('clicked(bool)', lambda: heard.append(1))
        b.click()
        assert heard
        """),
    ("defaults count as arguments", """
        b = qt.QPushButton()
        h = []
        b.connect('clicked(bool)', lambda x='mine': h.append(x))
        b.click()
        assert h == [False]
        """),
    ("partials receive everything", """
        import functools
        b = qt.QPushButton(); heard = []
        b.connect('clicked(bool)', functools.partial(lambda *a: heard.append(a), 'p')); b.click()
        assert heard == [('p', False)]
        """),
    ("signal attributes connect", """
        b = qt.QPushButton()
        h = []
        b.clicked.connect(lambda: h.append(1))
        b.click()
        assert h == [1]
        """),
    ("disconnect", """
        b = qt.QPushButton()
        h = []
        f = h.append
        b.connect('clicked(bool)', f)
        assert b.disconnect('clicked(bool)', f)
        b.click()
        assert not h
        """),
    ("a signal is called to emit it", """
        b = qt.QPushButton()
        h = []
        b.connect('clicked(bool)', h.append)
        b.clicked(True)
        assert h == [True]
        """),
    ("connect to a C++ slot", """
        e = qt.QLineEdit()
        l = qt.QLabel()
        e.connect('textChanged(QString)', l, 'setText(QString)')
        e.text = 'x'
        assert l.text == 'x'
        """),
    ("overloads of a signal by types", """
        s = qt.QComboBox()
        s.addItems(['a', 'b'])
        h = []
        s.connect('currentIndexChanged(int)', h.append)
        s.currentIndex = 1
        assert h == [1]
        """),
    ("blockSignals", """
        s = qt.QSlider()
        h = []
        s.connect('valueChanged(int)', h.append)
        s.blockSignals(True)
        s.value = 5
        s.blockSignals(False)
        assert not h
        """),
    ("QTimer.singleShot", "h = []; qt.QTimer.singleShot(0, lambda: h.append(1)); app.process(20); assert h == [1]"),
    ("a timer", """
        t = qt.QTimer()
        t.setInterval(1)
        t.setSingleShot(True)
        h = []
        t.connect('timeout()', lambda: h.append(1))
        t.start()
        app.process(30)
        assert h == [1]
        """),
    ("an event filter", """
        class Keys(qt.QObject):
            def __init__(self, parent):
                qt.QObject.__init__(self, parent)
                self.seen = []
            def eventFilter(self, watched, event):
                if event.type() == qt.QEvent.KeyPress:
                    self.seen.append(event.key())
                    return True
                return False
        e = qt.QLineEdit(); k = Keys(e); e.installEventFilter(k)
        host.key(e, qt.Qt.Key_Up); host.key(e, 'a')
        assert k.seen == [qt.Qt.Key_Up, qt.Qt.Key_A] and e.text == ''
        """),
    ("a virtual method of a Qt class", """
        class Big(qt.QLabel):
            def sizeHint(self):
                return qt.QSize(321, 123)
        w = qt.QWidget(); l = qt.QHBoxLayout(w); b = Big('x'); l.addWidget(b)
        assert l.sizeHint().width() > 321
        """),
    ("super() in a virtual method", """
        class Line(qt.QLineEdit):
            def keyPressEvent(self, event):
                self.setProperty('last', event.text())
                super().keyPressEvent(event)
        e = Line(); host.key(e, 'x')
        assert e.text == 'x' and e.property('last') == 'x'
        """),
    ("a Python subclass keeps its own attributes", "c = type('Mine', (qt.QWidget,), {})(); c.anything = 5; assert c.anything == 5"),
    ("a table", """
        t = qt.QTableWidget(2, 2); i = qt.QTableWidgetItem('x'); i.setData(qt.Qt.UserRole, 'id'); t.setItem(0, 0, i)
        assert t.item(0, 0).text() == 'x' and t.item(0, 0).data(qt.Qt.UserRole) == 'id' and t.rowCount == 2
        """),
    ("a table sorts numbers", """
        t = qt.QTableWidget(3, 1)
        for row, value in enumerate((10, 9, 100)):
            i = qt.QTableWidgetItem(); i.setData(qt.Qt.DisplayRole, value); t.setItem(row, 0, i)
        t.sortItems(0); assert [t.item(r, 0).text() for r in range(3)] == ['9', '10', '100']
        """),
    ("a shortcut on the main window", """
        w = slicer.util.mainWindow(); s = qt.QShortcut(w); s.setKey(qt.QKeySequence('Ctrl+Alt+J')); h = []
        s.connect('activated()', lambda: h.append(1)); w.activateWindow(); app.process(); host.key(w, 'Ctrl+Alt+J'); assert h == [1]
        s.setParent(None); s.deleteLater()
        """),
    ("settings", """
        qt.QSettings().setValue('Host/Test', 'x')
        assert qt.QSettings().value('Host/Test') == 'x' and slicer.util.settingsValue('Host/Test', '') == 'x'
        """),
    ("a timer that nobody keeps is gone", """
        h = []
        def start():
            t = qt.QTimer(); t.connect('timeout()', lambda: h.append(1)); t.start(1)
        start(); app.process(30); assert h == []
        """),
    ("a timer with a parent stays", """
        h = []; w = qt.QWidget()
        def start():
            t = qt.QTimer(w); t.connect('timeout()', lambda: h.append(1)); t.start(1)
        start(); app.process(30); assert h
        """),
    ("a parent is set to None", "w = qt.QWidget(); l = qt.QLabel('x', w); l.setParent(None); assert l.parent() is None"),
    ("the clipboard", "qt.QApplication.clipboard().setText('copied'); assert slicer.app.clipboard().text() == 'copied'"),
    ("node selector: nothing is chosen by itself", """
        n = add('vtkMRMLTextNode'); s = selector(['vtkMRMLTextNode']); add('vtkMRMLTextNode')
        assert s.currentNode() is None and s.currentNodeID == '' and s.nodeCount() == 2
        s.setCurrentNode(n); assert s.currentNodeID == n.GetID()
        """),
    ("node selector: None is a choice", """
        add('vtkMRMLTextNode')
        s = selector(['vtkMRMLTextNode'], none=True)
        assert s.currentNode() is None and s.currentNodeID == ''
        """),
    ("node selector: signals", """
        s = selector(['vtkMRMLTextNode'], none=True); h = []
        s.connect('currentNodeChanged(vtkMRMLNode*)', h.append); n = add('vtkMRMLTextNode'); s.setCurrentNode(n); assert h == [n]
        """),
    ("node selector: a removed node goes", """
        n = add('vtkMRMLTextNode'); s = selector(['vtkMRMLTextNode']); s.setCurrentNode(n)
        slicer.mrmlScene.RemoveNode(n); assert s.currentNode() is None
        """),
    ("node selector: hidden nodes are not offered", """
        n = slicer.vtkMRMLTextNode(); n.SetHideFromEditors(1); slicer.mrmlScene.AddNode(n)
        assert selector(['vtkMRMLTextNode']).nodeCount() == 0
        """),
    ("node selector: subclasses are offered", """
        add('vtkMRMLLabelMapVolumeNode')
        assert selector(['vtkMRMLScalarVolumeNode']).nodeCount() == 1
        """),
    ("node selector: addNode", "s = selector(['vtkMRMLTextNode'], none=True); n = s.addNode(); assert s.currentNode() is n"),
    ("path line edit", """
        p = ctk.ctkPathLineEdit()
        h = []
        p.connect('currentPathChanged(QString)', h.append)
        p.currentPath = '/tmp/x'
        assert h == ['/tmp/x']
        """),
    ("collapsible button", """
        c = ctk.ctkCollapsibleButton()
        h = []
        c.connect('contentsCollapsed(bool)', h.append)
        c.collapsed = True
        assert h == [True]
        """),
    ("slider widget", """
        s = ctk.ctkSliderWidget()
        s.maximum = 10
        h = []
        s.connect('valueChanged(double)', h.append)
        s.value = 2.5
        assert h == [2.5]
        """),
    ("the scene signal reaches a selector", """
        w = slicer.qMRMLWidget(); s = slicer.qMRMLNodeComboBox(); s.nodeTypes = ['vtkMRMLTextNode']
        w.connect('mrmlSceneChanged(vtkMRMLScene*)', s, 'setMRMLScene(vtkMRMLScene*)'); w.setMRMLScene(slicer.mrmlScene)
        assert s.mrmlScene() is slicer.mrmlScene
        """),
    ("module logics", """
        assert slicer.modules.segmentations.logic().IsA('vtkSlicerSegmentationsModuleLogic')
        assert slicer.modules.markups.name == 'Markups'
        """),
    ("the views", """
        v = slicer.app.layoutManager().sliceWidget('Red').sliceView()
        assert v.interactor() is not None and v.mrmlSliceNode().GetName() == 'Red'
        """),
    ("the 3D view's camera", """
        v = slicer.app.layoutManager().threeDWidget(0).threeDView()
        assert v.cameraNode().IsA('vtkMRMLCameraNode')
        """),
    ("slicer.util.NodeModify", """
        n = add('vtkMRMLTextNode')
        m = slicer.util.NodeModify(n)
        m.__enter__()
        n.SetText('x')
        m.__exit__(None, None, None)
        """),
    ("RenderBlocker", "with slicer.util.RenderBlocker(): pass"),
    ("tr keeps placeholders", "from slicer.i18n import tr as _; assert _('{n} looks').format(n=3) == '3 looks'"),
    ("parameter node wrapper", """
        @parameterNodeWrapper
        class Parameters:
            ct: slicer.vtkMRMLScalarVolumeNode
            threshold: Annotated[float, WithinRange(0, 10)] = 5
            name: str = 'a'
        n = node(); p = Parameters(n); p.name = 'b'; v = add('vtkMRMLScalarVolumeNode'); p.ct = v
        assert Parameters(n).name == 'b' and Parameters(n).ct is v and p.threshold == 5.0
        """),
    ("connectGui both ways", """
        @parameterNodeWrapper
        class Parameters:
            name: str = 'a'
            on: bool = True
        w = qt.QWidget(); e = qt.QLineEdit(w); e.setProperty('SlicerParameterName', 'name'); b = qt.QCheckBox(w)
        b.setProperty('SlicerParameterName', 'on'); p = Parameters(node()); tag = p.connectGui(w)
        assert e.text == 'a' and b.checked
        e.text = 'typed'; assert p.name == 'typed'
        p.on = False; assert not b.checked
        p.disconnectGui(tag); e.text = 'later'; assert p.name == 'typed'
        """),
    ("QUiLoader", """
        import tempfile, os
        import pathlib
        path = os.path.join(tempfile.mkdtemp(), 'x.ui')
        pathlib.Path(path).write_text(UI)
        w = slicer.util.loadUI(path); ui = slicer.util.childWidgetVariables(w); w.setMRMLScene(slicer.mrmlScene)
        assert ui.ctSelector.mrmlScene() is slicer.mrmlScene and ui.ctSelector.nodeTypes == ('vtkMRMLScalarVolumeNode',)
        assert type(ui.ctSelector) == slicer.qMRMLNodeComboBox and ui.ctSelector.property('SlicerParameterName') == 'ct'
        """),
    ("subject hierarchy items", """
        sh = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        n = add('vtkMRMLSegmentationNode'); item = sh.GetItemByDataNode(n); assert item
        n.GetSegmentation().AddEmptySegment('liver', 'Liver')
        children = vtk.vtkIdList(); sh.GetItemChildren(item, children)
        assert children.GetNumberOfIds() == 1 and sh.GetItemAttribute(children.GetId(0), 'segmentID') == 'liver'
        """),
    ("segment items follow names and removal", """
        sh = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        n = add('vtkMRMLSegmentationNode'); s = n.GetSegmentation(); s.AddEmptySegment('a', 'One'); s.AddEmptySegment('b', 'Two')
        def titles():
            children = vtk.vtkIdList(); sh.GetItemChildren(sh.GetItemByDataNode(n), children)
            return [sh.GetItemName(children.GetId(i)) for i in range(children.GetNumberOfIds())]
        assert titles() == ['One', 'Two']
        s.GetSegment('a').SetName('Heart'); s.RemoveSegment('b'); assert titles() == ['Heart']
        slicer.mrmlScene.RemoveNode(n); assert sh.GetNumberOfItems() == 0
        """),
    ("items after a batch", """
        sh = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState); n = add('vtkMRMLTextNode')
        slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState); assert sh.GetItemByDataNode(n)
        """),
    ("hidden nodes have no item", """
        sh = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        n = slicer.vtkMRMLTextNode(); n.SetHideFromEditors(1); slicer.mrmlScene.AddNode(n); assert not sh.GetItemByDataNode(n)
        """),
]

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>X</class><widget class="qMRMLWidget" name="X"><layout class="QVBoxLayout" name="box"><item>
<widget class="qMRMLNodeComboBox" name="ctSelector">{properties}
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="SlicerParameterName" stdset="0"><string>ct</string></property></widget></item></layout></widget>
<customwidgets><customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>qMRMLWidget.h</header><container>1</container></customwidget>
<customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends><header>qMRMLNodeComboBox.h</header></customwidget>{custom}</customwidgets>
<resources/><connections><connection><sender>X</sender><signal>{signal}</signal><receiver>ctSelector</receiver>
<slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""
GOOD = {"properties": "", "custom": "", "signal": "mrmlSceneChanged(vtkMRMLScene*)"}


def names_for_code(app):
    """What a snippet finds, close to the top of a module file."""
    import typing

    import ctk
    import qt
    import slicer
    import vtk
    from slicer import parameterNodeWrapper as wrapper

    def add(kind):
        return slicer.mrmlScene.AddNewNodeByClass(kind)

    def selector(kinds, none=False):
        made = slicer.qMRMLNodeComboBox()
        made.nodeTypes, made.noneEnabled = kinds, none
        made.setMRMLScene(slicer.mrmlScene)
        return made

    def node():
        return add("vtkMRMLScriptedModuleNode")

    def connect_gui(kind, widget):
        cls = wrapper.parameterNodeWrapper(type("P", (), {"__annotations__": {"value": kind}}))
        return cls(node()).connectParametersToGui({"value": widget})

    return {"qt": qt, "ctk": ctk, "slicer": slicer, "vtk": vtk, "host": host, "app": app, "add": add, "selector": selector,
            "node": node, "connect_gui": connect_gui, "parameterNodeWrapper": wrapper.parameterNodeWrapper,
            "WithinRange": wrapper.WithinRange,
            "Annotated": typing.Annotated, "UI": UI.format(**GOOD)}


def run(code, space):
    """Run a snippet without this file's future imports."""
    exec(compile(textwrap.dedent(code), "snippet", "exec", dont_inherit=True), space)


@pytest.fixture(scope="module")
def still(slicer_app):
    """The host with an empty scene, how many nodes that has, and views that do not draw: nothing here looks at a picture."""
    slicer_app.window.layout_manager.pauseRender()
    slicer_app.scene.Clear(0)
    return slicer_app, slicer_app.scene.GetNumberOfNodes()


@pytest.fixture
def app(still):
    """As the common one, but the scene is only cleared after a snippet that added nodes."""
    application, count = still
    host.take_failures()
    if application.scene.GetNumberOfNodes() != count:
        application.scene.Clear(0)
    yield application
    application.process()
    host.check_handlers()


@pytest.mark.parametrize(("code", "error"), [pytest.param(code, error, id=name) for name, code, error in WRONG])
def test_a_wrong_use_raises(app, code, error):
    space = names_for_code(app)
    with pytest.raises(error):
        run(code, space)


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in RIGHT])
def test_a_right_use_runs(app, code):
    run(code, names_for_code(app))


def test_there_are_enough_of_both():
    assert len(WRONG) >= 40
    assert len(RIGHT) >= 60


def test_an_exception_in_a_handler_is_kept(app):
    import qt
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    with pytest.raises(host.HandlerFailed, match="ZeroDivisionError"):
        host.check_handlers()


def test_an_exception_in_an_observer_is_kept(app):
    import slicer
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda *_: 1 / 0)
    node.SetText("x")
    with pytest.raises(host.HandlerFailed, match="ZeroDivisionError"):
        host.check_handlers()


def test_an_exception_in_a_virtual_method_is_kept(app):
    import qt

    class Broken(qt.QObject):
        def eventFilter(self, watched, event):
            raise KeyError("x")

    label, broken = qt.QLabel(), Broken()
    label.installEventFilter(broken)
    label.resize(20, 20)
    label.show()
    with pytest.raises(host.HandlerFailed, match="KeyError"):
        host.check_handlers()
    label.removeEventFilter(broken)
