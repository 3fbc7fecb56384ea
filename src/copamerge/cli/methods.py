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
    from copamerge.errors import RecipeError, did_you_mean
    from copamerge.methods import METHODS, NAMED, Composed, method_names

    if name is not None and name not in method_names():
        raise RecipeError(f"unknown merge method {name!r}{did_you_mean(name, method_names())}")
    broken = {} if name else METHODS.broken()
    for reason in broken.values():
        typer.echo(f"warning: {reason}", err=True)
    shown = [name] if name else [each for each in method_names() if each not in broken]
    described = [
        _composition(each) if each not in METHODS else _described(METHODS[each]) for each in shown
    ]
    around = _described(Composed)
    if as_json:
        extra = [] if name else [{**around, "options": _around(around)}]
        typer.echo(json.dumps([*described, *extra], indent=2))
        return
    for one in described:
        _show(one, whole=name is not None)
    if name in NAMED:
        typer.echo("Any of it can be set otherwise, the rule too: --set rule=dare.")
    if not name:
        typer.echo("Around any method (composed): " + around["summary"])
        _show_options(_around(around))
        typer.echo("\nChoose one by -m NAME and set options by --set option=value.")


def _around(described: dict[str, Any]) -> list[dict[str, Any]]:
    return [option for option in described["options"] if option["name"] not in ("title", "rule")]


def _show(described: dict[str, Any], *, whole: bool) -> None:
    typer.echo(f"{described['name']}: {described['summary']}")
    typer.echo(f"    source: {described['source']}")
    if "recipe" in described:
        options = ", ".join(f"{key}: {value}" for key, value in described["recipe"].items())
        typer.echo(f"    recipe: {{{options}}}")
    if whole and described["details"]:
        typer.echo("\n" + "\n".join(f"    {line}" for line in described["details"]) + "\n")
    _show_options(described["options"])
    if described["caution"]:
        typer.echo(f"    caution: {described['caution']}")
    typer.echo("")


def _show_options(options: list[dict[str, Any]]) -> None:
    for option in options:
        values = f" [{option['values']}]" if option["values"] else ""
        typer.echo(f"    {option['name']} = {option['default']}{values}")
        typer.echo(_wrapped(option["description"]))


def _composition(name: str) -> dict[str, Any]:
    from copamerge.methods import NAMED

    named = NAMED[name]
    return {
        "name": name,
        "summary": named.summary,
        "details": [],
        "source": named.source,
        "caution": None,
        "recipe": dict(named.options),
        "options": [],
    }


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
                "default": None if field.is_required() else field.default,
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
