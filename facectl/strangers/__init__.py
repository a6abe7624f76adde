"""Groups the faces of unknown people, so that a group can be named, ignored, split or forgotten.

Nothing is collected without `--keep-strangers`. Faces and embeddings stay on this computer, in one
file that only this user can read.

models      faces, groups and what an action did
crops       the quality and the embedding of a face in a sent frame, as the functions compute it
grouping    incremental density clustering of embeddings
database, store, additions   the file of faces, groups, visits and actions
references  what actions change in the gallery
history     the actions that can be undone
collector   takes the faces of a run, embeds and groups them in a thread of its own
amendments  changes of visits that are written already
actions     name, ignore, split, merge, correct, forget, undo
"""
