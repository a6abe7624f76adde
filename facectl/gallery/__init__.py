"""The gallery on this computer: enrol from photographs, keep, publish to the deployment."""
