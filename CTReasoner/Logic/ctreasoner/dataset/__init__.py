"""Data sets of CTs with masks: build, check, show, propose, review. ``known`` and ``prepare`` feed training."""
