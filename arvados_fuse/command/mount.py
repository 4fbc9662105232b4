"""The mount's start-up: from settings to a file system that answers the kernel."""

from __future__ import annotations

import errno
import gc
import logging
import os
import resource
import stat
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import llfuse

from arvados_fuse.api import ArvadosCluster
from arvados_fuse.command import clusters, mountpoint, owners, usual
from arvados_fuse.command.arguments import Settings
from arvados_fuse.command.crunchstat import report
from arvados_fuse.command.ending import obey_signals, signals_blocked
from arvados_fuse.command.layout import plant_root
from arvados_fuse.command.listening import start_listening
from arvados_fuse.command.logs import start_logging
from arvados_fuse.command.problem import EXIT_UNSAVED, CommandError
from arvados_fuse.command.renewal import Renewal
from arvados_fuse.command.status import MountStatus
from arvados_fuse.command.writing import Writer
from arvados_fuse.errors import FileSystemError
from arvados_fuse.fresh import SingleFlight
from arvados_fuse.fusedir.changes import REFRESH_THREADS, Refresher
from arvados_fuse.fusedir.directory import Surroundings
from arvados_fuse.fusedir.names import NameRules
from arvados_fuse.inodes import InodeCache, Inodes
from arvados_fuse.keep.cache import DEFAULT_RAM_CACHE_SIZE, BlockCache
from arvados_fuse.keep.client import KeepClient
from arvados_fuse.keep.disk import default_disk_cache_size, disk_cache_slots
from arvados_fuse.keep.workers import Workers
from arvados_fuse.kernel import Kernel
from arvados_fuse.metrics import Metrics
from arvados_fuse.operations import Operations
from arvados_fuse.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["serve"]

log = logging.getLogger(__name__)

WORKERS = 10
"""Threads that answer the kernel, as in the official driver. Most of them wait for blocks."""

REQUEST_TIME_LIMIT_S = 600.0
"""How long one request may wait for the slow work of another."""

OBJECTS_PER_COLLECTION = 10_000
"""New objects after which the garbage collector looks for cycles; by default 700. `ls -l` of a big
directory makes an object for each file, none of them in a cycle, and looking for cycles so often
took a tenth of its time."""

NOFILE_WANTED = 10240
"""Open files that a large disk cache needs: one for each block in use."""


def serve(settings: Settings, ready: Callable[[], None]) -> int:
    """Mount, call `ready`, and serve until the file system is unmounted or a signal says stop.

    Returns the exit code: 0, or EXIT_UNSAVED. Raises CommandError when it cannot be mounted. Any
    other exception leaves the mount point "not connected": a crash must not look like an empty
    directory.
    """
    start_logging(settings)
    # Caches and the journal hold what is in files: they are for this user alone, and so are the
    # directories above them, which who can write to could replace.
    os.umask(0o077)
    mountpoint.prepare(settings.mount_dir)
    access = clusters.access_to(settings.standalone_dir)
    kernel = Kernel(settings.encoding)
    with ExitStack() as undo:
        try:
            system = _file_system(settings, access, kernel, undo)
        except FileSystemError as error:
            raise CommandError(str(error)) from None
        _mount(settings, system.operations, access.host)
        undo.pop_all()
    writer = system.writer

    def finish() -> int:
        if writer is None or writer.finish():
            return 0
        if writer.has_given_up:
            os._exit(EXIT_UNSAVED)  # threads that wait for the cluster would keep the process
        return EXIT_UNSAVED

    ended = obey_signals(
        settings.mount_dir,
        system.stop_waiting,
        finish,
        system.renewal.renew,
        leave=writer.leave if writer is not None else lambda: None,
    )
    kernel.start()
    if settings.crunchstat_interval_s:
        report(system.operations, system.metrics, settings.crunchstat_interval_s)
    if writer is not None:
        writer.start()
    log.info("Mounted %s on %s.", access.host, settings.mount_dir)
    ready()
    gc.freeze()  # modules and what was set up stay for good, and need not be looked at
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    _serve_until_unmounted(kernel)
    ended.set()
    system.stop_waiting()
    return finish()


class _FileSystem(NamedTuple):
    """What requests of the kernel, and signals, are passed on to.

    writer: brings changes to the cluster; None if there can be none
    stop_waiting: makes whatever waits for blocks fail
    """

    operations: Operations
    metrics: Metrics
    writer: Writer | None
    renewal: Renewal
    stop_waiting: Callable[[], None]


def _file_system(
    settings: Settings, access: clusters.Access, kernel: Kernel, undo: ExitStack
) -> _FileSystem:
    """Build the file system.

    undo: gets what has to be done if it is not mounted after all
    Raises CommandError, and the errors of `api.Cluster`.
    """
    metrics = Metrics()
    inodes = Inodes(InodeCache(settings.directory_cache))
    renewal = _renewal(settings, access, metrics, inodes)
    cluster = renewal.cluster
    new_client = clusters.keep_clients(
        access,
        cluster.keep_services,
        lambda: renewal.token,
        retries=settings.retries,
        metrics=metrics,
    )
    writer = _writer(settings, cluster, new_client, access.host) if settings.writable else None
    if writer is not None:
        undo.callback(writer.give_up)
        renewal.on_renewal = writer.token_replaced
    client = new_client()
    blocks = _block_cache(settings, client, metrics)
    trust = Trust(settings.refresh_time_s)
    status = MountStatus(
        settings,
        access.host,
        has_event_bus=bool(cluster.websocket_url),
        trust=trust,
        blocks=blocks,
        metrics=metrics,
        writer=writer,
    )
    around = _surroundings(
        settings,
        cluster,
        inodes,
        kernel=kernel,
        trust=trust,
        status=status,
        writer=writer,
    )
    if writer is not None:
        writer.recover(settings)
    with llfuse.lock:
        plant_root(settings.places, around)
    stop_listening = start_listening(
        settings, access, renewal, around, lock=llfuse.lock, metrics=metrics
    )

    def stop_waiting() -> None:
        stop_listening()
        client.close()
        blocks.close()

    operations = Operations(
        inodes=inodes,
        blocks=blocks,
        kernel=kernel,
        unlocked=llfuse.lock_released,
        clock=around.clock,
        metrics=metrics,
        writable=settings.writable,
        encoding=settings.encoding,
    )
    return _FileSystem(operations, metrics, writer, renewal, stop_waiting)


def _renewal(
    settings: Settings, access: clusters.Access, metrics: Metrics, inodes: Inodes
) -> Renewal:
    """Reach the cluster, by a token that can be replaced. Raises the errors of `api.Cluster`."""
    cluster = clusters.connect(
        access, retries=settings.retries, metrics=metrics, filters=settings.filters
    )
    # The token of the embedded cluster never changes.
    read_token = clusters.current_token if settings.standalone_dir is None else lambda: access.token
    return Renewal(access.token, read_token, cluster, inodes, llfuse.lock)


def _surroundings(
    settings: Settings,
    cluster: ArvadosCluster,
    inodes: Inodes,
    *,
    kernel: Kernel,
    trust: Trust,
    status: MountStatus,
    writer: Writer | None,
) -> Surroundings:
    """Gather what all directories share."""
    return Surroundings(
        cluster=cluster,
        inodes=inodes,
        flights=SingleFlight(llfuse.lock_released, REQUEST_TIME_LIMIT_S),
        kernel=kernel,
        names=NameRules(cluster.slash_substitution, settings.encoding),
        trust=trust,
        background=Refresher(inodes, llfuse.lock, Workers(REFRESH_THREADS, "refresh")),
        started_ns=time.time_ns(),
        status=status.record,
        writing=writer.writing if writer is not None else None,
    )


def _writer(
    settings: Settings,
    cluster: ArvadosCluster,
    new_client: Callable[[], KeepClient],
    host: str,
) -> Writer:
    """Make what brings changes to the cluster. Raises what `Writer` does."""
    # With a client of its own: the end of the mount breaks reading off, not what is being saved.
    with signals_blocked():
        return Writer(
            settings,
            cluster,
            new_client(),
            host,
            locked=llfuse.lock,
            unlocked=llfuse.lock_released,
        )


def _block_cache(settings: Settings, client: KeepClient, metrics: Metrics) -> BlockCache:
    """Make the block cache of the settings. Raises CommandError."""
    nofile_limit = _raise_nofile_limit()
    if settings.ram_cache:
        return BlockCache.in_ram(
            client, metrics=metrics, limit=settings.file_cache or DEFAULT_RAM_CACHE_SIZE
        )
    directory = str(settings.disk_cache_dir or usual.cache_dir())
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return BlockCache.on_disk(
            client,
            metrics=metrics,
            directory=directory,
            limit=settings.file_cache or default_disk_cache_size(directory, nofile_limit),
            slots=disk_cache_slots(nofile_limit),
        )
    except OSError as error:
        remark = owners.remark(error, Path(directory))
        raise CommandError(
            f"The disk cache {directory} cannot be used: {error.strerror}{remark}. Choose another"
            " with --disk-cache-dir, or use --ram-cache."
        ) from None


def _raise_nofile_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = NOFILE_WANTED if hard == resource.RLIM_INFINITY else min(NOFILE_WANTED, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def _mount(settings: Settings, operations: Operations, host: str) -> None:
    """Mount the file system; requests wait until the main loop runs. Raises CommandError."""
    options = set(llfuse.default_options)
    options |= {"max_read=131072", f"fsname=arvados:{host}"}
    if not settings.writable:
        options.add("ro")
    if settings.allow_other:
        options.add("allow_other")
    if settings.subtype:
        options.add(f"subtype={settings.subtype}")
    try:
        llfuse.init(operations, str(settings.mount_dir), options)
    except RuntimeError:
        raise CommandError(_why_not_mounted(settings)) from None


def _why_not_mounted(settings: Settings) -> str:
    """Find the likeliest reason; libfuse itself only says that it failed."""
    if mountpoint.mounted_at(settings.mount_dir) is not None:
        return f"Somebody else has just mounted something on {settings.mount_dir}."
    if not os.path.exists("/dev/fuse"):
        return "This machine has no /dev/fuse: load the kernel module (modprobe fuse)."
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "You may not use /dev/fuse: ask to be let into its group, or change its mode."
    if os.getuid() != 0 and (reason := _why_refused_to_users(settings)):
        return reason
    return f"FUSE refused to mount on {settings.mount_dir}; what it said stands above."


def _why_refused_to_users(settings: Settings) -> str:
    """Find why fusermount, which mounts for all but root, refuses; "" if that is not clear."""
    place = settings.mount_dir
    status = place.stat()
    if mountpoint.fusermount() is None:
        return mountpoint.NO_FUSERMOUNT
    if not os.access(place, os.W_OK):
        return f"You may not mount on {place}: you cannot write to it."
    if status.st_mode & stat.S_ISVTX and status.st_uid != os.getuid():
        return (
            f"You may not mount on {place}: it is sticky, as /tmp is, and belongs to"
            f" {owners.name(status.st_uid)}. Make a directory in it."
        )
    if not owners.is_known(os.getuid()):
        return (
            f"FUSE mounts only for users that the machine knows: the number {os.getuid()} has no"
            " line in /etc/passwd."
        )
    if settings.allow_other:
        return "FUSE refused --allow-other: /etc/fuse.conf needs the line user_allow_other."
    return ""


def _serve_until_unmounted(kernel: Kernel) -> None:
    """Answer the kernel until the file system is unmounted."""
    try:
        llfuse.main(workers=WORKERS)
    except BaseException:
        kernel.stop()
        llfuse.close(unmount=False)
        raise
    kernel.stop()
    llfuse.close(unmount=True)
