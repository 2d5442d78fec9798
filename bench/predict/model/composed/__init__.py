"""Times of what was never fitted, composed of measured messages between two ranks."""
