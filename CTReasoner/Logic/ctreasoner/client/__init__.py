"""Talk to an engine in a process of its own. Standard library and numpy only: it runs inside Slicer's Python.

`local.LocalEngine` starts and watches the process, `worker` is that process, `volumes.VolumeStore` hands a CT over as a file,
`masks` hands over a mask that a person changed, `install` puts the engine into an environment of its own.
"""
