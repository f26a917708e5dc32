"""RabbitMQ as an event source: begin with `source.py`."""
