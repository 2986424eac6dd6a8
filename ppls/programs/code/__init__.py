"""From the module of a program to Python code that makes the same module of torch alone."""
