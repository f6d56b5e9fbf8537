"""Preparing training data: stages that can be killed and go on, each with a report of its own.

``filter`` → ``rephrase`` → ``difficulty`` → ``balance`` → ``label``, one file each; ``prepare``
runs them one after another (the pipeline of PeRL, arXiv 2506.14907).
"""
