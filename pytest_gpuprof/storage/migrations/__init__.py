"""How the tables of the store came to be: one file per change, run by Alembic."""
