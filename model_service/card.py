"""The model card for people: MODEL.md, and a plot of how good the model is. Used in training only."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from model_service.manifest import Feature, Manifest, Source

FILE = "MODEL.md"
PLOT_FILE = "confusion.svg"


def write(manifest: Manifest, out: Path) -> None:
    """Writes the card, and for a classifier also the plot in it."""
    if "confusion_matrix" in manifest.metrics:
        _plot(manifest, out / PLOT_FILE)
    (out / FILE).write_text("\n\n".join(_sections(manifest)) + "\n")


def _sections(manifest: Manifest) -> list[str]:
    parameters = [f"| {name} | `{value}` |" for name, value in manifest.estimator.parameters.items()]
    libraries = ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())
    origin = f"commit {manifest.commit or 'unknown'}{' with local changes' if manifest.dirty else ''}"
    kind = manifest.kind.replace("_", " ")
    data = "" if manifest.source else f"Data SHA-256 `{manifest.data.sha256}` ({manifest.data.rows} rows); "
    article = "An" if kind[0] in "aeiou" else "A"
    trained = f"trained {manifest.trained_at} from {origin}, seed {manifest.seed}"
    if manifest.source:
        trained = f"logged {manifest.trained_at} by MLflow, served from {origin}"
    return [
        f"# {manifest.name} {manifest.version}",
        manifest.about,
        f"{article} {kind}: `{manifest.estimator.type}`, {trained}.",
        *(_origin(manifest.source) if manifest.source else _measured(manifest)),
        "## Input",
        "\n".join(
            [
                "| feature | type | unit | in the training data | may be missing |",
                "|---|---|---|---|---|",
                *map(_input, manifest.features),
            ]
        ),
        *([] if manifest.source else [_RANGES]),
        "## Output",
        _output(manifest),
        "## Provenance",
        f"{data}code SHA-256 `{manifest.code_sha256}`; {libraries}.",
        "\n".join(["| parameter | value |", "|---|---|", *parameters]),
    ]


_RANGES = "The training data has no other values. Numbers outside these ranges are still predicted, and counted."


def _measured(manifest: Manifest) -> list[str]:
    fitted = " Then it was fitted again with all rows." if manifest.data.final_fit else ""
    return [
        "## Quality",
        f"On {manifest.data.held_back_rows} rows that were held back, after training with {manifest.data.training_rows} rows:"
        + fitted,
        *_quality(manifest),
    ]


def _origin(source: Source) -> list[str]:
    """Where a model comes from that was not trained here."""
    known = [(name.replace("_", " "), value) for name, value in source.model_dump().items() if value]
    return ["## Origin", "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in known)])]


def _input(feature: Feature) -> str:
    unknown = ", and others" if feature.unknown else ""
    match feature.type:
        case "category":
            known = ", ".join(map(str, feature.categories[:20])) + (", …" if len(feature.categories) > 20 else "")
            content = f"{known}{unknown}"
        case "datetime":
            content = f"{feature.earliest} to {feature.latest}" if feature.earliest else ""
        case "text":
            content = ""
        case _ if feature.minimum is None:
            content = ""
        case _:
            content = f"{feature.minimum:g} to {feature.maximum:g}, mean {feature.mean:g}"
    return f"| {feature.name} | {feature.type} | {feature.unit} | {content} | {'yes' if feature.missing else 'no'} |"


def _output(manifest: Manifest) -> str:
    if manifest.outputs:
        return "Outputs: " + ", ".join(f"{output.name} ({output.kind})" for output in manifest.outputs)
    if manifest.labels:
        named = zip(manifest.labels, manifest.classes, strict=True)
        return "Classes: " + ", ".join(f"{label} ({value!r})" for label, value in named)
    return {
        "clusterer": "The number of a cluster.",
        "outlier_detector": "Whether the row is an outlier, and a score, which is less than 0 for outliers.",
    }.get(manifest.kind, "A number.")


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
