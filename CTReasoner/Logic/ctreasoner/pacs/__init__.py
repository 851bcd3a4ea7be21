"""To a PACS and back, only when asked: over DICOMweb (QIDO, WADO, STOW) or DIMSE (C-ECHO, C-FIND, C-GET, C-STORE).

``address`` says who is asked and as whom, ``web`` and ``dimse`` speak the two protocols behind one interface (``archive``),
``transfer`` pulls and pushes: it retries, resumes, and calls nothing stored that the server does not show.
"""
