"""Self-managed Apache Kafka as an event source: begin with `source.py`."""
