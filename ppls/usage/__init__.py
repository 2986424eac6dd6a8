"""What one does with a converted model: predict pictures, evaluate, export, make it fast."""
