"""The lines of --crunchstat-interval, word by word as container runners parse them."""

import re

import pytest

from arvados_fuse.command.crunchstat import REQUESTS, Crunchstat
from arvados_fuse.metrics import Metrics


class Requests:
    """Answers two kinds of requests, as an object of llfuse would."""

    def read(self, size):
        return b"x" * size

    def open(self):
        raise OSError


def test_groups_and_their_order():
    lines = Crunchstat(Requests(), Metrics()).lines(1.0)
    assert [line.split()[1] for line in lines] == [
        *("keepcalls", "net:keep0", "keepcache", "blkio:0:0", "fuseops"),
        *(f"fuseop:{name}" for name in REQUESTS),
    ]


def test_totals_and_what_the_interval_added():
    metrics = Metrics()
    stat = Crunchstat(Requests(), metrics)
    metrics.cache_hits, metrics.cache_misses, metrics.keep_put_calls = 4, 2, 2
    stat.lines(10.0)
    metrics.cache_hits, metrics.cache_misses, metrics.keep_put_calls = 6, 4, 3
    keepcalls, _, keepcache, *_ = stat.lines(10.0)
    assert keepcalls == (
        "crunchstat: keepcalls 3 put 10 get -- interval 10.0000 seconds 1 put 4 get"
    )
    assert keepcache == (
        "crunchstat: keepcache 6 hit 4 miss -- interval 10.0000 seconds 2 hit 2 miss"
    )


def test_bytes_go_with_their_direction():
    metrics = Metrics(keep_put_bytes=1, keep_get_bytes=2, write_bytes=3, read_bytes=4)
    lines = Crunchstat(Requests(), metrics).lines(1.0)
    assert "net:keep0 1 tx 2 rx " in lines[1]
    assert "blkio:0:0 3 write 4 read " in lines[3]


def test_requests_are_counted_and_timed_and_answered_as_before():
    requests = Requests()
    stat = Crunchstat(requests, Metrics())
    assert requests.read(3) == b"xxx"
    assert requests.read(1) == b"x"
    with pytest.raises(OSError):
        requests.open()
    lines = {line.split()[1]: line for line in stat.lines(0.5)}
    assert "fuseops 0 write 2 read " in lines["fuseops"]
    timed = r"crunchstat: fuseop:read 2 count 0\.\d{6} time -- interval 0\.5000 seconds 2 count"
    assert re.match(timed, lines["fuseop:read"])
    assert " 1 count " in lines["fuseop:open"]
