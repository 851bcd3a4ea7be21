"""What a person sees and clicks: chat, findings, prompts, engine, export. Qt and Slicer's widgets; masks are never touched here.

`controller.Controller` composes the rest; `turns` and `pages` are plain Python, so that they can be read and tested without Qt.
"""
