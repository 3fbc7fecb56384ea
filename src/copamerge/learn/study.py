"""The study on disk: finished trials, and what to try after them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from copamerge.bench.loading import imported
from copamerge.bench.units import sha256
from copamerge.errors import OutputError
from copamerge.learn.space import WEIGHTS, Range, Space

STUDY = "study.db"


class Trial(NamedTuple):
    """One recipe and what it was worth."""

    number: int
    params: Mapping[str, Any]
    points: float | None
    """Mean over tasks of the official points; None where it could not be merged."""
    tasks: Mapping[str, float]
    seconds: float
    reason: str | None
    """Why there are no points."""


@contextmanager
def study_in(optuna: Any, out: Path, asked: Mapping[str, Any]) -> Iterator[Any]:
    """The study in `out`, new or as it was left.

    Raises:
        OutputError: it is damaged, or asked something else.
    """
    sqlalchemy = imported("sqlalchemy", "learn")
    storage = None
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
            # A name may hold what a plain URL would read as its options.
            place = sqlalchemy.engine.URL.create("sqlite", database=str(out / STUDY))
            storage = optuna.storages.RDBStorage(str(place))
            study = optuna.create_study(
                storage=storage, study_name="tune", direction="maximize", load_if_exists=True
            )
            before = study.user_attrs.get("asked")
            now = json.loads(json.dumps(asked))
            if before is None:
                study.set_user_attr("asked", now)
        except OSError as error:
            raise OutputError(f"{out}: cannot be written here: {error.strerror}") from None
        except (sqlalchemy.exc.SQLAlchemyError, RuntimeError, ValueError, AssertionError) as error:
            raise OutputError(
                f"{out / STUDY}: not a study that Optuna can go on with "
                f"({str(error).splitlines()[0][:100]}); remove the folder or choose another output"
            ) from None
        # Paths may move; contents may not.
        unlike = [
            key
            for key in (now if before is not None else ())
            if key != "base" and _contents(before.get(key)) != _contents(now[key])
        ]
        if unlike:
            raise OutputError(
                f"{out}: holds a search that differs in {', '.join(unlike)}; choose another "
                "output, or repeat that search's options to go on with it"
            )
        yield study
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _contents(part: Any) -> Any:
    if isinstance(part, list):
        return [
            {k: v for k, v in x.items() if k not in ("adapter", "file")}
            if isinstance(x, dict)
            else x
            for x in part
        ]
    return part


def distributions_of(optuna: Any, space: Space, n: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kinds = optuna.distributions
    for key, values in space.items():
        names = [f"{WEIGHTS}.{i}" for i in range(1, n + 1)] if key == WEIGHTS else [key]
        for name in names:
            if not isinstance(values, Range):
                found[name] = kinds.CategoricalDistribution(values)
            elif values.whole:
                found[name] = kinds.IntDistribution(
                    int(values.low), int(values.high), log=values.log
                )
            else:
                found[name] = kinds.FloatDistribution(values.low, values.high, log=values.log)
    return found


def params_of(
    optuna: Any,
    study: Any,
    distributions: Mapping[str, Any],
    number: int,
    sampler_name: str,
    seed: int,
    usual: Mapping[str, Any],
    space: Space,
) -> dict[str, Any]:
    """What to try next: a function of the trials so far, the seed and the number."""
    if number == 0 and (defaults := _defaults(space, usual, distributions)) is not None:
        return defaults
    own = int(sha256(f"{seed}/{number}".encode())[:8], 16)
    samplers = optuna.samplers
    sampler = (
        samplers.TPESampler(seed=own) if sampler_name == "tpe" else samplers.RandomSampler(seed=own)
    )
    # Asked of a copy in memory: a trial is in the file when it is finished, or not at all.
    copy = optuna.create_study(direction="maximize", sampler=sampler)
    copy.add_trials(study.get_trials(deepcopy=False))
    return dict(copy.ask(fixed_distributions=dict(distributions)).params)


def _defaults(
    space: Space, usual: Mapping[str, Any], distributions: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The method's own values of what is searched, or None where one lies outside the space."""
    found: dict[str, Any] = {}
    for name in distributions:
        key = WEIGHTS if name.startswith(f"{WEIGHTS}.") else name
        values = space[key]
        default: Any = 1.0 if key == WEIGHTS else usual.get(key)
        if isinstance(values, Range):
            number = isinstance(default, int | float) and not isinstance(default, bool)
            if not number or not values.low <= default <= values.high:
                return None
            found[name] = default if values.whole else float(default)
        else:
            text = str(default).lower() if isinstance(default, bool | None) else str(default)
            if text not in values:
                return None
            found[name] = text
    return found


def trial_of(one: Any) -> Trial:
    more = one.user_attrs
    return Trial(one.number, one.params, one.value, more["tasks"], more["seconds"], more["reason"])


def seen(number: int, params: Mapping[str, Any], done: Sequence[Trial]) -> Trial | None:
    same = next((one for one in done if dict(one.params) == dict(params)), None)
    return None if same is None else same._replace(number=number, seconds=0.0)


@contextmanager
def still(optuna: Any) -> Iterator[None]:
    """Without Optuna's lines for every trial."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
