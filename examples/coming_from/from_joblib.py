"""For those who know joblib; scikit-learn works in the same way.

python examples/coming_from/from_joblib.py [NODE ...]
"""

import math
import sys

import joblib

import gdispy.joblib


def main() -> None:
    gdispy.joblib.register()
    nodes = sys.argv[1:] or "local"
    with joblib.parallel_config(backend="gdispy", nodes=nodes):
        calls = (joblib.delayed(math.sqrt)(n * n) for n in range(10))
        print(joblib.Parallel(n_jobs=-1)(calls))
    gdispy.joblib.shutdown()


if __name__ == "__main__":
    main()
