"""A cluster and a block cache in memory: what the file system needs below it, without a network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from arvados_fuse.api import CollectionContent, Item, Shared
from arvados_fuse.errors import FileSystemError, NoSuchEntry
from arvados_fuse.fresh import SingleFlight
from arvados_fuse.fusedir.changes import Changes, Refresher
from arvados_fuse.fusedir.directory import Surroundings
from arvados_fuse.fusedir.names import NameRules
from arvados_fuse.inodes import InodeCache, Inodes
from arvados_fuse.trust import Trust

HOME = "zzzzz-tpzed-000000000000001"
MODIFIED_NS = 1_700_000_000_123_456_000


def portable_data_hash(manifest: str) -> str:
    """The hash of a manifest without hints, as the tests write them."""
    return f"{hashlib.md5(manifest.encode(errors='surrogatepass')).hexdigest()}+{len(manifest)}"


def manifest_of(files: dict[str, bytes]) -> str:
    """A manifest with one block and one line per file, whatever its directory."""
    lines = []
    for path, content in files.items():
        directory, _, name = path.rpartition("/")
        stream = f"./{directory}" if directory else "."
        block = f"{hashlib.md5(content).hexdigest()}+{len(content)}"
        stream, name = stream.replace(" ", "\\040"), name.replace(" ", "\\040")
        lines.append(f"{stream} {block} 0:{len(content)}:{name}\n")
    return "".join(lines)


def fits(name: str, filter_: list[Any]) -> bool:
    """Whether a filter of list requests lets `name` through, as a database sees it."""
    attribute, operator, operand = filter_
    assert attribute == "name"
    if operator == "=":
        return name == operand
    assert operator == "like"
    pattern = "".join(
        {"%": ".*", "_": "."}.get(part, re.escape(part.removeprefix("\\")))
        for part in re.findall(r"\\.|[^\\]", operand, re.DOTALL)
    )
    return re.fullmatch(pattern, name, re.DOTALL) is not None


class FakeCluster:
    """Projects and collections in dictionaries; counts what it is asked in `asked`."""

    signature_ttl_s = 1209600.0
    slash_substitution: str | None = "_"

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.owners: dict[str, str] = {}
        self.manifests: dict[str, str] = {}
        self.asked: list[str] = []
        self.failure: FileSystemError | None = None
        self.shared_with_me = Shared([], [])
        self.tagged_by: dict[str, list[str]] = {}
        self.stored_versions: dict[str, dict[int, dict[str, Any]]] = {}

    def add_project(self, uuid: str, name: str, owner: str = HOME) -> str:
        self.items[uuid] = Item(uuid, name, MODIFIED_NS, "", is_project=True)
        self.owners[uuid] = owner
        return uuid

    def add_collection(self, uuid: str, name: str, manifest: str, owner: str = HOME) -> str:
        self.owners[uuid] = owner
        self.items[uuid] = Item(uuid, name, MODIFIED_NS, "", is_project=False)
        self.set_manifest(uuid, manifest)
        return uuid

    def set_manifest(self, uuid: str, manifest: str) -> str:
        pdh = portable_data_hash(manifest)
        self.items[uuid] = self.items[uuid]._replace(portable_data_hash=pdh)
        self.manifests[pdh] = manifest
        return pdh

    def remove(self, uuid: str) -> None:
        del self.items[uuid], self.owners[uuid]

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.failure is not None:
            raise self.failure

    def user_uuid(self) -> str:
        self._ask("user")
        return HOME

    def project(self, uuid: str) -> Item:
        self._ask(f"project {uuid}")
        return self._item(uuid)

    def _item(self, uuid: str) -> Item:
        if uuid not in self.items:
            raise NoSuchEntry(f"{uuid} not found")
        return self.items[uuid]

    def _collection_item(self, ident: str) -> Item:
        if "+" in ident:
            if ident not in self.manifests:
                raise NoSuchEntry(f"{ident} not found")
            return Item(ident, "", 0, ident, is_project=False)
        return self._item(ident)

    def collection_state(self, ident: str) -> Item:
        self._ask(f"state {ident}")
        return self._collection_item(ident)

    def collection(self, ident: str) -> CollectionContent:
        self._ask(f"collection {ident}")
        item = self._collection_item(ident)
        return CollectionContent(item, self.manifests[item.portable_data_hash])

    def contents(self, owner_uuid: str) -> list[Item]:
        self._ask(f"contents {owner_uuid}")
        held = [self.items[uuid] for uuid, owner in self.owners.items() if owner == owner_uuid]
        return sorted(held, key=lambda item: (not item.is_project, item.uuid))

    def find(self, owner_uuid: str, name: list[Any], *, projects: bool) -> list[Item]:
        if projects:
            self._ask(f"find {name[2]}")
        items = (self.items[uuid] for uuid, owner in self.owners.items() if owner == owner_uuid)
        return [i for i in items if i.is_project == projects and fits(i.name, name)]

    def record(self, uuid: str) -> dict[str, Any]:
        self._ask(f"record {uuid}")
        return {"uuid": uuid, "name": self._collection_item(uuid).name}

    def shared(self) -> Shared:
        self._ask("shared")
        return self.shared_with_me

    def tags(self) -> list[str]:
        self._ask("tags")
        return list(self.tagged_by)

    def tagged(self, tag: str) -> list[Item]:
        self._ask(f"tagged {tag}")
        return [self.items[uuid] for uuid in self.tagged_by[tag] if uuid in self.items]

    def versions(self, uuid: str) -> list[int]:
        self._ask(f"versions {uuid}")
        return sorted(self.stored_versions.get(uuid, {}))

    def version(self, uuid: str, number: int) -> dict[str, Any]:
        self._ask(f"version {uuid} {number}")
        if number not in self.stored_versions.get(uuid, {}):
            raise NoSuchEntry(f"{uuid} has no version {number}")
        return self.stored_versions[uuid][number]

    def keep_services(self) -> list[dict[str, Any]]:
        return []


class FakeClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeKernel:
    """Notes what the kernel is told to forget."""

    def __init__(self) -> None:
        self.inodes: list[int] = []
        self.attributes: list[int] = []
        self.entries: list[tuple[int, str]] = []

    def invalidate_inode(self, inode: int) -> None:
        self.inodes.append(inode)

    def invalidate_attributes(self, inode: int) -> None:
        self.attributes.append(inode)

    def invalidate_entry(self, parent_inode: int, name: str) -> None:
        self.entries.append((parent_inode, name))


class FakeBlock:
    """A block that is resident, or fails."""

    def __init__(self, content: bytes | Exception) -> None:
        self.used = False
        self.view = memoryview(content) if isinstance(content, bytes) else None
        self._content = content
        self.witnesses: list[Any] = []

    def read(self, start: int, end: int, witness: Any) -> memoryview:
        self.witnesses.append(witness)
        if isinstance(self._content, Exception):
            raise self._content
        return memoryview(self._content)[start:end]


class FakeBlocks:
    """A block cache that has all blocks; counts how often each is asked for."""

    capacity = 100

    def __init__(self) -> None:
        self.blocks: dict[str, FakeBlock] = {}
        self.asked: list[str] = []

    def add(self, content: bytes) -> str:
        block_hash = hashlib.md5(content).hexdigest()
        self.blocks[block_hash] = FakeBlock(content)
        return f"{block_hash}+{len(content)}"

    def get(self, locator: str) -> FakeBlock:
        self.asked.append(locator)
        return self.blocks[locator[:32]]


class FakeUnlocked:
    """Gives up a lock that nobody has, and lets the next block begin with what others do then."""

    def __init__(self) -> None:
        self.others: Callable[[], None] | None = None

    def __enter__(self) -> None:
        others, self.others = self.others, None
        if others is not None:
            others()

    def __exit__(self, *error: object) -> None:
        pass


class FakeJobs:
    """Jobs that are done when the test says so."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, job: Callable[[], None]) -> None:
        self._waiting.append(job)

    def run(self) -> None:
        """Do all jobs, and those that they give."""
        while self._waiting:
            self._waiting.pop(0)()


class FakeMount:
    """The surroundings of a file system without a mount."""

    def __init__(
        self,
        *,
        directory_cache: int = 1 << 30,
        refresh_time_s: float = 15.0,
        encoding: str = "utf-8",
    ) -> None:
        self.cluster = FakeCluster()
        self.clock = FakeClock()
        self.kernel = FakeKernel()
        self.blocks = FakeBlocks()
        self.inodes = Inodes(InodeCache(directory_cache))
        self.unlocked = FakeUnlocked()
        self.trust = Trust(refresh_time_s, self.clock)
        self.jobs = FakeJobs()
        self.background = Refresher(self.inodes, nullcontext(), self.jobs)
        self.around = Surroundings(
            cluster=self.cluster,
            inodes=self.inodes,
            flights=SingleFlight(self.unlocked, time_limit_s=5.0),
            kernel=self.kernel,
            names=NameRules(self.cluster.slash_substitution, encoding),
            trust=self.trust,
            background=self.background,
            started_ns=MODIFIED_NS,
            status=lambda: {"mode": "test"},
        )

    @property
    def changes(self) -> Changes:
        """Who is told of events."""
        return Changes(self.around, nullcontext())

    def while_unlocked(self, others: Callable[[], None]) -> None:
        """Let `others` happen when the lock is given up the next time."""
        self.unlocked.others = others
