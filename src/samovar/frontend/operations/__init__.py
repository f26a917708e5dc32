"""The control-plane operations of the Lambda API, one noun a file."""
