"""Files that somebody has made of an index: one change or more of a kind, by a seed."""

from lmdb_layout import (
    BRANCH,
    HEAD,
    LEAF,
    META_FIELDS,
    NODE_FIELDS,
    OVERFLOW,
    PAGE,
    PAGE_FIELDS,
    big_nodes,
    field,
    free_lists,
    get,
    kind,
    live_pages,
    newest_meta,
    nodes,
    put,
)

ODD_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 255, 256, 4095, 4096, 4097, 0x7FFF, 0x8000, 0xFFFF)
ODD_NUMBERS += tuple((1 << bits) + more for bits in (31, 32, 47, 48, 63, 64) for more in (-1, 0, 1))


def odd(rng, known, pages):
    """A number to put in the place of a known one."""
    near = (known + rng.choice((-4096, -2, -1, 1, 2, 4096)), rng.randrange(pages), pages, pages - 1)
    return rng.choice((rng.choice(ODD_NUMBERS), rng.choice(near), known ^ (1 << rng.randrange(16))))


def forge(data, rng, at, code):
    """Another number in place of the one that is there."""
    put(data, at, code, odd(rng, get(data, at, code), len(data) // PAGE))


def flip_bits(data, rng):
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_bits_of_structure(data, rng):
    pages = live_pages(data, "main") + live_pages(data, "free") + [newest_meta(data)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        data[rng.choice(pages) * PAGE + rng.randrange(152)] ^= 1 << rng.randrange(8)


def swap_pages(data, rng):
    first, second = (rng.randrange(len(data) // PAGE) * PAGE for _ in range(2))
    one, other = data[first : first + PAGE], data[second : second + PAGE]
    data[first : first + PAGE], data[second : second + PAGE] = other, one
    if rng.random() < 0.5 and min(first, second) >= 2 * PAGE:
        # Each with the number of its new place, as somebody would who knows of it.
        put(data, first, "Q", first // PAGE)
        put(data, second, "Q", second // PAGE)


def copy_page(data, rng):
    source, target = (rng.randrange(len(data) // PAGE) * PAGE for _ in range(2))
    data[target : target + PAGE] = data[source : source + PAGE]
    if rng.random() < 0.5:
        put(data, target, "Q", target // PAGE)


def truncate(data, rng):
    # Of the last page that is in use at least a part: `test_truncated.py` cuts behind it.
    last = max(live_pages(data, "main") + live_pages(data, "free"))
    left = rng.choice((rng.randrange((last + 1) * PAGE), rng.randrange(last + 1) * PAGE))
    del data[left:]


def extend(data, rng):
    data += rng.randbytes(rng.choice((1, 511, PAGE, 10 * PAGE)))


def forge_meta(data, rng):
    names = rng.sample(sorted(META_FIELDS), rng.choice((1, 1, 1, 2, 3)))
    pages = rng.choice(((0,), (1,), (newest_meta(data),), (0, 1)))
    for name in names:
        at, code = META_FIELDS[name]
        value = odd(rng, get(data, pages[0] * PAGE + at, code), len(data) // PAGE)
        for page in pages:
            put(data, page * PAGE + at, code, value)


def forge_trees(data, rng):
    """Flags of a tree that turn its comparison, or what its values are; or another root."""
    page, which = newest_meta(data), rng.choice(("main", "free"))
    at, code = META_FIELDS[f"{which} flags"]
    if rng.random() < 0.6:
        put(data, page * PAGE + at, code, 1 << rng.randrange(16))
    else:
        at, code = META_FIELDS[f"{which} root"]
        put(data, page * PAGE + at, code, rng.choice(live_pages(data, "main")))


def go_back(data, rng):
    """The older of the two meta pages, which has another commit, counts again."""
    page = newest_meta(data)
    at, code = META_FIELDS["txnid"]
    number = get(data, page * PAGE + at, code)
    put(data, page * PAGE + at, code, rng.choice((number - 2, number - 4, page, 0)))


def forge_free_list(data, rng):
    lists = free_lists(data)
    at = rng.choice(lists)
    count = get(data, at, "Q")
    if rng.random() < 0.2 or not count:
        forge(data, rng, at, "Q")
        return
    places = [at + 8 * (1 + number) for number in range(min(count, 400))]
    other = rng.choice(places)
    live = rng.choice(live_pages(data, "main"))
    value = rng.choice((live, get(data, other, "Q"), len(data), 0, 1, (1 << 64) - 1))
    put(data, rng.choice(places), "Q", value)


def forge_page(data, rng):
    page = rng.choice(live_pages(data, rng.choice(("main", "main", "free"))))
    for name in rng.sample(sorted(PAGE_FIELDS), rng.choice((1, 1, 2))):
        at, code = PAGE_FIELDS[name]
        forge(data, rng, page * PAGE + at, code)


def forge_node(data, rng):
    trees = live_pages(data, "main") + live_pages(data, "free")
    wanted = rng.choice((BRANCH, LEAF))
    page = rng.choice([page for page in trees if kind(data, page) & wanted])
    place = rng.randrange(len(nodes(data, page)))
    at = nodes(data, page)[place]
    how = rng.randrange(4)
    if how == 0:
        forge(data, rng, page * PAGE + HEAD + 2 * place, "H")
    elif how == 1:
        offset, code = NODE_FIELDS[rng.choice(sorted(NODE_FIELDS))]
        forge(data, rng, at + offset, code)
    elif how == 2:
        data[at + 8 + rng.randrange(9)] ^= 1 << rng.randrange(8)
    else:
        other = rng.choice(nodes(data, page))
        data[at : at + 8] = data[other : other + 8]


def forge_run(data, rng):
    """The length of a run of overflow pages, or what points to it."""
    leaves = [page for page in live_pages(data, "main") if kind(data, page) & LEAF]
    big = [at for page in leaves for at in big_nodes(data, page)]
    at = rng.choice(big)
    value = at + 8 + get(data, at + 6, "H")
    run = get(data, value, "Q")
    how = rng.randrange(3)
    if how == 0:
        forge(data, rng, value, "Q")
    elif how == 1:
        forge(data, rng, run * PAGE + 12, "I")
    else:
        put(data, at, "I", odd(rng, get(data, at, "I"), len(data) // PAGE))


def exchange_values(data, rng):
    """Two records change their values, with all of the structure sound."""
    leaves = [page for page in live_pages(data, "main") if kind(data, page) & LEAF]
    big = [at for page in leaves for at in big_nodes(data, page)]
    one, other = (at + 8 + get(data, at + 6, "H") for at in rng.sample(big, 2))
    first, second = get(data, one, "Q"), get(data, other, "Q")
    if field(data, first, "overflow count", PAGE_FIELDS) == field(
        data, second, "overflow count", PAGE_FIELDS
    ):
        put(data, one, "Q", second)
        put(data, other, "Q", first)


def damage_values(data, rng):
    """Bytes of sealed pages, with all of the structure sound."""
    runs = [page for page in live_pages(data, "main") if kind(data, page) & OVERFLOW]
    for _ in range(rng.choice((1, 1, 3, len(runs)))):
        data[rng.choice(runs) * PAGE + HEAD + rng.randrange(900)] ^= 1 << rng.randrange(8)


def random_page(data, rng):
    page = rng.choice((0, 1, rng.choice(live_pages(data, "main"))))
    data[page * PAGE : (page + 1) * PAGE] = rng.randbytes(PAGE)


WAYS = (
    flip_bits,
    flip_bits_of_structure,
    swap_pages,
    copy_page,
    truncate,
    extend,
    forge_meta,
    forge_trees,
    go_back,
    forge_free_list,
    forge_page,
    forge_node,
    forge_run,
    exchange_values,
    damage_values,
    random_page,
)


def mutant(pristine, rng, number):
    """(its name, its bytes): each way in turn, as deep as the seed has it."""
    way = WAYS[number % len(WAYS)]
    data = bytearray(pristine)
    way(data, rng)
    return f"{way.__name__} {number}", bytes(data)
