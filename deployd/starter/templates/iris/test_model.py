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

    def test_a_small_flower_is_a_setosa(self) -> None:
        answer = json.loads(self.model.predict([[5.8, 4.0, 1.2, 0.2]])[0].json)
        self.assertEqual(answer["label"], "setosa")
