"""One file a verb; speaks HTTP to the server like any client."""
