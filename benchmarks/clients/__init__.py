"""One module for each client that is measured; `registry` lists them. Each imports its library only when it is run."""
