"""Simulated marketplace with a hidden truth, for the demo and the tests.

`truth` draws it (pure), `words` holds its vocabulary, `rows` shapes it as table columns, `load` writes it to a database
that holds no other marketplace. Nothing in the pipelines reads this package: they see only the tables.
"""
