"""What runs inside an instance. Standard library only; imports nothing above itself."""
