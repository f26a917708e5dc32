"""Owns the instances of each function version: states, queue, limits, warm pool."""
