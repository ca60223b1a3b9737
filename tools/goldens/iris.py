"""Trains the model of the iris example and writes it to tests/data/iris, with the flowers that it has not seen.

Needs numpy, scikit-learn 1.9.1 and skl2onnx 1.20.0.
"""

import re
from pathlib import Path

from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = Path(__file__).resolve().parents[2] / "tests/data/iris"

iris = load_iris()
names = [str(name) for name in iris.target_names]
species = [names[i] for i in iris.target]
seen, unseen, seen_species, unseen_species = train_test_split(
    iris.data, species, test_size=60, random_state=1, stratify=species
)
forest = RandomForestClassifier(n_estimators=30, max_depth=3, random_state=1)
model = make_pipeline(StandardScaler(), forest).fit(seen.astype("float32"), seen_species)
print(f"{model.score(unseen.astype('float32'), unseen_species):.3f} of the unseen flowers")

onnx = to_onnx(model, initial_types=[("sizes", FloatTensorType([None, 4]))], target_opset={"": 18, "ai.onnx.ml": 3})
onnx.graph.name = "iris"
(FOLDER / "model.onnx").write_bytes(onnx.SerializeToString())
head = [re.sub(r" \(cm\)", "", name) for name in iris.feature_names] + ["species"]
rows = [[*(f"{x:.1f}" for x in row), name] for row, name in zip(unseen, unseen_species)]
(FOLDER / "flowers.csv").write_text("".join(",".join(line) + "\n" for line in [head, *rows]))
