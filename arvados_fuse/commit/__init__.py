"""How changes get to the cluster.

A collection that is being changed has a :class:`~arvados_fuse.commit.session.Session`: its draft,
its part of the journal, and what of it is on its way. From the outside in:

- ``committer``: :class:`~arvados_fuse.commit.committer.Committer`, of one mount: which session is
  committed when, by which thread, and who waits for it;
- ``steps``: the steps of a commit, from the draft to the cluster;
- ``session``: what a change does at once; ``numbers``: what the journal calls the files;
  ``outbox``: what has to get from the journal to Keep, and what has got there;
- ``uploads``: chunks of the journal become blocks of Keep; ``known``: blocks that need not be sent;
  ``copies``: how many of each;
- ``resigning``: new signatures for blocks that are part of a commit;
- ``preservation``: blocks of collections that are never saved stay readable;
- ``repacking``: small blocks that commits left behind become large ones;
- ``reading``: whole blocks, for these two and for ``rescue``;
- ``recovery``: what an earlier mount left behind is committed: ``replay`` does again what its
  journal says, on a ``standin`` where the cluster does not have the version any more, and
  ``rescue`` saves what there is where more than that is gone;
- ``writing``: what directories need of this package, ``pending``: what it can tell of itself.

The file system's lock is held whenever a session is touched; a commit gives it up while it waits.
"""
