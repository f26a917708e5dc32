"""Schedules: what fires them."""
