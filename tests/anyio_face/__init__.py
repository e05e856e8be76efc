"""The library for every anyio program. (A folder `anyio` would hide the library of that name.)"""
