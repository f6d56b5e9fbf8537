"""The parts of ``scripts/setup_env.py``, with the standard library only.

Imports are relative: the package is ``set_up`` for the script, ``scripts.set_up`` for the tests.
A Python too old for the project has to import every module too, in order to look for a newer one.
"""
