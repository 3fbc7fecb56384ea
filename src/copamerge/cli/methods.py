"""`copamerge methods`: every method with its options, defaults and source."""

import json
import shutil
import textwrap
from typing import Annotated, Any

import typer

from copamerge.cli._app import app


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Show this method only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the merge methods, their options, defaults and sources."""
    from copamerge.methods import METHODS

    broken = {} if name else METHODS.broken()
    found = [METHODS[name]] if name else [METHODS[each] for each in METHODS if each not in broken]
    for reason in broken.values():
        typer.echo(f"warning: {reason}", err=True)
    if as_json:
        typer.echo(json.dumps([_described(cls) for cls in found], indent=2))
        return
    for cls in found:
        described = _described(cls)
        typer.echo(f"{described['name']}: {described['summary']}")
        typer.echo(f"    source: {described['source']}")
        if name and described["details"]:
            typer.echo("\n" + "\n".join(f"    {line}" for line in described["details"]) + "\n")
        for option in described["options"]:
            values = f" [{option['values']}]" if option["values"] else ""
            typer.echo(f"    {option['name']} = {option['default']}{values}")
            typer.echo(_wrapped(option["description"]))
        if described["caution"]:
            typer.echo(f"    caution: {described['caution']}")
        typer.echo("")
    if not name:
        typer.echo("Choose one by -m NAME and set options by --set option=value.")


def _wrapped(text: str) -> str:
    width = min(shutil.get_terminal_size().columns, 100)
    return textwrap.fill(text, width, initial_indent=" " * 8, subsequent_indent=" " * 8)


def _described(cls: Any) -> dict[str, Any]:
    summary, _, rest = (cls.__doc__ or "").strip().partition("\n")
    schema = cls.model_json_schema()["properties"]
    options = []
    for option, field in cls.model_fields.items():
        part = schema[option]
        options.append(
            {
                "name": option,
                "default": field.default,
                "values": _values(part),
                "description": " ".join((field.description or "").split()),
            }
        )
    return {
        "name": cls.name,
        "summary": summary,
        "details": [line.strip() for line in rest.strip().splitlines()],
        "source": cls.source,
        "caution": cls.caution,
        "options": options,
    }


def _values(part: dict[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(map(str, part["enum"]))
    words = []
    for key, sign in {
        "exclusiveMinimum": ">",
        "minimum": ">=",
        "exclusiveMaximum": "<",
        "maximum": "<=",
    }.items():
        if key in part:
            words.append(f"{sign} {part[key]:g}")
    return ", ".join(words)
