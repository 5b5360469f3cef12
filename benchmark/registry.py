"""One registry class for every kind of plugin.

A plugin is registered by a decorator on the class or function that implements it::

    @DETECTORS.register("fsfm")
    class FSFMDetector(Detector):
        \"\"\"FSFM fine-tuning: ViT with layer-wise learning-rate decay.\"\"\"

Built-in plugins are found without importing them: the registry reads the source of its home package and
looks for that decorator. So ``list`` answers at once, and a plugin whose optional package is missing does
not break the others. Plugins from elsewhere come through ``--plugins`` or a packaging entry point.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchmark.errors import RegistryError, closest

T = TypeVar("T")
ENTRY_POINT_GROUP = "face_security_benchmark.plugins"
_failed_entry_points: dict[str, str] = {}
_loaded_entry_points = False


@dataclass(frozen=True)
class Entry:
    """Where a registered name lives, known without importing it."""

    name: str
    module: str
    source: str
    summary: str


class Registry(Generic[T]):
    """Names to plugins of one kind.

    Args:
        kind: singular word used in messages, e.g. ``"detector"``.
        variable: name of the registry object in source code, e.g. ``"DETECTORS"``; the scan looks for it.
        package: import name of the package whose files hold the built-in plugins.
    """

    def __init__(self, kind: str, variable: str, package: str) -> None:
        self.kind = kind
        self.variable = variable
        self.package = package
        self._objects: dict[str, T] = {}
        self._entries: dict[str, Entry] = {}
        self._scanned = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files the decorated object under ``name``.

        Raises:
            RegistryError: the name is taken by another object.
        """

        def decorate(obj: T) -> T:
            entry = Entry(name, _module_of(obj), _source_of(obj), _summary(getattr(obj, "__doc__", None)))
            taken, before = self._entries.get(name), self._objects.get(name, obj)
            if taken and (taken.module != entry.module or _qualified(before) != _qualified(obj)):
                raise RegistryError(
                    f"{self.kind} name '{name}' is registered twice: {taken.source} and {entry.source}. "
                    "Rename one of them."
                )
            self._objects[name] = obj
            self._entries[name] = entry
            return obj

        return decorate

    def get(self, name: str) -> T:
        """The object registered under ``name``; imports its module on first use.

        Raises:
            RegistryError: unknown name (with near matches), or the plugin's module cannot be imported.
        """
        self._discover(name)
        if name not in self._objects and name in self._entries:
            entry = self._entries[name]
            try:
                importlib.import_module(entry.module)
            except ImportError as error:
                raise RegistryError(
                    f"{self.kind} '{name}' cannot be loaded from {entry.source}: {error}. "
                    "Install the missing package (see the extras in pyproject.toml)."
                ) from error
        if name not in self._objects:
            raise RegistryError(self._unknown(name))
        return self._objects[name]

    def entries(self) -> list[Entry]:
        """Every known plugin, sorted by name, without importing the built-in ones."""
        self._discover(None)
        return [self._entries[name] for name in sorted(self._entries)]

    def __contains__(self, name: str) -> bool:
        self._discover(name)
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in self.entries())

    def _unknown(self, name: str) -> str:
        near = closest(name, self._entries)
        hint = f"Closest: {', '.join(near)}. " if near else ""
        broken = "".join(f" Entry point {key} failed: {why}." for key, why in _failed_entry_points.items())
        return (
            f"No {self.kind} named '{name}'. {hint}See all: python -m benchmark list {self.kind.split()[-1]}s. "
            f"Own plugin? --plugins path.py{broken}"
        )

    def _discover(self, name: str | None) -> None:
        if not self._scanned:
            self._scanned = True
            for entry in _scan_package(self.package, self.variable):
                known = self._entries.setdefault(entry.name, entry)
                if known.module != entry.module:
                    raise RegistryError(
                        f"{self.kind} name '{entry.name}' is registered twice: "
                        f"{known.source} and {entry.source}. Rename one of them."
                    )
        if name is None or name not in self._entries:
            load_entry_points()


def _scan_package(package: str, variable: str) -> Iterator[Entry]:
    """Find ``@VARIABLE.register("name")`` decorators in the package's files without running them."""
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    for root in roots:
        for path in sorted(Path(root).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if f"{variable}.register(" not in text:
                continue
            relative = path.relative_to(root).with_suffix("")
            module = ".".join([package, *relative.parts]).removesuffix(".__init__")
            for node in ast.parse(text, filename=str(path)).body:
                for name in _registered_names(node, variable):
                    summary = _summary(ast.get_docstring(node))  # type: ignore[arg-type]
                    yield Entry(name, module, f"{path}:{node.lineno}", summary)


def _registered_names(node: ast.stmt, variable: str) -> Iterator[str]:
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
        return
    for decorator in node.decorator_list:
        match decorator:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=owner), attr="register"),
                args=[ast.Constant(value=str(name))],
            ) if owner == variable:
                yield name


def load_entry_points() -> None:
    """Import plugins that installed packages announce; a broken one is remembered and reported, not fatal."""
    global _loaded_entry_points
    if _loaded_entry_points:
        return
    _loaded_entry_points = True
    for point in entry_points(group=ENTRY_POINT_GROUP):
        _load_entry_point(point)


def _load_entry_point(point: EntryPoint) -> None:
    try:
        point.load()
    except Exception as error:  # a foreign package may fail in any way; it must not stop the others
        from loguru import logger

        _failed_entry_points[point.name] = f"{type(error).__name__}: {error}"
        logger.warning("Plugin entry point {} ({}) failed: {}", point.name, point.value, error)


def load_plugin(path_or_module: str) -> None:
    """Import a plugin given on the command line: a ``.py`` file or an importable module name.

    Raises:
        RegistryError: the file does not exist, the module is not found, or importing it fails.
    """
    try:
        if path_or_module.endswith(".py"):
            _import_file(Path(path_or_module))
        else:
            importlib.import_module(path_or_module)
    except RegistryError:
        raise
    except Exception as error:
        raise RegistryError(
            f"--plugins {path_or_module}: {type(error).__name__}: {error}. "
            "Give a .py file or a module that can be imported."
        ) from error


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise RegistryError(f"--plugins {path}: no such file.")
    name = f"benchmark_plugin_{path.stem}"
    if name in sys.modules:
        if Path(str(sys.modules[name].__file__)).resolve() == path.resolve():
            return
        raise RegistryError(f"--plugins {path}: another plugin file named {path.name} is already loaded.")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _summary(doc: str | None) -> str:
    return doc.strip().splitlines()[0] if doc and doc.strip() else ""


def _module_of(obj: Any) -> str:
    return str(getattr(obj, "__module__", type(obj).__module__))


def _qualified(obj: Any) -> str:
    return str(getattr(obj, "__qualname__", type(obj).__qualname__))


def _source_of(obj: Any) -> str:
    module = sys.modules.get(_module_of(obj))
    path = getattr(module, "__file__", None) or _module_of(obj)
    code = getattr(obj, "__code__", None)
    return f"{path}:{code.co_firstlineno}" if code else f"{path} ({_qualified(obj)})"


BACKBONES: Registry[Callable[..., Any]] = Registry("backbone", "BACKBONES", "backbones")
DETECTORS: Registry[Any] = Registry("detector", "DETECTORS", "detectors")
MASKINGS: Registry[Any] = Registry("masking", "MASKINGS", "detectors")
DATASETS: Registry[Any] = Registry("dataset reader", "DATASETS", "benchmark.data")
AUGMENTATIONS: Registry[Callable[..., Any]] = Registry("augmentation", "AUGMENTATIONS", "benchmark.data")
LAYOUTS: Registry[Any] = Registry("layout", "LAYOUTS", "preprocessing")
FACE_FINDERS: Registry[Any] = Registry("face finder", "FACE_FINDERS", "preprocessing")
FACE_PARSERS: Registry[Any] = Registry("face parser", "FACE_PARSERS", "preprocessing")
