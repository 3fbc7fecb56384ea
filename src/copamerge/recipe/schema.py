"""The recipe's JSON Schema, for editors: `python -m copamerge.recipe.schema` rewrites it."""

import json
import sys
from pathlib import Path
from typing import Any

from copamerge.methods import METHODS, NAMED, Composed, method_names
from copamerge.recipe.model import Recipe

FILE = Path(__file__).parents[1] / "recipe.schema.json"


def schema() -> str:
    """The schema as it is shipped. It describes our dialect, not mergekit's."""
    content = Recipe.model_json_schema()
    content["properties"]["method"] |= {"anyOf": method_shapes()}
    content["$defs"] |= {f"around.{key}": part for key, part in around().items()}
    content["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    content["title"] = "copamerge recipe"
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def around() -> dict[str, Any]:
    """The options of a composition, which any method takes beside its own."""
    options = Composed.model_json_schema()["properties"]
    return {key: part for key, part in options.items() if key not in ("title", "rule")}


def method_shapes() -> list[dict[str, Any]]:
    """A name, or a mapping of a name and that method's options, with those of a composition."""
    parts = {key: {"$ref": f"#/$defs/around.{key}"} for key in around()}
    shapes: list[dict[str, Any]] = [{"enum": list(method_names())}]
    for name in METHODS:
        options = METHODS[name].model_json_schema().get("properties", {})
        # Two words are of both: a number or a rule for the scale, a method's space or one around.
        both = {key: {"anyOf": [options[key], parts[key]]} for key in options.keys() & parts.keys()}
        said = {"name": {"const": name}, "rule": {"const": name}}
        shapes.append(
            {
                "type": "object",
                "description": (METHODS[name].__doc__ or name).splitlines()[0],
                "properties": {**said, **parts, **options, **both},
                "anyOf": [{"required": ["name"]}, {"required": ["rule"]}],
                "additionalProperties": False,
            }
        )
    for name, named in NAMED.items():
        shapes.append(
            {
                "type": "object",
                "description": named.summary,
                # Whatever its rule takes, and the rule can be another one.
                "properties": {"name": {"const": name}, "rule": {"enum": list(METHODS)}},
                "required": ["name"],
            }
        )
    return shapes


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        fresh = FILE.exists() and FILE.read_text(encoding="utf-8") == schema()
        if not fresh:
            sys.stderr.write(f"{FILE} is stale: run `make docs`\n")
        return 0 if fresh else 1
    FILE.write_text(schema(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
