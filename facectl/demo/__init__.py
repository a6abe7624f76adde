"""The clip of `facectl demo`, generated from a portrait."""
