"""Modules that are imported when something of them is first used, because most mounts never do.

The client library of Google, on which that of Arvados stands, imports what it needs for logging in
to Google, and httplib2 a whole parser generator for the answer to a refused request. The library of
Arvados has clients of Keep and of the event bus that we do not use. That is nearly half of the time
that all imports take, and 100 modules in memory.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec

__all__ = ["SELDOM_USED", "deferring"]

SELDOM_USED = frozenset(
    {
        "arvados.events",
        "google.auth._regional_access_boundary_utils",
        "google.oauth2.service_account",
        "httplib2.auth",
        "pycurl",
    }
)
"""Modules of others: one that is not there, or not imported, makes no difference."""


@contextmanager
def deferring(names: frozenset[str] = SELDOM_USED) -> Iterator[None]:
    """While this lasts, the modules of these names are imported in appearance only.

    Who looks into one later, in whatever thread, has it imported then. The standard library's
    LazyLoader does the same, but in older versions not when two threads do so at once.
    """
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds the modules of some names, and lets them be deferred."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferringLoader(spec.loader)
        return spec


class _DeferringLoader(Loader):
    """Makes modules that are imported when they are used."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it for later."""
        assert isinstance(module, _Deferred)
        module.defer(self._loader)


class _Deferred(ModuleType):
    """Stands for a module, which is imported when an attribute of it is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._loader: Loader | None = None
        self._lock = threading.RLock()  # the module may look into itself while it is imported
        self._module: ModuleType | None = None

    def defer(self, loader: Loader) -> None:
        """Have the module imported by `loader` from now on."""
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        """Return what the module has, as it is not here."""
        if self._loader is None:  # the import system looks what it has to set
            raise AttributeError(name)
        return getattr(self._imported(self._loader), name)

    def _imported(self, loader: Loader) -> ModuleType:
        with self._lock:
            if self._module is None:
                assert self.__spec__ is not None, "it has been found"
                self.__spec__.loader = loader
                self._module = module_from_spec(self.__spec__)
                try:
                    loader.exec_module(self._module)
                except BaseException:
                    self._module = None
                    raise
            return self._module
