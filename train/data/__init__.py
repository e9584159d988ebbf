"""Files and traffic become rows, and rows become splits that do not leak."""
