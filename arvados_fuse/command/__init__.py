"""The command `arv-mount`: from arguments to a running mount.

In the order of a mount's life:

- `main` is the entry point; `arguments` reads the command line into one frozen `Settings`, with
  `layout_options` for what is shown and `values` for the types of values; `problem` is how a
  command ends with one line, and `owners` who has what was denied; `usual` says where files are,
  `settings_file` what is wrong with settings.conf; `deferred` puts off imports that most mounts
  never need;
- `background` gives the mount a process of its own and waits until it works; `execute` is `--exec`;
- `mount` builds the file system of the settings and serves it; `clusters` finds the cluster,
  `layout` makes the root, `listening` hears of changes by others, `writing` brings ours to the
  cluster; `mountpoint` looks after the directory that it is mounted on;
- `logs`, `crunchstat` and `status` tell how it is; `renewal` takes a new token;
- `ending` obeys signals, `patience` says how long the cluster is waited for then, and `progress`
  what is still to be saved (`units`: as people read it);
- without a mount: `unmounting` for its options, `leftovers` and `recommit` for `--recover`.

Nothing below this package sees arguments or environment variables.
"""
