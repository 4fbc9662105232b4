"""Files on a real mount under the exerciser, with commits, other clients and remounts in between.

Some thousands of operations for each test, bounded by time. A million by hand:
`python -m tests.support.exerciser --operations 1000000 --seed 1 --files 2 DIRECTORY`.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

import arvados
import pytest

from tests.support.exerciser import Exerciser, exercise, operations
from tests.support.mounts import RunningMount
from tests.support.workplace import Workplace, new_collection, saved, shown

LARGEST = 100_000
TIME_LIMIT_S = 20.0


@pytest.fixture
def workplace(cluster, mount):
    """Make a workplace: an empty collection on a mount with some options."""
    places = []

    def make(*options: str) -> Workplace:
        api = cluster.api()
        uuid = new_collection(api)
        running = mount("--read-write", "--collection", uuid, *options)
        places.append(Workplace(running, api, uuid))
        return places[-1]

    yield make
    for place in places:
        place.end()


def any_seed() -> int:
    """A seed that is new each time; who looks for a failure again finds it in the message."""
    return random.SystemRandom().getrandbits(32)


@pytest.mark.parametrize("delay", ["0", "1"])
def test_files_hold_what_was_written(workplace, delay: str) -> None:
    """One process, several handles, maps, a second process; three files at a time."""
    place = workplace("--commit-delay", delay)
    done = exercise(
        place.root, any_seed(), 1500, 3, largest=LARGEST, time_limit_s=TIME_LIMIT_S
    )  # fmt: skip
    assert done >= 300


@pytest.mark.parametrize("end", ["unmount", "kill"])
def test_files_hold_what_was_written_over_remounts(cluster, env, tmp_path, end: str) -> None:
    """All that was closed is there in the next mount, also when the one before was killed."""
    api = cluster.api()
    arguments = ["--read-write", "--collection", new_collection(api)]
    running = RunningMount(tmp_path / "again", *arguments, env=env)

    def remount() -> None:
        nonlocal running
        if end == "kill":
            running.kill()
        else:
            assert running.unmount() == 0
        running.close()
        running = RunningMount(running.directory, *arguments, env=env)

    seed = any_seed()
    planned = operations(seed, {"remount": 2})
    ends_at = time.monotonic() + TIME_LIMIT_S
    try:
        with Exerciser(running.directory, largest=LARGEST, remount=remount) as exerciser:
            done = 0
            while done < 600 and time.monotonic() < ends_at:
                done += exerciser.run(planned, 1)
    except BaseException as error:
        error.args = (f"seed {seed}: {error}",)
        running.close(check_log=False)
        raise
    running.close()


class Crowd:
    """Threads that change one collection at the same time, and another client that does so too.

    files: what there has to be in the end, of each of them
    """

    def __init__(self, place: Workplace, threads: int) -> None:
        self._place = place
        self._ends_at = time.monotonic() + TIME_LIMIT_S
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.files: list[dict[str, bytes]] = [{} for _ in range(threads + 1)]

    @property
    def _goes_on(self) -> bool:
        return not self._stop.is_set() and time.monotonic() < self._ends_at

    def run(self, steps: int) -> None:
        """Let all work; raises what one of them raises."""
        threads = [self._start(self._churn, steps, n) for n in range(len(self.files) - 1)]
        other = self._start(self._edit_elsewhere)
        for thread in threads:
            thread.join()
        self._stop.set()
        other.join()
        assert not self._failures, self._failures

    def _start(self, work: Callable[..., None], *arguments: int) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self._failures.append(error)
                self._stop.set()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def _churn(self, steps: int, number: int) -> None:
        """Make, write, rename, read and remove files of its own."""
        choice = random.Random(number)
        files, root = self.files[number], self._place.root
        for step in range(steps):
            if not self._goes_on:
                return
            directory = root / f"shared{choice.randrange(3)}"
            directory.mkdir(exist_ok=True)
            path = directory / f"{number}-{choice.randrange(12)}"
            new = str(path.relative_to(root))
            what = choice.random()
            if what < 0.6 or not files:
                files[new] = choice.randbytes(choice.randrange(5000))
                path.write_bytes(files[new])
                continue
            old = choice.choice(sorted(files))
            if what < 0.8:
                (root / old).rename(path)
                files[new] = files.pop(old)
            else:
                assert (root / old).read_bytes() == files.pop(old), f"{old} in step {step}"
                (root / old).unlink()

    def _edit_elsewhere(self) -> None:
        """Add files to the same directories, by the API."""
        api = self._place.api
        keep = arvados.KeepClient(api_client=api)
        number = 0
        while self._goes_on:
            path, data = f"shared{number % 3}/theirs-{number % 7}", b"%d" % number
            locator = keep.put(data, copies=1)
            body = {
                "collection": {"manifest_text": f". {locator} 0:{len(data)}:x\n"},
                "replace_files": {f"/{path}": "manifest_text/x"},
            }
            api.collections().update(uuid=self._place.uuid, body=body).execute()
            self.files[-1][path] = data
            number += 1


@pytest.mark.parametrize("delay", ["0", "1"])
def test_threads_commits_and_another_client_lose_nothing(workplace, delay: str) -> None:
    """Whoever works on one collection at the same time: in the end all of it is there, on the mount
    and in the cluster, and the memory has not grown by what was written."""
    place = workplace("--commit-delay", delay)
    before = place.running.rss()
    crowd = Crowd(place, threads=4)
    crowd.run(steps=150)
    handle = os.open(place.root, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    wanted = {path: data for files in crowd.files for path, data in files.items()}
    assert {path: data for path, data in shown(place.root).items() if data is not None} == wanted
    assert {p: d for p, d in saved(place.api, place.uuid).items() if d is not None} == wanted
    assert place.running.rss() < before + 100_000_000
