"""SQS-compatible queues as event sources: begin with `source.py`."""
