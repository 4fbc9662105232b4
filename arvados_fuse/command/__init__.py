"""The command `arv-mount`: from arguments to a running mount.

`arguments` reads the command line into one frozen `Settings`; `background` gives the mount a
process of its own and waits until it works; `mount` builds the file system of the settings and
serves it; `clusters` finds the cluster and `layout` what the root is; `mountpoint` looks after the
directory that it is mounted on; `ending` obeys signals, `renewal` takes a new token,
`unmounting` does what its options ask for; `execute` is `--exec`.
Nothing below this package sees arguments or environment variables.
"""
