"""The only role that speaks to clients: authenticate, parse, resolve, lease, stream."""
