"""A run as one HTML file that opens offline: what people decide by."""
