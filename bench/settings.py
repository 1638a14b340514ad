"""What all benchmarks have in common."""

from __future__ import annotations

from pathlib import Path

K = 10
"""Neighbours that are asked for."""
M, EF_CONSTRUCTION = 16, 200
"""What every graph is built with, whoever builds it."""
THREADS = 2
"""Threads of builds and of batches. Single queries have one."""
BATCH = 1000
"""Rows of one upsert."""
INDEX = "bench"
"""The name of the encrypted index."""
HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
