"""Right models written otherwise than ppls writes them, each with a wrong twin of the same form."""
