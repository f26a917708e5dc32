"""Samovar measured beside references, in one run on one machine. See README.md."""
