"""How a run's processes are started: one module, with one function `launch`, for each value of `train.executor`."""
