"""`python -m cyborg_embedded` is the command `cyborg-embedded`."""

from __future__ import annotations

import sys

from cyborg_embedded.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
