"""Library common to the three services: messages, queues, permutation, configuration.

Imports neither torch nor vLLM, so that a reward node stays small and the command line starts fast.
"""
