"""The kinds of models that the model service serves, beside scikit-learn in the same process: CPU time for 1, 100 and 1,000 rows.

`python -m bench.kinds` prints the table of docs/models.md. It compares the call of the model alone, without HTTP: the service
has checked the rows before, and writes the predictions as JSON; scikit-learn gets its own array or DataFrame, and gives arrays.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from model_service import train
from model_service.fitting import Fitted, fit
from model_service.model import load
from model_service.quality import measure
from tests.model_service.kinds import BOOSTERS, KINDS, REFUSED, TRUST, TRUSTING

ROWS = (1, 100, 1000)
SECONDS = 0.05  # of CPU time, at least, for each figure


def main() -> None:
    """Prints the table."""
    warnings.simplefilter("ignore")
    heads = " | ".join(f"{rows:,} {'row' if rows == 1 else 'rows'}" for rows in ROWS)
    print(f"| model | served as | {heads} |\n|---|---|{'---|' * len(ROWS)}")
    for name, (make, form) in (KINDS | BOOSTERS).items():
        print(f"| {name} | {form} | {' | '.join(_figures(make(0), TRUST))} |", flush=True)
    for name, (make, types) in TRUSTING.items():
        trust = f"skops, `MODEL_TRUST={','.join(types)}`"
        print(f"| {name} | {trust} | {' | '.join(_figures(make(0), types))} |", flush=True)
    for name, (_, words) in REFUSED.items():
        print(f'| {name} | refused: "{words} …" |{" |" * len(ROWS)}')


def _figures(task: Any, trusted: tuple[str, ...]) -> Iterator[str]:
    """For each number of rows: our time and scikit-learn's, in milliseconds."""
    with TemporaryDirectory() as out:
        fitted = fit(task, seed=0)
        train.write(fitted, Path(out), form="auto", metrics=measure(fitted))
        model = load(Path(out), trusted=trusted)
    for count in ROWS:
        rows = _repeated(fitted, count)
        cells = fitted.data.cells(rows)
        yield f"{_milliseconds(model.predict, cells)} ({_milliseconds(_asked(fitted), rows)})"


def _repeated(fitted: Fitted, count: int) -> Any:
    numbers = [k % len(fitted.rows) for k in range(count)]
    if hasattr(fitted.rows, "iloc"):
        return fitted.rows.iloc[numbers].reset_index(drop=True)
    return fitted.rows[numbers]


def _asked(fitted: Fitted) -> Callable[[Any], Any]:
    """What gives the same as the service: the predictions, and the probabilities or scores if there are any."""
    estimator = fitted.estimator
    more = getattr(estimator, "predict_proba", None) or getattr(estimator, "decision_function", None)
    return lambda rows: (estimator.predict(rows), more and more(rows))


def _milliseconds(call: Callable[[Any], Any], rows: Any) -> str:
    """The best of some calls, by the CPU time of this process."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS:
        started = time.process_time()
        call(rows)
        times.append(time.process_time() - started)
    return f"{1000 * min(times):.2g}"


if __name__ == "__main__":
    main()
