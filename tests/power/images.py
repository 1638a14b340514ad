"""The folders that a loss of power may leave, from what was recorded.

What was synced is there. Of what was not, each block of a file may be there, be missing, or be torn
between sectors; names follow in the order of their changes, up to some point. A meta page is written
after the sync, 120 bytes inside one sector: it is old or new.
"""

from recorder import BLOCK, Commit, Done, FolderSynced, Named, Synced, Unsynced

SECTOR = 512
META_BLOCKS = 2


def blocks(data):
    """How many blocks a file has."""
    return -(-len(data) // BLOCK)


def block(data, number, size=BLOCK):
    """One block, with zeros for what the file does not have."""
    return data[number * size : (number + 1) * size].ljust(size, b"\0")


def changed(old, new):
    """The blocks in which two versions of a file differ."""
    return [number for number in range(blocks(new)) if block(old, number) != block(new, number)]


def torn(rng, old, new):
    """A block of which only some sectors were written."""
    sectors = range(BLOCK // SECTOR)
    written = set(rng.sample(sectors, rng.randrange(1, len(sectors))))
    return b"".join(block(new if at in written else old, at, SECTOR) for at in sectors)


def some_of(rng, old, new):
    """A file after a loss of power between two syncs."""
    numbers = changed(old, new)
    share = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    written = {}
    for number in numbers:
        if rng.random() < share:
            pair = block(old, number), block(new, number)
            written[number] = torn(rng, *pair) if rng.random() < 0.3 else pair[1]
    # The file is as long as its last block says, or as long as all of them were to make it.
    last = max([blocks(old), *(number + 1 for number in written)])
    length = rng.choice((last, blocks(new))) if numbers else blocks(old)
    parts = (written.get(number, block(old, number)) for number in range(length))
    return b"".join(parts) if length > blocks(old) or written else old


def with_metas_of(data, metas):
    """A file with the meta pages of another version of it."""
    return metas[: META_BLOCKS * BLOCK] + data[META_BLOCKS * BLOCK :]


class Disk:
    """What is certain, and what may be, after some events."""

    def __init__(self):
        self.certain = {}
        self.written = {}
        self.names = {}
        self.changes = []
        self.acknowledged = 0

    def follow(self, event):
        """One more event."""
        if isinstance(event, Commit):
            self.certain[event.file] = self.written[event.file] = event.after
        elif isinstance(event, Unsynced):
            self.certain.setdefault(event.file, b"")
            self.written[event.file] = event.after
        elif isinstance(event, Synced) and event.file in self.written:
            self.certain[event.file] = self.written[event.file]
        elif isinstance(event, Named):
            self.changes.append(event)
        elif isinstance(event, FolderSynced):
            self.names = self.named(len(self.changes))
            self.changes = []
        elif isinstance(event, Done):
            self.acknowledged = event.number

    def named(self, count):
        """The names, after some of the changes that are not certain."""
        names = self.names | {change.name: change.file for change in self.changes[:count]}
        return {name: file for name, file in names.items() if file is not None}

    def content(self, rng, file, event):
        """A file as it may be, while `event` happens."""
        known = self.certain.get(file, b"")
        if not isinstance(event, Commit) or event.file != file:
            return some_of(rng, known, self.written.get(file, known))
        # The meta pages of a file that is new are written without a sync.
        data = with_metas_of(event.after, event.before)
        stage = rng.randrange(4)
        if stage == 3:
            return event.after
        return data if stage == 2 else some_of(rng, known, data)

    def image(self, rng, event):
        """A folder as it may be: the content of each name."""
        names = self.named(rng.randrange(len(self.changes) + 1))
        return {name: self.content(rng, file, event) for name, file in names.items()}

    def least(self):
        """The folder with nothing but what is certain."""
        return {name: self.certain.get(file, b"") for name, file in self.names.items()}


def all_images(events, rng, count):
    """So many (number of the last call that had returned, content of each file).

    First the folder after each call with nothing but what is certain, then any.
    """
    disk = Disk()
    for event in events:
        disk.follow(event)
        if isinstance(event, Done):
            yield event.number, disk.least()
    # Each event in turn, so that none is left out.
    moments = [number % len(events) for number in range(count)]
    if count < len(events):
        moments = rng.sample(range(len(events)), count)
    disk, at = Disk(), 0
    for moment in sorted(moments):
        for event in events[at:moment]:
            disk.follow(event)
        at = max(at, moment)
        yield disk.acknowledged, disk.image(rng, events[moment])
