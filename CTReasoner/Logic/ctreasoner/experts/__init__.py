"""Experts: segmentation models of other people that the user installed, asked inside the same conversation.

An expert runs in a process, and where it needs other packages in a Python, of its own. Nothing is downloaded, and no weights
are read that would run code.
"""
