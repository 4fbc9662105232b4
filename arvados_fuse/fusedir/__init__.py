"""Directories: one module per kind, over the base in `directory`.

- `magic` (the root of `--all`, by id), `project` and `project_changes`; over `listed` there are
  `shared`, `tags` and `versions`;
- a collection, from the bottom up: `tree` shows the cluster's content, `drafted` that with what was
  changed here, `file_changes` changes its files, `entries` and `changing` its entries, `moving`
  takes them to other collections; `writable` has the session of the whole, `collection` its
  record; `tmp` is one that is never saved;
- files: `record` and `status`;
- what they use: `names`, `idents`, `listing` and `paging`; `changes` tells them of events.

A directory finds out by itself when its content is too old and asks the cluster again. All
methods are called with the file system's lock held; network requests run without it, once for
all the requests that wait for them (`fresh.SingleFlight`).
"""
