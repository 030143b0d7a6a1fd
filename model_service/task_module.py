"""From the name of a module to its task. A mistake in the module is one line that says what is wrong, and where."""

import importlib
import re
import traceback
import warnings
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

from model_service.errors import TrainingFailed, in_words
from model_service.task import Task

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def load_task(name: str, seed: int) -> Task:
    """The task that a module makes. Raises TrainingFailed."""
    module = _module(name)
    if not callable(getattr(module, "task", None)):
        raise TrainingFailed(f"the module {name} has no task(seed)", hint="model_service/task.py says what a task is")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            task = module.task(seed)
    except InconsistentVersionWarning as exc:
        raise TrainingFailed(
            f"the {exc.estimator_name} that {name} loads was fitted with scikit-learn {exc.original_sklearn_version}, "
            f"but {exc.current_sklearn_version} is installed",
            hint="install the version that it was fitted with, or fit it again",
        ) from exc
    except Exception as exc:  # the module is the user's: it may raise anything
        raise TrainingFailed(f"{name}.task({seed}) failed: {_what_and_where(exc, module)}") from exc
    if not isinstance(task, Task):
        raise TrainingFailed(f"{name}.task(seed) returned {type(task).__name__}, not a Task")
    check(task)
    return task


def check(task: Task) -> None:
    """Checks the texts and the bar of a task; its data is checked when it is read. Raises TrainingFailed."""
    if not isinstance(task.name, str) or not _NAME.fullmatch(task.name):
        raise TrainingFailed(
            f"{task.name!r} is not a valid name for a model",
            hint="use letters, digits, '.', '_' and '-', at most 100 of them",
        )
    if not isinstance(task.about, str):
        raise TrainingFailed(f"about is {task.about!r:.40}, expected a text")
    if not isinstance(task.bar, Real):
        raise TrainingFailed(f"bar is {task.bar!r:.40}, expected a number")
    for field, given in {"features": task.features, "labels": task.labels, "units": task.units}.items():
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TrainingFailed(f"{field} is {given!r:.40}, expected a list of texts")
    _check_labels(list(task.labels))


def _check_labels(labels: list[Any]) -> None:
    for label in labels:
        if not isinstance(label, str):
            raise TrainingFailed(
                f"the label {label!r:.40} is no text", hint="labels name the classes in sorted order, as texts"
            )
        if labels.count(label) > 1:
            raise TrainingFailed(f"the label {label!r} is there twice")


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise TrainingFailed(f"no task module {name}: {exc}", hint="--task takes a dotted module name") from exc
    except Exception as exc:  # as above
        raise TrainingFailed(f"the task module {name} cannot be imported: {_what_and_where(exc, None)}") from exc


def _what_and_where(failure: Exception, module: ModuleType | None) -> str:
    """The exception, and the line of the task's file that raised it."""
    what = in_words(failure)
    if isinstance(failure, SyntaxError):
        return what
    lines = traceback.extract_tb(failure.__traceback__)
    own = [line for line in lines if module is not None and line.filename == module.__file__]
    where = (own or lines)[-1]
    return f"{what} ({Path(where.filename).name}, line {where.lineno})"
