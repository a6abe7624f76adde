"""The gallery on this computer: enroll from photographs, keep every version, publish, measure."""
