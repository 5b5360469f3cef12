"""Re-check a prepared dataset: is every byte that an index promises there, readable, and where it should be?

    python -m benchmark verify CDFv2
    python -m benchmark verify downloads/Celeb-DF-v2.json --data downloads --prune Celeb-DF-v2.pruned.json

Works on any dataset word or path: our stores, DeepfakeBench's LMDB and processed folders, class folders and lists.
A *problem* makes numbers wrong or unfair and gives exit status 1; a *remark* is worth knowing.

    check      the whole check: index -> reading -> findings
    reading    every frame and part, decoded
    findings   frames, parts, index, store, counts, labels; overlap: what splits share
    report     what was found, as data and as a table
    prune      an index without what cannot be read
    command    the verb
"""
