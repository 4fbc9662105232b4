"""A whole Arvados cluster in one command and one directory.

For people without a cluster, and for tests: it speaks the real protocols, so the unmodified
SDK, ``arv-put``, ``arv-get``, ``arv-ls`` and any FUSE driver work with it. Everything is on the
loopback interface: the REST API over TLS, and Keep over plain HTTP on a port of its own.

What is acknowledged survives ``kill -9``: records are in SQLite (WAL, ``synchronous=FULL``),
blocks are files that are synced before the answer goes out.

Parts, from the bottom up::

    clock, signatures, manifest_text, manifest_tree   small rules without state
    records/    attributes of every resource in one table; SQL, filters, lists, trash, access, log
    api/        methods of the REST API, their parameters, the discovery document, the event bus
    keep/       the block store and its HTTP service
    faults      misbehaviour on request, for tests; pace: its slow bodies
    sample      the sample project of a new cluster
    garbage     blocks that nothing refers to
    state       the directory: lock, keys, ports, certificate, env.sh
    eventserver, eventprocess   the event bus as a process, and what looks after it
    cluster     everything put together and served; cli, launch: two ways to start it

Processes: one for the API and Keep, and one of lower priority for the event bus, which reads the
database for itself. Threads: one event loop does all network traffic of a process. API methods are
plain functions that run in a small pool of threads, so a slow query delays nobody else. Each
thread has a SQLite connection of its own; writing transactions take turns.

Why aiohttp: one dependency gives HTTP with TLS, websockets, sending files without copying
(``sendfile``) and uploads that are read as they arrive. The standard library has none of these
in a form fit for more than a toy, and frameworks on top of ASGI hide the connection from us,
which a block service has to cut when a checksum is wrong.
"""
