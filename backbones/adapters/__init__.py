"""Small trained parts that plug into a frozen backbone; one file per method."""
