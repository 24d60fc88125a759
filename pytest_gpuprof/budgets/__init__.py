"""The judgement: limits, and what becomes of them. Pure: it sees only numbers."""
