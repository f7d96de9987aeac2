"""The interval that a number of test rows leaves around an accuracy."""


def interval_of(accuracy: float, num_rows: int) -> tuple[float, float]:
    """Wilson's 95 % interval of an accuracy on `num_rows` test rows."""
    from scipy.stats import binomtest  # a second to import

    found = binomtest(round(accuracy * num_rows), num_rows).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)
