"""The memory: records as text, and back."""
