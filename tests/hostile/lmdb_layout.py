"""Where things lie in an LMDB file of data format 1, so that they can be forged one by one."""

import struct

PAGE = 4096
HEAD = 16
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8
BIG = 1
NONE = (1 << 64) - 1
META_FIELDS = {
    "page number": (0, "Q"),
    "page flags": (10, "H"),
    "magic": (16, "I"),
    "version": (20, "I"),
    "address": (24, "Q"),
    "map size": (32, "Q"),
    "last page": (136, "Q"),
    "txnid": (144, "Q"),
}
TREE_FIELDS = {
    "pad": (0, "I"),
    "flags": (4, "H"),
    "depth": (6, "H"),
    "branch pages": (8, "Q"),
    "leaf pages": (16, "Q"),
    "overflow pages": (24, "Q"),
    "entries": (32, "Q"),
    "root": (40, "Q"),
}
for _tree, _start in (("free", 40), ("main", 88)):
    META_FIELDS |= {
        f"{_tree} {name}": (_start + at, code) for name, (at, code) in TREE_FIELDS.items()
    }
"""Of a meta page: the size of pages is "free pad"."""
PAGE_FIELDS = {
    "page number": (0, "Q"),
    "pad": (8, "H"),
    "flags": (10, "H"),
    "lower": (12, "H"),
    "upper": (14, "H"),
    "overflow count": (12, "I"),
}
NODE_FIELDS = {"low": (0, "H"), "high": (2, "H"), "flags": (4, "H"), "key size": (6, "H")}


def get(data, at, code):
    """A number."""
    return struct.unpack_from(f"<{code}", data, at)[0]


def put(data, at, code, value):
    """Write a number, cut to its width."""
    value &= (1 << 8 * struct.calcsize(code)) - 1
    struct.pack_into(f"<{code}", data, at, value)


def field(data, page, name, fields):
    """A named number of a page."""
    at, code = fields[name]
    return get(data, page * PAGE + at, code)


def newest_meta(data):
    """Which of the two meta pages counts."""
    return int(field(data, 0, "txnid", META_FIELDS) < field(data, 1, "txnid", META_FIELDS))


def nodes(data, page):
    """Where the nodes of a branch or leaf start."""
    lower = field(data, page, "lower", PAGE_FIELDS)
    start = page * PAGE
    return [start + get(data, start + at, "H") for at in range(HEAD, lower, 2)]


def big_nodes(data, page):
    """Where the nodes of a leaf start whose values have pages of their own."""
    return [at for at in nodes(data, page) if get(data, at + 4, "H") & BIG]


def tree(data, root):
    """The pages of a tree, runs of overflow pages by their first, root first."""
    found = []
    waiting = [] if root == NONE else [root]
    while waiting:
        page = waiting.pop()
        found.append(page)
        flags = field(data, page, "flags", PAGE_FIELDS)
        if flags & BRANCH:
            waiting += [
                get(data, at, "I") | get(data, at + 4, "H") << 32 for at in nodes(data, page)
            ]
        elif flags & LEAF:
            waiting += [
                get(data, at + 8 + get(data, at + 6, "H"), "Q") for at in big_nodes(data, page)
            ]
    return found


def live_pages(data, name):
    """The pages of the tree of records (`main`) or of free pages (`free`)."""
    return tree(data, field(data, newest_meta(data), f"{name} root", META_FIELDS))


def kind(data, page):
    """The flags of a page."""
    return field(data, page, "flags", PAGE_FIELDS)


def free_lists(data):
    """Where the lists of free pages start: how many, then each page number, descending."""
    found = []
    for page in live_pages(data, "free"):
        if kind(data, page) & LEAF:
            for at in nodes(data, page):
                value = at + 8 + get(data, at + 6, "H")
                big = get(data, at + 4, "H") & BIG
                found.append(get(data, value, "Q") * PAGE + HEAD if big else value)
    return found
