"""The shapes in which rows come: read, recognised and named."""
