"""The clock by which content grows old."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from arvados_fuse.trust import DOUBTS_AT_ONCE, LONGEST_TRUST_S, MOST_KEYS_REMEMBERED, Trust
from tests.support.fakes import FakeClock
from tests.support.sleeping import Machine

REFRESH_S = 15.0


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def trust(clock):
    return Trust(REFRESH_S, clock)


@pytest.fixture
def followed(trust):
    trust.follow()
    return trust


def fresh(trust, learned_at):
    """Whether a directory would trust what it learned then."""
    return trust.now() < learned_at + trust.refresh_time_s


class TestTime:
    def test_runs_while_nobody_tells_of_changes(self, trust, clock):
        learned_at = trust.now()
        clock.now += 14
        assert fresh(trust, learned_at)
        clock.now += 1
        assert not fresh(trust, learned_at)

    def test_goes_on_while_the_machine_sleeps(self, monkeypatch):
        machine = Machine(monkeypatch)
        trust = Trust(REFRESH_S)
        learned_at = trust.now()
        machine.sleep(REFRESH_S)
        assert not fresh(trust, learned_at)

    def test_stands_still_while_changes_are_told(self, followed, clock):
        learned_at = followed.now()
        clock.now += LONGEST_TRUST_S - 1
        assert fresh(followed, learned_at)

    def test_everything_is_checked_once_in_a_long_while_all_the_same(self, followed, clock):
        learned_at = followed.now()
        clock.now += LONGEST_TRUST_S
        assert not fresh(followed, learned_at)
        assert fresh(followed, followed.now())

    def test_goes_on_from_the_last_sign_of_life(self, followed, clock):
        learned_at = followed.now()
        clock.now += 1000
        heard_at = clock.now
        clock.now += 5
        followed.lose(heard_at)
        assert fresh(followed, learned_at)
        clock.now += 9
        assert fresh(followed, learned_at)
        clock.now += 1
        assert not fresh(followed, learned_at)

    def test_what_was_learned_before_the_bus_came_is_checked(self, trust, clock):
        learned_at = trust.now()
        trust.follow()
        assert not fresh(trust, learned_at)
        learned_at = trust.now()
        trust.lose(clock.now)
        trust.follow()
        assert not fresh(trust, learned_at)

    def test_never_goes_back(self, trust, clock):
        seen = [trust.now()]
        for step in (trust.follow, lambda: trust.lose(clock.now), trust.doubt, trust.follow):
            for passed in (0, 3, 100):
                clock.now += passed
                step()
                seen.append(trust.now())
        assert seen == sorted(seen)

    def test_losing_what_one_does_not_have_changes_nothing(self, trust, clock):
        before = trust.now()
        trust.lose(clock.now - 100)
        assert trust.now() == before


class TestPromise:
    def test_kernel_keeps_for_long_only_what_is_trusted_and_can_be_taken_back(self, trust, clock):
        assert trust.promise(7.0) == 7.0
        trust.follow()
        assert trust.promise(7.0) > LONGEST_TRUST_S
        assert trust.promise(0.0) == 0.0
        trust.lose(clock.now)
        assert trust.promise(7.0) == 7.0


class TestDoubt:
    def test_has_everything_checked_at_once(self, followed):
        learned_at = followed.now()
        followed.doubt()
        assert not fresh(followed, learned_at)
        assert fresh(followed, followed.now())

    def test_flood_leaves_something_to_trust(self, followed, clock):
        checks = 0
        for _ in range(10_000):
            learned_at = followed.now()
            followed.doubt()
            checks += not fresh(followed, learned_at)
            clock.now += 0.01
        assert checks <= DOUBTS_AT_ONCE * (1 + 100 / (DOUBTS_AT_ONCE * REFRESH_S)) + 1

    def test_one_of_a_flood_is_not_forgotten(self, followed, clock):
        for _ in range(DOUBTS_AT_ONCE + 1):
            followed.now()
            followed.doubt()
        learned_at = followed.now()
        clock.now += DOUBTS_AT_ONCE * REFRESH_S
        assert not fresh(followed, learned_at)


class TestAnswers:
    def test_is_as_old_as_its_question(self, trust, clock):
        question = trust.ask()
        clock.now += 10
        with trust.taking_over(question, ["a"]):
            learned_at = trust.now()
        assert trust.now() == learned_at + 10

    def test_other_threads_have_the_present_meanwhile(self, trust, clock):
        """Taking an answer over may give the lock up."""
        question = trust.ask()
        clock.now += 10
        with trust.taking_over(question, []), ThreadPoolExecutor(1) as other:
            assert other.submit(trust.now).result() == clock.now
            assert trust.now() == clock.now - 10

    @pytest.mark.parametrize(("key", "trusted"), [("a", False), ("b", True)])
    def test_that_an_event_has_overtaken_is_not_trusted(self, followed, key, trusted):
        followed.touch(["a", "b"])
        question = followed.ask()
        followed.touch([key])
        with followed.taking_over(question, ["a", "c"]):
            learned_at = followed.now()
        assert fresh(followed, learned_at) == trusted

    def test_asked_before_the_bus_came_is_not_trusted(self, trust):
        question = trust.ask()
        trust.follow()
        with trust.taking_over(question, ["a"]):
            learned_at = trust.now()
        assert not fresh(trust, learned_at)

    def test_overtaken_by_more_events_than_are_remembered_is_not_trusted(self, followed):
        question = followed.ask()
        for number in range(2 * MOST_KEYS_REMEMBERED):
            followed.touch([str(number)])
        with followed.taking_over(question, ["a"]):
            learned_at = followed.now()
        assert not fresh(followed, learned_at)
        question = followed.ask()
        with followed.taking_over(question, ["a"]):
            learned_at = followed.now()
        assert fresh(followed, learned_at)
