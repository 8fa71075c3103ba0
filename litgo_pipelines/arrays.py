"""Types of numpy's arrays as signatures name them. Pure."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
