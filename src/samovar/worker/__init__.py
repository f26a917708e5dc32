"""Owns one machine: admits, starts, invokes, meters and reaps instances."""
