"""Kinesis and DynamoDB Streams as event sources: begin with `source.py`."""
