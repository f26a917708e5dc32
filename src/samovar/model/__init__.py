"""The domain's values: frozen, without I/O, shared by every role."""
