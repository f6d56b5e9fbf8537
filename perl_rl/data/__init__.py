"""Preparing training data in stages: a killed stage continues, and each writes its own report.

``filter`` → ``rephrase`` → ``difficulty`` → ``balance`` → ``label``, one file each. ``prepare``
runs them in turn (the pipeline of PeRL, arXiv 2506.14907).
"""
