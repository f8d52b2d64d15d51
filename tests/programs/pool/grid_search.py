"""scikit-learn's search on the backend "earlyfork": the same as without. Prints "all well"."""

import earlyfork
import earlyfork.pool.joblib
import joblib
import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score

assert earlyfork
X, y = make_classification(n_samples=200, random_state=0)
search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=3)
alone = search.fit(X, y)
scores, best = alone.cv_results_["mean_test_score"], alone.best_params_
with joblib.parallel_config("earlyfork", n_jobs=2):
    found = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=3).fit(X, y)
    assert found.best_params_ == best
    assert np.allclose(found.cv_results_["mean_test_score"], scores)
    assert len(cross_val_score(LogisticRegression(), X, y, cv=4)) == 4
print("all well")
