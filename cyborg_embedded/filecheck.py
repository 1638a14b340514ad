"""Is the file long enough for what LMDB's meta pages say? Asked before it is mapped.

Touching a mapped page beyond the end of the file kills the process (SIGBUS), so a truncated file
has to be noticed first. This reads the two meta pages of LMDB's data format 1 (as on any 64-bit
machine of the same byte order) and compares; it trusts nothing in them and allocates nothing.
"""

from __future__ import annotations

import os
import struct

from cyborg_embedded.errors import FormatError

__all__ = ["ends_inside_a_run", "is_short"]

PAGE_HEADER = 16
PAGE = struct.Struct("=Q2xHI")
"""mp_pgno, (mp_pad), mp_flags, mp_pages."""
OVERFLOW = 0x04
META = struct.Struct("=II8x8xI44x48xQQ")
"""mm_magic, mm_version, (mm_address, mm_mapsize), mm_dbs[0].md_pad = page size, the rest of the
two trees, mm_last_pg, mm_txnid."""
MAGIC = 0xBEEFC0DE
DATA_VERSION = 1
SMALLEST_PAGE, LARGEST_PAGE = 256, 1 << 16


def is_short(path: str) -> bool:
    """Whether the file is shorter than the newest meta page claims.

    Raises `FormatError` where the file is not LMDB at all, `FileNotFoundError`, `OSError`.
    """
    with open(path, "rb") as file:
        first = file.read(PAGE_HEADER + META.size)
        page_size = read_meta(first)[0]
        file.seek(page_size)
        second = file.read(PAGE_HEADER + META.size)
        _, last_page, _ = max(read_meta(first), read_meta(second), key=lambda meta: meta[2])
        # A writer extends the file before it writes the meta page: length second, not first.
        length = os.fstat(file.fileno()).st_size
    return length < (last_page + 1) * page_size


def ends_inside_a_run(path: str) -> bool:
    """Whether the end of the file cuts a run of pages: one that holds a long value.

    The first page of a run tells its own number and how many there are. A run is written at once,
    so where that page is there and the last one is not, the file has been cut.
    """
    with open(path, "rb") as file:
        page_size = read_meta(file.read(PAGE_HEADER + META.size))[0]
        fd = file.fileno()
        pages = os.fstat(fd).st_size // page_size
        for page in range(pages):
            head = os.pread(fd, PAGE.size, page * page_size)
            number, flags, count = PAGE.unpack(head)
            if number == page and flags & OVERFLOW and page + count > pages:
                return True
    return False


def read_meta(page: bytes) -> tuple[int, int, int]:
    """Page size, last page number and transaction id of a meta page."""
    if len(page) < PAGE_HEADER + META.size:
        message = "the file is too short to be an index"
        raise FormatError(message)
    magic, version, page_size, last_page, txn_id = META.unpack_from(page, PAGE_HEADER)
    sound = SMALLEST_PAGE <= page_size <= LARGEST_PAGE and not page_size & (page_size - 1)
    if magic != MAGIC or version != DATA_VERSION or not sound:
        message = "the file is not an index of this library"
        raise FormatError(message)
    return page_size, last_page, txn_id
