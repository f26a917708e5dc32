"""Owns capacity: filter, then rank. Pure code."""
