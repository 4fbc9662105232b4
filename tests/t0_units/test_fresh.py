"""Slow work is done once for all who wait for it; objects know how long they may be trusted."""

import threading

import pytest

from arvados_fuse.errors import AccessRefused, FileSystemError, TimedOut
from arvados_fuse.fresh import FOREVER, FreshBase, SingleFlight
from tests.support.locks import FileSystemLock, Requests

WAITERS = 5


class TestSingleFlight:
    @pytest.fixture
    def lock(self):
        return FileSystemLock()

    @pytest.fixture
    def flights(self, lock):
        return SingleFlight(lock.unlocked, time_limit_s=10)

    @pytest.fixture
    def requests(self, lock):
        with Requests(lock) as requests:
            yield requests

    def test_work_is_done_without_the_lock_and_lands_with_it(self, lock, flights):
        seen = []
        with lock:
            flights.run(
                "key",
                lambda: seen.append(("work", lock.held())),
                lambda _: seen.append(("landed", lock.held())),
            )
        assert seen == [("work", False), ("landed", True)]

    def test_of_many_requests_one_does_the_work(self, lock, flights, requests):
        done = []

        def work():
            lock.wait_for_releases(1 + WAITERS)
            return "result"

        for future in [
            requests.start(lambda: flights.run("key", work, done.append))
            for _ in range(1 + WAITERS)
        ]:
            future.result(10)
        assert done == ["result"]

    def test_whoever_waited_finds_the_result_landed(self, lock, flights, requests):
        landed = []
        first = requests.start(
            lambda: flights.run("key", lambda: lock.wait_for_releases(2), landed.append)
        )
        lock.wait_for_releases(1)

        def second():
            flights.run("key", pytest.fail, pytest.fail)
            return list(landed)

        assert requests.start(second).result(10) == [None]
        first.result(10)

    def test_an_error_is_everybodys_each_with_an_exception_of_its_own(
        self, lock, flights, requests
    ):
        def work():
            lock.wait_for_releases(1 + WAITERS)
            raise AccessRefused("the token has expired")

        futures = [
            requests.start(lambda: flights.run("key", work, pytest.fail))
            for _ in range(1 + WAITERS)
        ]
        errors = [future.exception(10) for future in futures]
        assert {(type(e), str(e)) for e in errors} == {(AccessRefused, "the token has expired")}
        assert len(set(map(id, errors))) == 1 + WAITERS

    def test_an_error_of_landing_is_shared_too(self, lock, flights, requests):
        def landed(_):
            raise TimedOut("too late")

        futures = [
            requests.start(lambda: flights.run("key", lambda: lock.wait_for_releases(2), landed))
            for _ in range(2)
        ]
        assert [type(future.exception(10)) for future in futures] == [TimedOut] * 2

    def test_a_defect_stays_with_who_did_the_work_and_is_an_error_for_the_others(
        self, lock, flights, requests
    ):
        def work():
            lock.wait_for_releases(2)
            raise ZeroDivisionError

        futures = [requests.start(lambda: flights.run("key", work, pytest.fail)) for _ in range(2)]
        kinds = {type(future.exception(10)) for future in futures}
        assert kinds == {ZeroDivisionError, FileSystemError}

    def test_nobody_waits_longer_than_the_limit(self, lock, requests):
        flights = SingleFlight(lock.unlocked, time_limit_s=0.01)
        gave_up = threading.Event()
        first = requests.start(lambda: flights.run("key", lambda: gave_up.wait(10), lambda _: None))
        lock.wait_for_releases(1)
        with pytest.raises(TimedOut, match="took longer than"), lock:
            flights.run("key", pytest.fail, pytest.fail)
        gave_up.set()
        first.result(10)

    def test_other_work_does_not_wait(self, lock, flights, requests):
        other_done = threading.Event()
        first = requests.start(
            lambda: flights.run("slow", lambda: other_done.wait(10), lambda _: None)
        )
        lock.wait_for_releases(1)
        requests.start(lambda: flights.run("other", other_done.set, lambda _: None)).result(10)
        first.result(10)

    @pytest.mark.parametrize("error", [None, TimedOut("too slow"), ZeroDivisionError()])
    def test_work_that_has_ended_is_done_again_when_it_is_needed_again(self, lock, flights, error):
        def work():
            if error is not None:
                raise error

        with lock:
            if error is None:
                flights.run("key", work, lambda _: None)
            else:
                with pytest.raises(type(error)):
                    flights.run("key", work, lambda _: None)
            landed = []
            flights.run("key", lambda: "again", landed.append)
        assert landed == ["again"]


class TestFreshBase:
    def test_is_stale_and_unneeded_at_first(self):
        thing = FreshBase(None)
        assert (thing.inode, thing.lifetime(0.0), thing.pinned) == (0, 0.0, False)

    @pytest.mark.parametrize("what", ["kernel_refs", "uses"])
    def test_references_and_uses_pin(self, what):
        thing = FreshBase(None)
        setattr(thing, what, 1)
        assert thing.pinned

    def test_lifetime_is_what_is_left_and_never_below_zero(self):
        thing = FreshBase(None)
        thing.valid_until = 100.0
        assert [thing.lifetime(now) for now in (90.0, 100.0, 110.0)] == [10.0, 0.0, 0.0]
        thing.valid_until = FOREVER
        assert thing.lifetime(1e9) == FOREVER

    def test_invalidated_it_is_not_trusted_for_a_moment(self):
        thing = FreshBase(None)
        thing.valid_until = FOREVER
        thing.invalidate()
        assert thing.lifetime(0.0) == 0.0
