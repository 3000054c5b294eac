"""Write the iris and digits data of scikit-learn as files into a directory: a table, and a folder of arrays."""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_iris

target = Path(sys.argv[1])
(target / "digits").mkdir(parents=True)
iris = load_iris()
rows = np.column_stack([iris.data, iris.target])
np.savetxt(target / "iris.csv", rows, delimiter=",", fmt="%g", header=",".join(iris.feature_names))
digits = load_digits()
for label in range(10):
    np.save(target / f"digits/{label}.npy", digits.images[digits.target == label])
