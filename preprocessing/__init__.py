"""From raw videos and images to face crops in a store (LMDB or folders) with a JSON index.

The road of one dataset, in the order of the data:

    words         the dataset word a user types -> the layout that prepares it
    layouts/      what is where, which label, which split, which video (one small file per dataset)
    frame_rules   which frame numbers to take
    video         decoding them in order
    faces/        face finders, the rule that chooses one face, the crop rule, landmarks, alignment
    parsers/      face parsers: a crop to a map of LaPa class ids
    settings      everything that decides which bytes are stored, as one fingerprint; tools: its plugins, loaded
    frames        one decoded frame -> crop, mask, landmarks, parsing map
    task          one video or image -> encoded crops and parts (the function every engine runs)
    engine        the task in this process or a pool of processes; engine_ray: on a cluster
    names         where each stored file lies: keys of our stores, FSFM's tree
    writer        store (LMDB, or folder_store) + journal (resume after kill -9), then the index
    prepare       the whole road: `prepare(...)` and the command-line front
    report        counts against the official release, as data and as a table; report_pages: Markdown, HTML, crops
"""
