"""Event sources: queues, streams and topics that are polled on behalf of functions."""
