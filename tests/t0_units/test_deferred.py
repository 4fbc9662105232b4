"""Modules that are imported when something of them is first used."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from arvados_fuse.command.deferred import SELDOM_USED, deferring

ROOT = Path(__file__).parents[2]
NAME = "a_module_that_is_seldom_used"


@pytest.fixture
def source(tmp_path, monkeypatch) -> Iterator[Path]:
    """The file of a module that nobody has imported."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / f"{NAME}.py"
    sys.modules.pop(NAME, None)


def test_it_is_not_imported_before_something_of_it_is_used(source):
    source.write_text("import sys; sys.was_imported = True; answer = 42")
    with deferring(frozenset({NAME})):
        module = __import__(NAME)
    assert not hasattr(sys, "was_imported")
    try:
        assert module.answer == 42
        assert sys.was_imported
    finally:
        del sys.was_imported


def test_an_attribute_that_it_does_not_have_is_missing(source):
    source.write_text("answer = 42")
    with deferring(frozenset({NAME})):
        module = __import__(NAME)
    with pytest.raises(AttributeError, match="question"):
        _ = module.question


def test_threads_that_use_it_at_once_all_see_the_whole_of_it(source):
    source.write_text("import time; first = 1; time.sleep(0.05); last = 2")
    with deferring(frozenset({NAME})):
        module = __import__(NAME)
    seen = []
    start = threading.Barrier(4)

    def use() -> None:
        start.wait()
        seen.append((module.first, module.last))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(1, 2)] * 4


def test_an_import_that_failed_is_tried_again(source):
    source.write_text("raise ImportError('not now')")
    with deferring(frozenset({NAME})):
        module = __import__(NAME)
    for _ in range(2):
        with pytest.raises(ImportError, match="not now"):
            _ = module.answer
    source.write_text("answer = 42  # longer than what it was, so that no cached code is taken")
    assert module.answer == 42


def test_others_are_imported_as_always(source):
    source.write_text("answer = 42")
    with deferring(frozenset({"another"})):
        assert vars(__import__(NAME))["answer"] == 42


def test_a_module_that_is_not_there_is_missing_at_once():
    with deferring(frozenset({"no_such_module"})), pytest.raises(ModuleNotFoundError):
        __import__("no_such_module")


def test_the_client_library_can_do_without_them_until_a_request_is_refused():
    """It is imported without them, and httplib2 finds its own when it needs it."""
    program = (
        "import sys\n"
        "from arvados_fuse.command.deferred import deferring\n"
        "with deferring():\n"
        "    import arvados\n"
        "assert 'pyparsing' not in sys.modules\n"
        f"assert all('_Deferred' in repr(type(sys.modules[n])) for n in {set(SELDOM_USED)!r})\n"
        "import httplib2\n"
        "refused = {'www-authenticate': 'Basic realm=here'}\n"
        "assert 'basic' in httplib2.auth._parse_www_authenticate(refused, 'www-authenticate')\n"
        "assert 'pyparsing' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, check=True)
