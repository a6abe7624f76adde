"""`facectl watch`: sends frames like `facectl send` and shows them on a page of this computer.

hub         the newest value of each part of the page, and the browsers that get it
state       what the page shows: sources, frames, visits
pictures    the images that were sent, and frames of files to go back to
figures     frames a second, latency, stages, cost of a month
cloud       waits while the cloud does not answer, instead of ending the run
runs        one run for each source, in a thread of its own
security    who may open the page
server      the addresses of the page
"""
