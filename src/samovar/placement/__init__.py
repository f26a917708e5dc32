"""Owns capacity: filter, then rank, by an index that statuses keep up to date. Pure code."""
