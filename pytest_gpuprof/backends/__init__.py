"""The frameworks. One file each; the only place where a framework is imported, and only when it is wanted."""
