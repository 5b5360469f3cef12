"""Face finders (plugins of ``FACE_FINDERS``), the choice among several faces, and the crop rule."""
