"""Empty modules in place of packages that a writer's module imports and its writer never uses.

Serving engines, kernels and trackers are imported at the top of many modules. Naming such a
package here lets the module load without it; which ones were left out is printed, and written
beside the files. A package that is installed is never replaced;
a module of one (``torch.utils.tensorboard``) may be.
"""

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

USED: set[str] = set()


class _Nothing(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _make(name)

    def __call__(cls, *args: Any, **_: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else cls

    def __getitem__(cls, _: Any) -> Any:
        return cls

    def __or__(cls, _: Any) -> Any:
        return cls

    __ror__ = __or__


def _make(name: str) -> Any:
    return _Nothing(name, (), {})


class _Module(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _make(name)


class _Finder(MetaPathFinder, Loader):
    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        root = fullname.split(".")[0]
        if root not in self.names and fullname not in self.names:
            return None
        USED.add(root if root in self.names else fullname)
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__version__ = "0"  # type: ignore[attr-defined]


def leave_out(*names: str) -> None:
    """Let these imports succeed with nothing in them, where they are not installed."""
    missing = tuple(n for n in names if "." in n or importlib.util.find_spec(n) is None)
    sys.meta_path.insert(0, _Finder(missing))
