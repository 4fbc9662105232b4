"""What was written and is not yet committed, kept on local disk.

::

    ROOT/                                  0700; of all mounts of one user of this machine
      <cluster>-<user>-<random>/           one mount; its `lock` is held as long as the mount lives
        lock  about  reserve
        <collection uuid>/
          log-000001 log-000002 ...        what was done, in order; one log per generation
          chunk-000001 chunk-000002 ...    the bytes that were written, in the order of writing

From the outside in:

- ``journal``: :class:`~arvados_fuse.journal.journal.Journal`, that of one mount;
- ``collection``: :class:`~arvados_fuse.journal.collection.CollectionJournal`, of one collection;
- ``recovery``: journals whose mount is dead, and what counts in them; ``survey``: all there are, to
  be shown;
- ``chunks``: files of bytes, each to become one Keep block; ``packing``: which write goes where;
- ``log``: lines with checksums; ``records``: what a line says;
- ``room``: how many bytes there are, and waiting for fewer; ``reserve``: space for the moment when
  the disk is full; ``files``: descriptors and errors.

What is safe when: the bytes of a write, and then the record of it, are handed to the kernel before
the write is answered, so that the end of this process loses nothing. About once a second, and when
somebody asks, both are forced to the disk, the bytes before the record that vouches for them; a
power cut takes everything back to the last such moment, as a whole.

Locks of this package are held during single small writes to the local disk, and never while code
outside the package is called, so it may be called with any lock held -- except for the calls that
say they wait.
"""
