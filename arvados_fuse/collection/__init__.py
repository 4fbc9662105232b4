"""The content of a collection as a value: manifest text in, a tree of files out.

Nothing here talks to a cluster or to the kernel. From the text up:

- `manifest`: its grammar; `locator` and `escape`: those of the names of blocks and of files;
  `quote`: what of it may be in an error message;
- `blocks`: the blocks of a stream as one space; `builder` and `table`: the files of one directory;
  `tree`: all directories, an immutable value;
- `extents`: the bytes of a changed file; `draft`: a collection with its changes; `rename`: moving
  entries of it; `transfer`: moving them to another; `depth`: how deep directories may be;
- `delta` and `compose`: what a commit sends; `merge`: what others changed meanwhile; `places`,
  `signing` and `repacking`: the same bytes by other locators, and elsewhere.

Words, as the Arvados documentation ("Manifest format") uses them:

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
