"""YAML as everywhere, but a key that is written twice is an error, not the last one."""

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} is written twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class YamlError(ValueError):
    """A text that is no YAML: where, and what."""

    def __init__(self, at: str, what: str) -> None:
        super().__init__(f"{at.removeprefix(', ')}: {what}")
        self.at, self.what = at, what
        """`at` is `, line 3, column 5`, or empty where the place is not known."""


def loaded(text: str) -> Any:
    """What a YAML text says.

    Raises:
        YamlError: it is not YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise YamlError(at, getattr(error, "problem", None) or "malformed") from None
    except (ValueError, RecursionError) as error:  # impossible dates, bottomless nesting
        raise YamlError("", str(error)[:100]) from None
