"""Pictures of the host's window."""

from __future__ import annotations

import os

from .wrapping import Wrapper


def grab(path: str | os.PathLike, thing=None) -> str:
    """Save a picture of the main window, or of a widget, after everything asked for has been drawn."""
    from . import application

    app = application.current()
    app.process(30)
    widget = app.window if thing is None else thing._host_object if isinstance(thing, Wrapper) else thing
    if app.window is not None:
        for view in app.window.layout_manager.viewWidgets():
            if view.isVisible():
                view.viewWidget().forceRender()
    app.process()
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    if not widget.grab().save(str(path)):
        raise OSError(f"no picture could be written to {path}")
    return str(path)
