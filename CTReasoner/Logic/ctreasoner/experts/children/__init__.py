"""Programs that run in an expert's own Python: they import the expert's package and `channel`, nothing of this project."""
