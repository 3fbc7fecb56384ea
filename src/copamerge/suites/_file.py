"""Suite files: YAML that says which suite it describes, read with every problem at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from copamerge.errors import SuiteError, did_you_mean
from copamerge.yamltext import YamlError, loaded

Model = TypeVar("Model", bound=BaseModel)

ENDINGS = (".yaml", ".yml", ".jsonl")

EXPECTED = {
    "string_": "a text",
    "bool_": "true or false",
    "int_": "a whole number",
    "float_": "a number",
    "tuple_": "a list",
    "list_": "a list",
    "dict_": "a mapping",
    "model_": "a mapping of keys",
    "too_short": "at least one",
}
"""What to say for pydantic's kinds of errors, by how their names begin."""


def is_suite_file(name: str) -> bool:
    """Whether a suite's name is meant as the path of a file."""
    return name.lower().endswith(ENDINGS) or Path(name).is_file()


def text_of(path: Path) -> str:
    """
    Raises:
        SuiteError: no such file, or no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SuiteError(f"{path}: no such file; check the path") from None
    except UnicodeDecodeError:
        raise SuiteError(f"{path}: not a text file; give a YAML file") from None
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read: {error.strerror}") from None


def content_of(path: Path, text: str, expected: str = "keys with values") -> dict[str, Any]:
    """What a YAML file says at its top level; `expected` is said where that is no mapping.

    Raises:
        SuiteError: not YAML, or no mapping.
    """
    try:
        content = loaded(text)
    except YamlError as error:
        raise SuiteError(f"{path}{error.at}: not valid YAML ({error.what}); correct it") from None
    if not isinstance(content, dict):
        got = "an empty file" if content is None else f"a {type(content).__name__}"
        raise SuiteError(f"{path}: expected {expected}, got {got}")
    return content


def read_as(model: type[Model], content: Mapping[str, Any], path: Path) -> Model:
    """The content of a file in this form.

    Raises:
        SuiteError: unknown keys (with a suggestion), missing ones, values of another kind; all.
    """
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        found = error.errors()
        wrong = {problem["loc"][:1] for problem in found if len(problem["loc"]) > 1}
        raise SuiteError(
            dict.fromkeys(
                f"{path}: {_sentence(model, problem)}"
                for problem in found
                # An entry that is wrong is not one that is missing.
                if problem["type"] != "too_short" or problem["loc"] not in wrong
            )
        ) from None


def _sentence(model: type[BaseModel], problem: ErrorDetails) -> str:
    loc = list(problem["loc"])
    place = ".".join(map(str, loc)) or "the file"
    owner = _owner(model, loc[:-1])
    if problem["type"] == "extra_forbidden" and owner is not None:
        return f"{place}: unknown key{did_you_mean(str(loc[-1]), owner.model_fields)}"
    if problem["type"] == "missing" and owner is not None:
        about = (owner.model_fields[str(loc[-1])].description or "it").splitlines()[0]
        return f"{place}: missing; write {about[0].lower()}{about[1:].rstrip('.')}"
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, ValueError):
        return f"{place}: {cause}"
    message = problem["msg"]
    for kind, expected in EXPECTED.items():
        if problem["type"].startswith(kind):
            message = f"expected {expected}"
    if problem["type"] == "literal_error" and owner is not None:
        known = _literals(owner.model_fields[str(loc[-1])].annotation)
        message = f"expected one of {', '.join(known)}"
        if isinstance(problem["input"], str):
            close = did_you_mean(problem["input"], known)
            message += close.rstrip("?") if close.startswith("; did") else ""
    # YAML reads 0 as a number and `no` as false, where a name is meant.
    quotes = isinstance(problem["input"], bool | int | float) and message == "expected a text"
    got = problem["input"] if quotes else str(problem["input"])[:100]
    return f"{place}: {message} (got {got!r}){'; put it in quotes' if quotes else ''}"


def _owner(model: type[BaseModel], loc: list[Any]) -> type[BaseModel] | None:
    """The model that the keys at this place belong to; None where it is no model's."""
    found: Any = model
    for key in loc:
        if isinstance(key, int):
            continue
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            return None
        if key not in found.model_fields:
            return None
        found = _inner(found.model_fields[key].annotation)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _literals(annotation: Any) -> list[str]:
    """The words in `Literal[...]` or `Literal[...] | None`."""
    found = []
    for part in get_args(annotation):
        found += [part] if isinstance(part, str) else _literals(part)
    return found


def _inner(annotation: Any) -> Any:
    """The model in `tuple[Model, ...]`, `Model | None` or `Model`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        if (found := _inner(part)) is not None:
            return found
    return None
