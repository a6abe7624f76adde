"""The clip of `facectl demo`, generated from photographs, and the right answer to each frame."""
