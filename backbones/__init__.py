"""Networks that turn pixels into tokens and a pooled feature; one file per architecture."""
