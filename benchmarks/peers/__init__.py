"""Platforms that a user might pick instead, started as their own documents say."""
