"""The Python interface: `sgdsm.fill` and the accessor `Dataset.sgdsm`.

May import everything but `cli`. Add a function here when users should call it from a notebook.
"""
