"""Names that mean classes: built in, or brought by installed packages."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from copamerge.errors import RecipeError, did_you_mean

T = TypeVar("T")


class Registry(Mapping[str, type[T]], Generic[T]):
    """Classes by the name a user types: built-ins in the order given, then plugins by name.

    A plugin is an entry point whose name is the name users type. It is imported when its name is
    asked for, not before, so a broken one cannot break a run that does not use it. A built-in
    cannot be replaced by a plugin of the same name.
    """

    def __init__(
        self, noun: str, *, base: type[Any], group: str, builtin: Iterable[type[T]]
    ) -> None:
        self._noun = noun
        self._base = base
        self._group = group
        self._builtin: dict[str, type[T]] = {_name(cls): cls for cls in builtin}

    def __getitem__(self, name: str) -> type[T]:
        """
        Raises:
            RecipeError: no class of this name, or its plugin cannot be used. (So `get` raises
                too: a name is a user's word, and a wrong one is never silently nothing.)
        """
        if name in self._builtin:
            return self._builtin[name]
        plugins = self._plugins()
        if name not in plugins:
            raise RecipeError(f"unknown {self._noun} {name!r}{did_you_mean(name, self)}")
        return self._load(plugins[name])

    def __iter__(self) -> Iterator[str]:
        yield from self._builtin
        yield from self._plugins()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in self._plugins()

    def broken(self) -> dict[str, str]:
        """Names of plugins that cannot be used, each with the reason. Imports all plugins."""
        reasons = {}
        for name, point in self._plugins().items():
            try:
                self._load(point)
            except RecipeError as error:
                reasons[name] = str(error)
        return reasons

    def _plugins(self) -> dict[str, EntryPoint]:
        found = {point.name: point for point in entry_points(group=self._group)}
        return {name: found[name] for name in sorted(found.keys() - self._builtin.keys())}

    def _load(self, point: EntryPoint) -> type[T]:
        place = f"{self._noun} {point.name!r} (plugin {point.value})"
        try:
            cls = point.load()
        except Exception as error:  # whatever a stranger's module raises when imported
            raise RecipeError(f"{place}: {type(error).__name__}: {error}") from error
        if not (isinstance(cls, type) and issubclass(cls, self._base)):
            raise RecipeError(f"{place}: not a {self._base.__name__} class")
        if _name(cls) != point.name:
            raise RecipeError(
                f"{place}: the class calls itself {_name(cls)!r}; use one name for both"
            )
        return cast(type[T], cls)


def _name(cls: type) -> str:
    name: str = cls.name  # type: ignore[attr-defined]
    return name
