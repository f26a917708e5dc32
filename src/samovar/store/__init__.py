"""State in SQL, code in an object store."""
