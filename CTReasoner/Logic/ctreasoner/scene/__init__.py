"""Events become nodes of Slicer's scene, and nodes become prompts. VTK, MRML and numpy; no Qt, no engine.

``SceneWriter`` turns the events of an answer into segments and boxes of one CT; ``Follower`` moves the views to each look;
``PromptNodes`` reads what a person clicked or drew; ``Transcript`` keeps the conversation in the scene; ``Replay`` goes
through the looks of a past answer. World is RAS mm; masks are ``[i, j, k]`` on the CT's own grid.
All of it belongs to the main thread. Nothing here asks whether Slicer or another host shows the scene.
"""

from __future__ import annotations

from .aside import show_only
from .findings import Finding
from .follower import Follower
from .prompts import PromptNodes
from .replay import Replay
from .transcript import Transcript, Turn
from .volume import contains, hardened_copy, voxels_of, world_matrix
from .writer import SceneWriter

__all__ = ["Finding", "Follower", "PromptNodes", "Replay", "SceneWriter", "Transcript", "Turn", "contains", "hardened_copy",
           "show_only", "voxels_of", "world_matrix"]
