"""The recipe's JSON Schema, for editors: `python -m copamerge.recipe.schema` rewrites it."""

import json
import sys
from pathlib import Path

from copamerge.recipe.model import Recipe

FILE = Path(__file__).parents[1] / "recipe.schema.json"


def schema() -> str:
    """The schema as it is shipped. It describes our dialect, not mergekit's."""
    content = Recipe.model_json_schema()
    content["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    content["title"] = "copamerge recipe"
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


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
