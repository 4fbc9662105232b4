"""Blocks of data: where they are, how they come here, and where they stay for the next reader.

From the outside in:

- ``cache``: :class:`~arvados_fuse.keep.cache.BlockCache` hands out blocks and starts their fill;
- ``block``: :class:`~arvados_fuse.keep.block.Block`, what a reader holds; ``arrival``: one block
  on its way, with its waiting readers and those who were given bytes before the checksum matched;
- ``shelf``: the byte limit and the order of eviction; ``storage`` and ``disk``: memory and files;
  ``blockfile``: how a file is written; ``workers``: the threads that fill blocks;
- ``client``: GET from and PUT to the Keep services, in rounds; ``transfer``: one body into memory;
  ``writing``: copies and storage classes of one block that is being stored; ``exchange``: one
  request; ``connections``: kept-alive HTTP; ``verdicts``: what a failed try means;
  ``troubles``: what is logged of it; ``services``: which services, in which order; ``locators``:
  the grammar of a block's name.

No lock of this package is held during I/O or while code outside the package is called, so it may
be called with any lock held -- except for the calls that say they wait.
"""
