"""Send commands to services and return plain rows. Hold the writing lock.

Prove that a profile's services can be reached.
"""
