"""The promises of docs/guarantees.md."""
