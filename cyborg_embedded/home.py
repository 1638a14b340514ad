"""Where an open index lives: its name, its folder, and the key managers that may be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyborg_embedded.folder import Folder
    from cyborg_embedded.kms.registry import KeyRegistry

__all__ = ["Home"]


@dataclass(frozen=True, slots=True)
class Home:
    """What a handle needs beyond its file, to replace that file by another one."""

    name: str
    folder: Folder
    kms: KeyRegistry
