"""Records of the cluster: what attributes they have, and how they are kept and found in SQLite.

``model`` has the words, ``tables`` says with them what each resource is; SQL columns, validation,
filters and the discovery document all come from there.
"""
