"""Appearance: measured on the final mask, chosen by the model, said in words, checked against the exported files."""
