"""What is measured: one question a module, each with `TITLE` and `measure(setting)`."""
