"""Directories: one module per kind, over the base in `directory`.

A directory finds out by itself when its content is too old and asks the cluster again. All
methods are called with the file system's lock held; network requests run without it, once for
all the requests that wait for them (`fresh.SingleFlight`).
"""
