"""YAML to typed, validated settings, with errors that name file, line, key, value and the nearest key.

Three sources are merged, later ones win: the ``base:`` file (one level only), the file itself, and
``key=value`` overrides from the command line. Nothing is ignored: an unknown key is an error.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from typing_extensions import Unpack, is_typeddict

from benchmark.errors import ConfigError, did_you_mean

KeyPath = tuple[str, ...]
CONFIG_DIR = Path(__file__).resolve().parent.parent / "configs"


class Section(BaseModel):
    """Base of every settings model: unknown keys are refused and instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True)


class PluginSpec(BaseModel):
    """A plugin's name with its options; the options are checked against the plugin itself."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


S = TypeVar("S", bound=BaseModel)


@dataclass
class Settings:
    """Merged but not yet validated settings, with the place every key came from.

    Attributes:
        values: nested mapping.
        origins: key path to a place such as ``configs/fsfm.yaml, line 14`` or ``command line``.
        name: what to call the whole in messages.
    """

    values: dict[str, Any]
    origins: dict[KeyPath, str] = field(default_factory=dict)
    name: str = "settings"

    @classmethod
    def from_file(cls, path: Path, overrides: Sequence[str] = ()) -> Settings:
        """Read a YAML file, its base if it names one, and apply overrides.

        Raises:
            ConfigError: missing file, broken YAML, duplicate key, a base that itself has a base, or a malformed
                override.
        """
        settings = _read_yaml(path)
        base_name = settings.values.pop("base", None)
        if base_name is not None:
            base_path = path.parent / str(base_name)
            base = _read_yaml(base_path)
            if "base" in base.values:
                raise ConfigError(
                    f"{settings.where(('base',))}: base {base_path} itself has a base; inheritance is one level."
                )
            settings = base.merged(settings)
        for override in overrides:
            settings.override(override)
        return settings

    def merged(self, other: Settings) -> Settings:
        """This one with ``other`` on top. A section whose ``name`` (its plugin) changes is replaced as a whole."""
        values = _merge(self.values, other.values)
        return Settings(values, {**self.origins, **other.origins}, other.name)

    def override(self, assignment: str) -> None:
        """Apply one ``a.b.c=value`` (the value is read as YAML)."""
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"Override '{assignment}' is not of the form key=value, e.g. optimizer.lr=1e-4.")
        path = tuple(key.strip().split("."))
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"Override '{assignment}': the value is not valid YAML ({error}).") from None
        self.set(path, value, "command line")

    def set(self, path: KeyPath, value: Any, origin: str) -> None:
        """Put one value at a key path, making sections on the way."""
        node = self.values
        for part in path[:-1]:
            child = node.get(part)
            if not isinstance(child, dict):
                child = {}
                node[part] = child
            node = child
        node[path[-1]] = value
        self.origins[path] = origin

    def where(self, path: Iterable[str | int]) -> str:
        """Where a key was set; falls back to the nearest enclosing section, then to the file."""
        key = tuple(str(part) for part in path)
        while key:
            if key in self.origins:
                return self.origins[key]
            key = key[:-1]
        return self.name

    def validate(self, model: type[S]) -> S:
        """The settings as an instance of ``model``.

        Raises:
            ConfigError: every problem found, a line each.
        """
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            raise ConfigError(self.explain(error, model)) from None

    def section(self, *path: str) -> Settings:
        """The part under a key path (empty when absent), keeping origins."""
        node: Any = self.values
        for part in path:
            node = node.get(part) or {}
        depth = len(path)
        origins = {key[depth:]: where for key, where in self.origins.items() if key[:depth] == path}
        return Settings(dict(node), origins, self.where(path))

    def explain(self, error: ValidationError, model: type[BaseModel], prefix: KeyPath = ()) -> str:
        """A pydantic error as lines of 'place: key problem'."""
        lines: dict[str, str] = {}
        for item in error.errors():
            head, marker, allowed = self._line(item, model, prefix).partition("; allowed: ")
            if marker and head in lines:  # another form that this key may take
                lines[head] = f"{lines[head].removesuffix('.')}, or {allowed}"
            else:
                lines[head] = f"{marker}{allowed}"
        return "\n".join(head + rest for head, rest in lines.items())

    def _line(self, item: Mapping[str, Any], model: type[BaseModel], prefix: KeyPath) -> str:
        location = tuple(str(part) for part in item["loc"])
        dotted = ".".join((*prefix, *(part for part in location if not _is_union_tag(part))))
        place = self.where(location)
        if item["type"] == "extra_forbidden":
            siblings = _fields_at(model, location[:-1])
            near = did_you_mean(location[-1], siblings)
            if near:
                head = ".".join((*prefix, *location[:-1]))
                near = near.replace("mean ", f"mean {head}." if head else "mean ", 1)
            known = "" if near else f" Known: {', '.join(sorted(siblings)) or 'none'}."
            return f"{place}: {dotted} is not a known key.{near}{known}"
        if item["type"] == "missing":
            return f"{place}: {dotted} is missing."
        message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
        if item["type"] == "value_error":
            return f"{place}: {message}."
        return f"{place}: {dotted} is {item['input']!r}; allowed: {message}."


def options_model(target: Callable[..., Any], skip: Iterable[str] = ()) -> type[BaseModel]:
    """A validation model made from a callable's keyword parameters (``**options: Unpack[TypedDict]`` included).

    Args:
        target: function or class.
        skip: parameters that the caller supplies.
    """
    skipped = {"self", *skip}
    function = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(target).parameters.values():
        hint = hints.get(parameter.name, Any)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            fields.update(_typed_dict_fields(hint))
        elif parameter.name not in skipped:
            required = parameter.default is inspect.Parameter.empty
            fields[parameter.name] = (hint, ... if required else parameter.default)
    name = getattr(target, "__name__", "options")
    return create_model(name, __base__=Section, **fields)


def checked_options(
    target: Callable[..., Any],
    options: Mapping[str, Any],
    settings: Settings | None = None,
    *,
    prefix: str,
    skip: Iterable[str] = (),
) -> dict[str, Any]:
    """Options validated and converted by the signature of ``target``; only those given are returned.

    Raises:
        ConfigError: an option the target does not have (nearest one named), or a value of the wrong type.
    """
    model = options_model(target, skip)
    source = settings or Settings(dict(options), name=f"{prefix} options")
    try:
        checked = model.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError(source.explain(error, model, (prefix,))) from None
    return {key: getattr(checked, key) for key in checked.model_fields_set}


def _typed_dict_fields(hint: Any) -> dict[str, Any]:
    if get_origin(hint) is Unpack:
        hint = get_args(hint)[0]
    if not is_typeddict(hint):
        return {}
    return {key: (annotation, None) for key, annotation in typing.get_type_hints(hint).items()}


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(low)
    for key, value in high.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            replaced = "name" in value and "name" in below and value["name"] != below["name"]
            result[key] = dict(value) if replaced else _merge(below, value)
        else:
            result[key] = value
    return result


def _read_yaml(path: Path) -> Settings:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = did_you_mean(path.name, siblings)
        raise ConfigError(f"No configuration file at {path}.{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a configuration ({error}).") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)}).") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values at the top, found {type(values).__name__}.")
    origins: dict[KeyPath, str] = {}
    if node is not None:
        _collect_lines(node, (), str(path), origins)
    return Settings(values, origins, str(path))


def _collect_lines(node: yaml.Node, path: KeyPath, file: str, origins: dict[KeyPath, str]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = (*path, str(key_node.value))
            place = f"{file}, line {key_node.start_mark.line + 1}"
            if key in origins:
                raise ConfigError(f"{place}: {'.'.join(key)} is given twice (first at {origins[key]}).")
            origins[key] = place
            _collect_lines(value_node, key, file, origins)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            key = (*path, str(number))
            origins[key] = f"{file}, line {item.start_mark.line + 1}"
            _collect_lines(item, key, file, origins)


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Field names of the model reached by a key path."""
    current: type[BaseModel] | None = model
    for part in path:
        if current is None:
            return []
        info = current.model_fields.get(part)
        if info is None:  # a union tag or list position
            continue
        current = _model_in(info.annotation)
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (typing.Union, types.UnionType, list, tuple):
        return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
    return None


def _is_union_tag(part: str) -> bool:
    tags = ("list[", "dict[", "literal[", "function-", "constrained")
    return part in {"int", "str", "float", "bool"} or part.startswith(tags)
