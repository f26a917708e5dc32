"""The drivers that isolate an instance, behind one contract."""
