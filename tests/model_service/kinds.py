"""All kinds of models that docs/models.md names, each as a task that trains in a moment."""

from typing import Any

import numpy as np
import pandas as pd
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.datasets import load_iris, make_multilabel_classification, make_regression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.naive_bayes import CategoricalNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor, XGBRFClassifier

from model_service.task import Task

CATBOOST = {"verbose": False, "allow_writing_files": False, "thread_count": 1}
NAMES = ("a", "b", "c", "d")


def people(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Columns of every type, some with missing values."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(3000, 900, rows).round(2)),
            "children": pd.Series(rng.integers(0, 4, rows), dtype="Int64").mask(rng.random(rows) < 0.1),
            "member": rng.random(rows) < 0.4,
            "city": rng.choice(["Ulm", "Kiel", "Jena"], rows),
            "plan": pd.Categorical(rng.choice(["basic", "plus"], rows)),
            "comment": [f"{rng.choice(['good', 'bad', 'slow', 'kind'])} number {n}" for n in range(rows)],
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500, rows), unit="D"),
        }
    )
    frame.loc[::17, "city"] = None
    return frame


def leaves(frame: pd.DataFrame) -> Any:
    """An answer that depends on several columns."""
    score = frame.age / 50 + frame.member * 1.5 + (frame.city == "Ulm") - frame.income.fillna(3000) / 3000
    return np.where(score > score.median(), "stays", "leaves")


def days_since(frame: Any) -> Any:
    """Dates as a number of days; a named function, since a lambda cannot be written."""
    return (frame - pd.Timestamp("2020-01-01")).apply(lambda column: column.dt.days).to_numpy(dtype=float)


TRUST = (f"{days_since.__module__}.{days_since.__qualname__}",)


class Clip(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A transformer of the user's own module."""

    def fit(self, rows: Any, _answers: Any = None) -> "Clip":
        self.low_, self.high_ = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, rows: Any) -> Any:
        return np.clip(rows, self.low_, self.high_)


def flowers(estimator: Any, **more: Any) -> Task:
    given = load_iris()
    return Task("iris", given.data, given.target, NAMES, estimator, **more)


def values(estimator: Any, outputs: int = 1) -> Task:
    rows, answers = make_regression(200, 4, n_targets=outputs, noise=2.0, random_state=0)
    return Task("values", rows, answers, NAMES, estimator, bar=-9.0)


def labels(estimator: Any) -> Task:
    rows, answers = make_multilabel_classification(200, 6, n_classes=3, random_state=0)
    return Task("labels", rows, answers, tuple("abcdef"), estimator, labels=("red", "green", "blue"))


def customers(estimator: Any, columns: tuple[str, ...] = ()) -> Task:
    frame = people()
    return Task("customers", frame[list(columns)] if columns else frame, leaves(frame), estimator=estimator, bar=0.0)


def customers_coded(estimator: Any) -> Task:
    """The classes as numbers, as XGBoost needs them, with their names."""
    frame = people()
    return Task("customers", frame, leaves(frame) == "stays", estimator=estimator, labels=("leaves", "stays"))


def mixed(last: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["age", "income", "children"]),
            ("words", words, ["city", "plan"]),
            ("member", "passthrough", ["member"]),
            ("since", make_pipeline(FunctionTransformer(days_since), StandardScaler()), ["since"]),
            ("comment", TfidfVectorizer(), "comment"),
        ]
    )
    return make_pipeline(columns, last)


def booleans(seed: int) -> Task:
    frame = pd.get_dummies(people()[["age", "city", "plan"]])
    return Task("dummies", frame, leaves(people()), estimator=LogisticRegression(max_iter=500))


def coded(estimator: Any) -> Task:
    """Categories that are coded as whole numbers in an array."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, (200, 4)).astype(float)
    return Task("coded", rows, (rows.sum(axis=1) > 4).astype(int), NAMES, estimator)


def frozen(seed: int) -> Task:
    given = load_iris()
    return flowers(FrozenEstimator(LogisticRegression(max_iter=500).fit(given.data, given.target)))


def truth(estimator: Any) -> Task:
    given = load_iris()
    return Task("truth", given.data, given.target > 0, NAMES, estimator)


# name -> the task of a seed, the format that training chooses
KINDS: dict[str, tuple[Any, str]] = {
    "decision tree": (lambda seed: flowers(DecisionTreeClassifier(random_state=seed)), "trees"),
    "small forest": (lambda seed: flowers(RandomForestClassifier(20, random_state=seed)), "trees"),
    "large forest": (lambda seed: values(RandomForestRegressor(200, random_state=seed)), "skops"),
    "gradient boosting": (
        lambda seed: flowers(GradientBoostingClassifier(n_estimators=10, random_state=seed)),
        "trees",
    ),
    "default gradient boosting": (lambda seed: values(GradientBoostingRegressor(random_state=seed)), "skops"),
    "histogram gradient boosting": (
        lambda seed: values(HistGradientBoostingRegressor(max_iter=10, random_state=seed)),
        "skops",
    ),
    "bagging of trees": (lambda seed: values(BaggingRegressor(random_state=seed)), "skops"),
    "AdaBoost": (lambda seed: flowers(AdaBoostClassifier(n_estimators=5, random_state=seed)), "skops"),
    "logistic regression": (lambda seed: flowers(LogisticRegression(max_iter=500)), "skops"),
    "linear regression": (lambda seed: values(LinearRegression()), "skops"),
    "elastic net of a logarithm": (
        lambda seed: values(TransformedTargetRegressor(ElasticNet(), transformer=PowerTransformer())),
        "skops",
    ),
    "linear discriminant analysis": (lambda seed: flowers(LinearDiscriminantAnalysis()), "skops"),
    "naive Bayes": (lambda seed: flowers(GaussianNB()), "skops"),
    "categorical naive Bayes": (lambda seed: coded(CategoricalNB()), "skops"),
    "one-hot encoding of codes": (lambda seed: coded(make_pipeline(OneHotEncoder(), LogisticRegression())), "skops"),
    "nearest neighbours": (lambda seed: flowers(KNeighborsClassifier(algorithm="brute")), "skops"),
    "neural network": (
        lambda seed: flowers(
            make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=900, tol=1e-3, random_state=seed))
        ),
        "skops",
    ),
    "support vectors with decision values": (lambda seed: flowers(SVC(random_state=seed)), "skops"),
    "linear support vectors of two classes": (lambda seed: truth(LinearSVC(random_state=seed)), "skops"),
    "hinge loss": (lambda seed: flowers(make_pipeline(StandardScaler(), SGDClassifier(random_state=seed))), "skops"),
    "calibrated": (lambda seed: flowers(CalibratedClassifierCV(LinearSVC(random_state=seed))), "skops"),
    "stacked": (
        lambda seed: flowers(
            StackingClassifier(
                [("tree", DecisionTreeClassifier(max_depth=2, random_state=seed)), ("bayes", GaussianNB())]
            )
        ),
        "skops",
    ),
    "voting": (
        lambda seed: flowers(
            VotingClassifier([("linear", LogisticRegression(max_iter=500)), ("bayes", GaussianNB())], voting="soft")
        ),
        "skops",
    ),
    "grid search": (
        lambda seed: flowers(GridSearchCV(DecisionTreeClassifier(random_state=seed), {"max_depth": [2, 3]})),
        "trees",
    ),
    "random search in a pipeline": (
        lambda seed: flowers(
            make_pipeline(
                StandardScaler(),
                RandomizedSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, n_iter=2, random_state=seed),
            )
        ),
        "skops",
    ),
    "frozen estimator": (frozen, "skops"),
    "boolean classes": (lambda seed: truth(GaussianNB()), "skops"),
    "text pipeline": (
        lambda seed: customers(
            make_pipeline(ColumnTransformer([("text", TfidfVectorizer(), "comment")]), LogisticRegression()),
            ("comment",),
        ),
        "skops",
    ),
    "columns of every type": (lambda seed: customers(mixed(LogisticRegression(max_iter=500))), "skops"),
    "forest on columns of every type": (
        lambda seed: customers(mixed(RandomForestClassifier(10, random_state=seed))),
        "skops",
    ),
    "dummies of pandas": (booleans, "skops"),
    "tree on a DataFrame of numbers": (
        lambda seed: customers(DecisionTreeClassifier(max_depth=3, random_state=seed), ("age", "income", "member")),
        "trees",
    ),
    "columns chosen by type": (
        lambda seed: customers(
            make_pipeline(
                make_column_transformer(
                    (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["city", "plan"]),
                    (SimpleImputer(), make_column_selector(dtype_include="number")),
                ),
                RandomForestClassifier(5, random_state=seed),
            ),
            ("age", "income", "city", "plan"),
        ),
        "skops",
    ),
    "several values": (lambda seed: values(Ridge(), outputs=3), "skops"),
    "trees with several values": (
        lambda seed: values(DecisionTreeRegressor(max_depth=4, random_state=seed), outputs=2),
        "skops",
    ),
    "several classifiers": (lambda seed: labels(MultiOutputClassifier(LogisticRegression())), "skops"),
    "chain of classifiers": (lambda seed: labels(ClassifierChain(LogisticRegression())), "skops"),
    "several labels, one against the rest": (lambda seed: labels(OneVsRestClassifier(LogisticRegression())), "skops"),
    "several labels by a forest": (lambda seed: labels(RandomForestClassifier(5, random_state=seed)), "skops"),
    "k-means": (
        lambda seed: Task("groups", load_iris().data, None, NAMES, KMeans(3, n_init=1, random_state=seed)),
        "skops",
    ),
    "mini-batch k-means": (
        lambda seed: Task("groups", load_iris().data, None, NAMES, MiniBatchKMeans(3, n_init=1, random_state=seed)),
        "skops",
    ),
    "isolation forest": (
        lambda seed: Task("odd", load_iris().data, None, NAMES, IsolationForest(n_estimators=10, random_state=seed)),
        "skops",
    ),
    "support vectors of one class": (lambda seed: Task("odd", load_iris().data, None, NAMES, OneClassSVM()), "skops"),
}


def plans(estimator: Any) -> Task:
    """Numbers, and categories of pandas' own type."""
    frame = people()[["age", "income", "member", "city", "plan"]].astype({"city": "category"})
    return Task("plans", frame, leaves(people()) == "leaves", estimator=estimator)


def words(estimator: Any) -> Task:
    """Numbers, and categories as text, in an order that is not the alphabet's."""
    frame = people()[["plan", "income", "city", "age"]].astype({"plan": "str"})
    return Task("words", frame.fillna({"city": "none"}), leaves(people()), estimator=estimator)


KINDS["histogram gradient boosting with category columns"] = (
    lambda seed: plans(HistGradientBoostingClassifier(max_iter=10, random_state=seed)),
    "skops",
)
# The packages' own files.
BOOSTERS: dict[str, tuple[Any, str]] = {
    "XGBoost": (lambda seed: flowers(XGBClassifier(n_estimators=5, random_state=seed)), "xgboost"),
    "XGBoost with values": (lambda seed: values(XGBRegressor(n_estimators=5, random_state=seed)), "xgboost"),
    "XGBoost as a forest": (lambda seed: flowers(XGBRFClassifier(n_estimators=5, random_state=seed)), "xgboost"),
    "XGBoost with category columns": (
        lambda seed: plans(XGBClassifier(n_estimators=5, enable_categorical=True)),
        "xgboost",
    ),
    "XGBoost with several labels": (lambda seed: labels(XGBClassifier(n_estimators=5)), "xgboost"),
    "XGBoost with several values": (lambda seed: values(XGBRegressor(n_estimators=5), outputs=2), "xgboost"),
    "XGBoost in a pipeline with columns of every type": (
        lambda seed: customers_coded(mixed(XGBClassifier(n_estimators=5))),
        "xgboost",
    ),
    "XGBoost by grid search": (
        lambda seed: flowers(GridSearchCV(XGBClassifier(n_estimators=3), {"max_depth": [2, 3]})),
        "xgboost",
    ),
    "LightGBM": (lambda seed: flowers(LGBMClassifier(n_estimators=5, verbose=-1)), "lightgbm"),
    "LightGBM with values": (lambda seed: values(LGBMRegressor(n_estimators=5, verbose=-1)), "lightgbm"),
    "LightGBM with category columns": (lambda seed: plans(LGBMClassifier(n_estimators=5, verbose=-1)), "lightgbm"),
    "LightGBM in a pipeline with columns of every type": (
        lambda seed: customers(mixed(LGBMClassifier(n_estimators=5, verbose=-1))),
        "lightgbm",
    ),
    "CatBoost": (lambda seed: flowers(CatBoostClassifier(5, **CATBOOST)), "catboost"),
    "CatBoost with values": (lambda seed: values(CatBoostRegressor(5, **CATBOOST)), "catboost"),
    "CatBoost with boolean classes": (lambda seed: truth(CatBoostClassifier(5, **CATBOOST)), "catboost"),
    "CatBoost with category columns": (
        lambda seed: words(CatBoostClassifier(5, cat_features=["plan", "city"], **CATBOOST)),
        "catboost",
    ),
    "CatBoost in a pipeline with columns of every type": (
        lambda seed: customers(mixed(CatBoostClassifier(5, **CATBOOST))),
        "catboost",
    ),
}
# These need MODEL_TRUST: name -> the task, the types to trust.
TRUSTING: dict[str, tuple[Any, tuple[str, ...]]] = {
    "the user's own transformer": (
        lambda seed: flowers(make_pipeline(Clip(), LogisticRegression(max_iter=500))),
        (f"{Clip.__module__}.{Clip.__qualname__}",),
    ),
    "nearest neighbours in a KD tree": (
        lambda seed: flowers(KNeighborsClassifier()),
        ("sklearn.metrics._dist_metrics.EuclideanDistance64", "sklearn.neighbors._kd_tree.KDTree"),
    ),
}
# These are refused at training: name -> the task, the words.
REFUSED: dict[str, tuple[Any, str]] = {
    "a mixture": (
        lambda seed: Task("groups", load_iris().data, None, NAMES, GaussianMixture(3, random_state=seed)),
        "neither a classifier nor a regressor",
    ),
}
