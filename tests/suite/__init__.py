"""How the suite runs: tiers, processes, budgets, and what it checks at its end. `tests/conftest.py` loads these plugins."""
