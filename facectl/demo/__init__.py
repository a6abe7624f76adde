"""The demonstration: a clip that every installation can make, and the whole pipeline in order."""
