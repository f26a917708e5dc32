"""A function that takes long to be ready: libraries of numbers, and 300 ms of work."""

import os
import time

try:
    import numpy
    import pandas

    table = pandas.DataFrame({"tea": numpy.arange(100_000)})
except ImportError:
    table = [os.urandom(64) for _ in range(400_000)]  # some 60 MB

until = time.perf_counter() + 0.3
while time.perf_counter() < until:
    pass


def handler(event, context):
    return len(table)
