"""Samovar, the serverless server: the AWS Lambda API on your own machines."""

__version__ = "0.1.0"
