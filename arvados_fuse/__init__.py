"""An Arvados cluster as a local file system, and a one-machine cluster to run it on.

The architecture in one page; `docs/architecture.md` has the rest.

The kernel sends requests to `operations.Operations` through llfuse, with llfuse's global lock held.
An inode number stands for an object of the inode table (`inodes.Inodes`), and each object is a
`fusefile.File` or a `fusedir.Directory`, both on `fresh.FreshBase`. Directories ask the cluster
(`api.Cluster`) what they hold, when what they know is too old. The content of a collection is a
`collection.Tree`, an immutable value made from its manifest. An open file is a handle
(`handles`), which holds the segments of the version that was opened and reads their bytes from
blocks of the `keep.BlockCache`, which fetches them from Keep. `kernel.Kernel` tells the kernel what
to forget; `events.Subscriber` hears from the cluster what that is.

A collection that is being changed has a `commit.session.Session`: its `collection.draft.Draft`, an
overlay over the tree, and its part of the `journal`, which keeps what was written on the local disk
until the `commit.committer.Committer` has brought it to the cluster.

`command` puts all of this together. `standalone` is the embedded cluster; nothing else but
`command` knows of it.

The same words mean the same things everywhere:

block: up to 64 MiB of data in Keep, named by the md5 of its content
locator: the name of a block with its size and hints, such as the signature that lets us read it
manifest: the text that says which bytes of which blocks make up the files of a collection
stream: one line of a manifest: a directory, its blocks one after the other, its files
segment: the contiguous part of one block that one file uses
portable data hash: the name of a manifest's content: its md5 without hints, and its length
object: a file or directory of the mount; what an inode number stands for
inode number: what the kernel calls an object; never used twice in the life of a mount
entry: a name in a directory, with the object that it leads to
lookup: the kernel asks a directory for a name, and gets a reference to the object
forget: the kernel gives such references back
handle: an open file or directory
fill: the way of a block into the cache
chunk: a file of the journal with bytes that were written; becomes a block
extent: a run of bytes of a changed file that lie in one place: a block, a chunk, or nowhere
commit: one request that brings what was changed in a collection to the cluster
rebase: moving a draft on top of a newer version of its collection
"""

from arvados_fuse.version import __version__

__all__ = ["__version__"]
