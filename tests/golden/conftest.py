"""The independent reader lies with the tests of the format."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "format"))
