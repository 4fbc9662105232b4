"""The content of a collection as a value: manifest text in, a tree of files out.

Nothing here talks to a cluster or to the kernel. Words, as the Arvados documentation ("Manifest
format") uses them:

- *manifest*: the text that describes a collection; one *stream* a line.
- *stream*: a directory's name, the locators of its blocks, and file tokens.
- *locator*: the name of a block: its md5, its size, and hints (a signature, for one).
- *file token*: ``position:size:path``; the position counts in the stream's blocks, end to end.
- *segment*: a run of bytes in one block; a file is a sequence of segments.

And for a collection that is being changed:

- *draft*: the changes, as an overlay over a tree, its *base*.
- *extent*: a run of bytes of a changed file, in a block, in a chunk of the journal, or a hole.
- *settled*: what the cluster is known to have.
- *dirty*: what it does not have yet.
"""
