"""What the model must answer, whatever it is trained with."""

import json
import tempfile
import unittest
from pathlib import Path

from model_service import train
from model_service.model import Model, load


class Answers(unittest.TestCase):
    """The model, trained once."""

    model: Model

    @classmethod
    def setUpClass(cls) -> None:
        with tempfile.TemporaryDirectory() as out:
            if train.main(["--task", "model", "--out", out]) != 0:
                raise AssertionError("the training failed: it says why")
            cls.model = load(Path(out))

    def test_who_calls_often_and_pays_much_cancels_sooner(self) -> None:
        rows = [[30, 60.0, 9, "basic", "FR"], [60, 10.0, 0, "plus", "FR"]]  # age, monthly_fee, calls, plan, country
        one, other = (json.loads(answer.json)["probabilities"]["yes"] for answer in self.model.predict(rows))
        self.assertGreater(one, other)
