"""How the suite itself runs: its tiers, its processes, its budgets, what it checks at its end. `tests/conftest.py` loads these plugins."""
