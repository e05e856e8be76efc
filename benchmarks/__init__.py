"""Measures the library beside its peers: `python -m benchmarks --help`.

`cases` says what is measured, `clients` has one class for each way to do it, `servers` what they are measured against, `harness`
runs them in processes of their own, and `report` and `chart` show what came of it. Nothing here is installed with the library.
"""
