"""The embedded demo world: synthetic people, cameras and forgeries, made from a seed without any download.

It exists so that every road of the project can be walked, and learning can be tested, on a fresh machine. It is
never evidence about real forgeries. Modules, in the order of the data:

    seeds     -> a random stream for every name, so anything can be made alone
    noise     -> fractal textures and other random fields
    people    -> identity parameters (`Person`), motion and expression (`Motion`), lighting
    geometry  -> 68 landmarks and outlines of one head in one pose
    faces     -> pixels, parsing map and landmarks of one frame
    camera    -> capture (blur, colour, noise) and codecs
    forgeries -> manipulations of captured frames, with masks
    worlds    -> which videos exist: demo/FF++, demo/CDFv2, demo/DFDC
    build     -> writes a world as LMDB store + JSON index
    shortcuts -> checks that global image statistics do not give the label away
"""
