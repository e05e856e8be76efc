"""A JupyterHub user's server as a block: started where it does not run, waited for, stopped by who started it."""
