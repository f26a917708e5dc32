"""The AWS REST-JSON protocol, driven by botocore's service models."""
