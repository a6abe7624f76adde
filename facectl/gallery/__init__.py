"""The gallery on this computer: enrol from photographs, keep every version, publish, measure."""
