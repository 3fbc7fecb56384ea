"""The suite `clip8`: eight sets of images in the classes and words that are known of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from copamerge.errors import SuiteError
from copamerge.suites._base import Looking, Suite, Task, TaskCheck
from copamerge.suites.clip8._root import FILE, Root
from copamerge.suites.clip8._sets import TASKS, ImageClasses, image_classes
from copamerge.suites.images import (
    Asked,
    ImageSet,
    Options,
    check,
    kind_of,
    labels_suite,
    read_for,
    task_from,
)


def clip8_suite(data: Path | None) -> Suite:
    """The suite, its sets lying in the folder `data`; none of them is read before it is asked."""
    root = Root(data)
    tasks = [_task(image_classes(task), root) for task in TASKS]

    def checked(tasks: Sequence[Task], looking: Looking) -> tuple[TaskCheck, ...]:
        missing = root.missing()
        return tuple(_checked(task, missing.get(task.name), looking) for task in tasks)

    return replace(labels_suite("clip8", tasks), check=checked)


def _task(known: ImageClasses, root: Root) -> Task:
    return task_from(Asked(known.task, _opener(known, root)), known.title, known.classes)


def _checked(task: Task, missing: str | None, looking: Looking) -> TaskCheck:
    """As for any image set; one that is not there is named with its own task."""
    if missing is not None:
        return TaskCheck(task.name, dict.fromkeys(looking.splits), problems=(missing,))
    found = check([task], looking)[0]
    return replace(found, notes=(*found.notes, *_sizes(task, found)))


def _sizes(task: Task, found: TaskCheck) -> list[str]:
    """Where the test split is not the one that published numbers are of."""
    known = image_classes(task.name)
    there = found.counts.get("test")
    if there is None or there == known.samples["test"]:
        return []
    return [
        f"{there} test pictures, and published numbers are of the "
        f"{known.samples['test']} in {known.hub}"
    ]


def _opener(known: ImageClasses, root: Root) -> Callable[[], ImageSet]:
    def opened() -> ImageSet:
        path, place = root.found(known.task)
        kind = place.kind or kind_of(path)
        notes: list[str] = []

        def naming(own: tuple[str, ...] | None) -> tuple[str, ...]:
            if own is None:
                notes.append(
                    f"{path}: its classes have no names; they are taken to be in the order of "
                    f"{known.hub}"
                )
                return known.classes.names
            if kind == "folder" and (ours := known.in_order_of(own)):
                # Folders have no label ids: their names alone say which class it is.
                return ours
            if differences := known.differences(own):
                raise SuiteError(
                    f"{path}: not the classes of {known.title}: {'; '.join(differences)} (take "
                    f"{known.hub}, whose label ids are meant, or name another folder in {FILE})"
                )
            return known.classes.names

        options = Options(
            kind=kind,
            naming=naming,
            splits=tuple(place.splits.items()),
            divide=place.divide,
            image_key=place.image_key,
            label_key=place.label_key,
        )
        images = read_for(known.task, path, options)
        return replace(images, notes=(*images.notes, *notes))

    return opened
