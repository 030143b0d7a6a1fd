"""The model card for people: MODEL.md, and a plot of how good the model is. Used in training only."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from model_service.manifest import Manifest

FILE = "MODEL.md"
PLOT_FILE = "confusion.svg"


def write(manifest: Manifest, out: Path) -> None:
    """Writes the card, and for a classifier also the plot in it."""
    if manifest.kind == "classifier":
        _plot(manifest, out / PLOT_FILE)
    (out / FILE).write_text("\n\n".join(_sections(manifest)) + "\n")


def _sections(manifest: Manifest) -> list[str]:
    ranges = [
        f"| {feature.name} | {feature.unit} | {feature.minimum:g} | {feature.mean:g} | {feature.maximum:g} "
        f"| {'yes' if feature.missing else 'no'} |"
        for feature in manifest.features
    ]
    parameters = [f"| {name} | `{value}` |" for name, value in manifest.estimator.parameters.items()]
    libraries = ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())
    origin = f"commit {manifest.commit or 'unknown'}{' with local changes' if manifest.dirty else ''}"
    return [
        f"# {manifest.name} {manifest.version}",
        manifest.about,
        f"A {manifest.kind}: `{manifest.estimator.type}`, trained {manifest.trained_at} from {origin}, seed {manifest.seed}.",
        "## Quality",
        f"On {manifest.data.held_back_rows} rows that were held back, after training with {manifest.data.training_rows} rows:",
        *_quality(manifest),
        "## Input",
        "\n".join(
            ["| feature | unit | minimum | mean | maximum | may be missing |", "|---|---|---|---|---|---|", *ranges]
        ),
        "The training data has no values outside these ranges. The service still predicts such rows, and counts the values.",
        "## Output",
        "Classes: "
        + ", ".join(f"{label} ({value!r})" for label, value in zip(manifest.labels, manifest.classes, strict=True))
        if manifest.labels
        else "A number.",
        "## Provenance",
        f"Data SHA-256 `{manifest.data.sha256}` ({manifest.data.rows} rows); code SHA-256 `{manifest.code_sha256}`; {libraries}.",
        "\n".join(["| parameter | value |", "|---|---|", *parameters]),
    ]


def _quality(manifest: Manifest) -> list[str]:
    plain = [f"| {name} | {value:.4f} |" for name, value in manifest.metrics.items() if isinstance(value, float)]
    lines = ["\n".join(["| metric | value |", "|---|---|", *plain])]
    per_class = manifest.metrics.get("per_class")
    if isinstance(per_class, dict):
        rows = [
            f"| {label} | {scores['precision']:.4f} | {scores['recall']:.4f} | {scores['rows']} |"
            for label, scores in per_class.items()
            if isinstance(scores, dict)
        ]
        lines.append("\n".join(["| class | precision | recall | rows |", "|---|---|---|---|", *rows]))
        lines.append(f"![Confusion matrix]({PLOT_FILE})")
    return lines


def _plot(manifest: Manifest, file: Path) -> None:
    matrix = np.asarray(manifest.metrics["confusion_matrix"])
    with mpl.rc_context({"svg.hashsalt": manifest.version, "svg.fonttype": "none"}):
        figure = Figure(figsize=(1.6 + 0.9 * len(matrix), 1.4 + 0.9 * len(matrix)), layout="constrained")
        axes = figure.add_subplot(xlabel="predicted", ylabel="true", title=f"{manifest.name} {manifest.version}")
        axes.imshow(matrix, cmap="Blues")
        axes.set_xticks(range(len(matrix)), labels=manifest.labels, rotation=30)
        axes.set_yticks(range(len(matrix)), labels=manifest.labels)
        for (i, k), count in np.ndenumerate(matrix):
            colour = "white" if 2 * count > matrix.max() else "black"
            axes.text(k, i, str(count), ha="center", va="center", color=colour)
        figure.savefig(file, metadata={"Date": None})
