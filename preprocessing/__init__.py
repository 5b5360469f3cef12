"""From raw videos and images to face crops in an LMDB store with a JSON index.

The road of one dataset, in the order of the data:

    layouts/   what is where, which label, which split, which video (one small file per dataset)
    video      which frame numbers to take, and decoding them in order
    faces/     face finders, the rule that chooses one face, the crop rule
    task       one video or image -> encoded crops (the function every engine runs)
    engine     the task over a pool of processes
    writer     store + journal (resume after kill -9), then the index
    prepare    the whole road: `prepare(...)` and the command-line front
    report     counts against the official release, as data and as a table
"""
