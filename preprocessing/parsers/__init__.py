"""Face parsers (plugins of ``FACE_PARSERS``): a crop to a map of LaPa class ids."""
